"""Policies that promise, on random traces and devices: promises are kept, and so is every deadline that rests on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from sampling import check_cases, counts

from coc_cli.dvfs.energy import EnergyModel, Work, Workload, totals
from coc_cli.dvfs.governors.constant import Constant
from coc_cli.dvfs.governors.pace import Pace
from coc_cli.dvfs.governors.race import Race
from coc_cli.dvfs.profile import Amount, read_profile
from coc_cli.exits.policies.policy import Policy, walk
from coc_cli.exits.policies.predictive import Predictive
from coc_cli.exits.policies.predictive_commit import PredictiveCommit
from coc_cli.exits.policy_governor_grid import path_batch, path_statistics
from coc_cli.exits.predictor import Predictor, feature_count
from coc_cli.exits.traces import Trace

CLASSES = 4


def traced(random: np.random.Generator, n: int, exits: int) -> Trace:
    """Logits without sense."""
    outputs = tuple(random.normal(0, random.uniform(0.5, 4), (n, CLASSES)) for _ in range(exits + 1))
    answer = np.stack([output.argmax(1) for output in outputs])
    return Trace(outputs, random.integers(0, CLASSES, n), np.ones((exits + 1, n)), True, answer)


def guessing(random: np.random.Generator, trace: Trace) -> Predictor:
    """Foretells something of every input, mostly wrong."""
    count, exits, hidden = feature_count(trace), trace.exits, 3
    weights = random.normal(0, 1, (count, hidden)), random.normal(0, 1, (exits, hidden))
    hazards = random.normal(0, 1, (hidden, exits)), random.normal(0, 2, (exits, exits))
    return Predictor("max_softmax", np.zeros(count), np.ones(count), *weights, *hazards)


@pytest.mark.parametrize("count", counts(quick=6, full=60, exhaustive=2000))
def test_promises_and_deadlines_are_kept(count: int) -> None:
    """Two policies on 200 inputs under three governors, for each case."""
    check_cases(
        count,
        keeps_promises_and_deadlines,
        seed=st.integers(0, 2**32 - 1),
        exits=st.integers(1, 8),
        device=st.sampled_from(["jetson-tx2-cpu", "jetson-tx2-gpu", "i7-10700", "cortex-m7"]),
        factor=st.floats(1.0, 3.0),
        settle_us=st.sampled_from([0.0, 100.0, 1000.0, 5000.0]),
    )


def keeps_promises_and_deadlines(seed: int, exits: int, device: str, factor: float, settle_us: float) -> None:
    random = np.random.default_rng(seed)
    segments = tuple(Work({"fp32": macs}) for macs in random.uniform(1e5, 3e7, exits + 1))
    heads = tuple(Work({"fp32": macs}) for macs in random.uniform(0, 3e6, exits))
    profile = read_profile(device)
    settles = {"settle_us": Amount(value=settle_us, source="test")} if settle_us else {}
    profile = profile.model_copy(update={"transition": profile.transition.model_copy(update=settles)})
    model = EnergyModel(profile, Workload(segments, heads, Work({"fp32": 1e4})))
    validation, test = (traced(random, n, exits) for n in (100, 200))
    start, least = int(random.integers(0, exits)), random.uniform(0.3, 1)
    cost, visits = model.energy_mj[..., -1], (None, 0, 1, 2)[random.integers(4)]
    known = "max_softmax", least, start, guessing(random, test)
    policies: tuple[Policy, ...] = (
        Predictive(*known, cost, 0.0, visits=visits, cap=random.uniform(0.3, 1)),
        PredictiveCommit(*known, random.uniform(0, 1)),
    )
    for policy in policies:
        paths = walk(policy, test)
        for exit_ in range(exits + 1):
            there = np.flatnonzero(paths.visited[:, exit_])
            assert (paths.exit[there] <= paths.latest_exit[there, exit_]).all(), "by when it answers"
            behind = paths.visited[there, exit_ + 1 :].sum(1) - (paths.exit[there] > exit_)
            assert (behind <= paths.max_visits[there, exit_]).all(), "how many visits lie between"
        statistics = path_statistics(policy, walk(policy, validation), exits)
        deadline = float(statistics.worst_ms(model)[-1]) * factor
        for governor in (Race(), Constant(), Pace()):
            chosen = governor.rule(model, statistics, deadline)(path_batch(paths))
            found = totals(model, paths.visited, chosen.level, chosen.rest, deadline)
            assert (found.latency_ms <= deadline + 1e-9).all(), (policy.name, governor.name)
