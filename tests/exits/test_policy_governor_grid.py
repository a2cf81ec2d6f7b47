"""Policies crossed with governors: what the prediction is worth, and that nobody beats the bound by luck of a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic_traces import EXITS, synthetic

from coc_cli.dvfs.energy import EnergyModel, Work, Workload
from coc_cli.dvfs.profile import read_profile
from coc_cli.exits.benefit import CHANGES, _scaled, at_deadline, benefit, sensitivity
from coc_cli.exits.policies import POLICIES, names_in
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policy_governor_grid import best, evaluate_policy, grid_rows, scheduled
from coc_cli.exits.predictor_fitting import fitted
from coc_cli.exits.subsets import with_subsets
from coc_cli.exits.traces import Trace

pytestmark = pytest.mark.full  # all share policies fitted on 1500 inputs


@pytest.fixture(scope="module")
def tried() -> dict:
    validation, test = synthetic(1500, 1), synthetic(1500, 2)
    work = Workload(
        tuple(Work({"fp32": 4e6}, 2e5) for _ in range(EXITS + 1)), tuple(Work({"fp32": 2e6}) for _ in range(EXITS))
    )
    context = PolicyContext(validation, work, read_profile("i7-10700"), ("max_softmax", "entropy"), 0)
    least, plain = float(validation.score[-1].mean()) - 0.01, context.model().plain_ms
    context = with_subsets(context, [least], [factor * plain for factor in (1.5, 2.0)], least)
    measures = [context.by_energy[0], "max_softmax"]
    context = replace(context, fitted=fitted(context, measures))
    return {name: evaluate_policy(name, least, context, test) for name in POLICIES}


def plain_ms(tried: dict) -> float:
    return tried["classic"][0].model.plain_ms


def test_every_policy_meets_every_governor_that_it_allows(tried: dict) -> None:
    rows = list(grid_rows(tried, plain_ms(tried) * 1.5))
    pairs = {(row.policy, row.governor.name) for row in rows}
    assert (rows[0].policy, rows[0].governor.name) == ("classic", "race")
    for name, ones in tried.items():
        expected = {"race", "constant", "pace"} | ({"paper"} if ones[0].policy.predicts else set())
        assert {governor for policy, governor in pairs if policy == name} == expected
    for row in rows:
        if row.governor.name != "paper" and row.least_ms <= plain_ms(tried) * 1.5:
            assert row.miss_rate == 0


def test_at_the_tightest_deadline_the_longest_path_races(tried: dict) -> None:
    one = tried["patience"][0]
    deadline = float(one.statistics.worst_ms(one.model)[-1])
    assert deadline == pytest.approx(one.model.path_ms(range(EXITS + 1))[-1])
    rows = {row.governor.name: row for row in grid_rows({"patience": [one]}, deadline)}
    assert rows["pace"].energy_mj == pytest.approx(rows["race"].energy_mj)


def test_on_a_device_where_a_visit_costs_more_than_it_saves_there_are_no_exits(tried: dict) -> None:
    def taken(factor: float) -> str:
        profile = _scaled(read_profile("i7-10700"), factor, "overhead_us")
        there = {
            name: [replace(one, model=EnergyModel(profile, one.model.workload)) for one in ones]
            for name, ones in tried.items()
        }
        return scheduled(list(grid_rows(there, plain_ms(there) * 1.5))).policy

    assert taken(1) in ("subset", "predictive")
    assert taken(1000) == "classic"


def test_more_knowledge_never_costs_more(tried: dict) -> None:
    for factor in (1.05, 1.5, 2.0):
        rows = list(grid_rows(tried, plain_ms(tried) * factor))
        needs = {(row.policy, row.governor.name): row.validation_mj for row in rows}
        for governor in ("race", "constant", "pace"):
            assert needs["oracle-0", governor] <= needs["oracle", governor] <= needs["predictive", governor]


def test_worth_is_the_share_of_the_gap_that_is_closed(tried: dict) -> None:
    rows = list(grid_rows(tried, plain_ms(tried) * 1.5))
    found = benefit(rows)
    passive, ours, bound = (each.energy_mj_mean for each in (found.passive, found.ours, found.oracle))
    assert found.gap_closed == pytest.approx((passive - ours) / (passive - bound))
    assert found.saved_passive == pytest.approx(1 - ours / passive)
    assert found.score_difference == pytest.approx(
        best(rows, names_in("ours")).evaluated.score.mean() - best(rows, names_in("passive")).evaluated.score.mean()
    )
    theirs = [row for row in rows if row.policy in names_in("passive")]
    assert passive == min(theirs, key=lambda row: row.validation_mj).energy_mj, "chosen on validation, told of test"
    assert ours == best(rows, names_in("ours")).energy_mj
    equal = np.full((3, 1500), 1 / 1500)
    assert benefit(rows, equal).gap_closed_ci95 == pytest.approx([found.gap_closed] * 2)
    assert benefit(rows, equal).saved_passive_ci95 == pytest.approx([found.saved_passive] * 2)
    assert bound < passive, "who knows the exit saves energy"
    assert benefit([row for row in rows if row.policy != "oracle"]).gap_closed is None


def test_pace_never_needs_more_than_constant_by_its_own_plan(tried: dict) -> None:
    for factor in (1.25, 2.0):
        energies = {
            (row.policy, row.governor.name): row.energy_mj for row in grid_rows(tried, plain_ms(tried) * factor)
        }
        for name in ("threshold", "hierarchical"):
            assert energies[name, "pace"] <= energies[name, "constant"] * 1.01, "planned on validation, paid on test"


def test_four_deadlines_and_nine_devices(tried: dict) -> None:
    longest = plain_ms(tried)
    tables = [at_deadline(list(grid_rows(tried, factor * longest)), factor, factor * longest) for factor in (1.5, 2.0)]
    assert [table.deadline for table in tables] == ["1.5x", "2x"]
    assert all(table.rows[0].energy_saving == 0 for table in tables)
    found = sensitivity(list(grid_rows(tried, tables[1].deadline_ms)), tables[1].deadline_ms, read_profile("i7-10700"))
    assert [entry.change for entry in found] == list(CHANGES)
    same = tables[1].worth
    assert found[0].ours == same.ours
    energies = [entry.ours.energy_mj_mean for entry in found]
    by_name = dict(zip(CHANGES, energies, strict=True))
    assert by_name["static power x 0.5"] < by_name["as it is"] < by_name["static power x 2"]
    assert by_name["idle power x 0.5"] < by_name["as it is"] < by_name["idle power x 2"]
    assert by_name["voltage range x 1.25"] < by_name["as it is"] < by_name["voltage range x 0.5"]


def test_traces_know_their_length() -> None:
    trace = Trace((np.zeros((3, 2)), np.zeros((3, 2))), np.zeros(3), np.zeros((2, 3)), True, np.zeros((2, 3)))
    assert (len(trace), trace.exits) == (3, 1)


def test_every_policy_keeps_what_it_promises(tried: dict) -> None:
    """By which exit inputs answer, and after how many visits: deadlines rest on it."""
    variants = [one for ones in tried.values() for one in ones]
    assert len(tried["predictive"]) > 1
    assert len(variants) > len(tried)
    for one in variants:
        may = one.statistics.may_visit
        for load in (one.batch, one.statistics.validation):
            answer = load.visited.shape[1] - 1 - load.visited[:, ::-1].argmax(1)
            assert not load.visited[:, [exit_ for exit_ in range(EXITS + 1) if exit_ not in may]].any() or (
                one.policy.answers_at_first
            )
            for exit_ in range(EXITS + 1):
                here = load.visited[:, exit_]
                inner = np.arange(EXITS + 1) < answer[:, None]
                between = (load.visited & inner)[:, exit_ + 1 :].sum(1)
                assert (answer[here] <= load.latest_exit[here, exit_]).all()
                assert (between[here] <= load.max_visits[here, exit_]).all(), one.policy
