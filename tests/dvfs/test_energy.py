"""Time and energy of three segments by hand, governors, and the schedule that adds up."""

from __future__ import annotations

import numpy as np
import pytest
from paths import known_of

from coc_cli.dvfs.energy import EnergyModel, Work, Workload, totals
from coc_cli.dvfs.governors import GOVERNORS
from coc_cli.dvfs.governors.constant import Constant
from coc_cli.dvfs.governors.governor import Governor, LevelChoice, exit_rates
from coc_cli.dvfs.governors.paper import Paper
from coc_cli.dvfs.governors.race import Race
from coc_cli.dvfs.profile import Amount, Profile, Regulator
from coc_cli.dvfs.schedule import Answer, replayed, schedule

PROFILE = Profile.model_validate(
    {
        "name": "test",
        "description": "round numbers",
        "frequency_mhz": {"values": (100.0, 200.0, 400.0), "source": "test"},
        "voltage_mv": {"values": (500.0, 750.0, 1000.0), "source": "test"},
        "arithmetic": {
            "fp32": {
                "throughput_gmacs": {"value": 1.0, "source": "test"},
                "dynamic_power_mw": {"value": 800.0, "source": "test"},
            },
            "int8": {
                "throughput_gmacs": {"value": 4.0, "source": "test"},
                "dynamic_power_mw": {"value": 400.0, "source": "test"},
            },
        },
        "static_power_mw": {"value": 100.0, "source": "test"},
        "idle_power_mw": {"value": 10.0, "source": "test"},
        "transition": {"time_us": {"value": 50.0, "source": "test"}, "energy_uj": {"value": 20.0, "source": "test"}},
        "memory_bandwidth_gbs": {"value": 1.0, "source": "test"},
        "overhead_us": {"value": 100.0, "source": "test"},
    }
)
# fp32 of 1 MMAC: 1 ms at the highest level; int8 of 4 MMAC: 1 ms; 3 MB: 3 ms at any level; heads of 0.1 MMAC
WORK = Workload(
    (Work({"fp32": 1e6}), Work({"int8": 4e6}), Work({"fp32": 1e6}, bytes=3e6)),
    (Work({"fp32": 1e5}), Work({"fp32": 1e5})),
)
MODEL = EnergyModel(PROFILE, WORK)


def test_stretches_by_hand() -> None:
    # highest level: 1 ms of compute at 800 + 100 mW; head 0.1 ms, its overhead 0.1 ms at the same power
    assert MODEL.time_ms[0, 0, 2] == pytest.approx(1.2, abs=1e-12)
    assert MODEL.energy_mj[0, 0, 2] == pytest.approx(1.2 * 0.9, abs=1e-12)
    # int8: 1 ms at 400 + 100, then the head
    assert MODEL.time_ms[1, 1, 2] == pytest.approx(1.2, abs=1e-12)
    assert MODEL.energy_mj[1, 1, 2] == pytest.approx(0.5 + 0.2 * 0.9, abs=1e-12)
    # memory-bound: 3 ms static, 1 ms of them dynamic
    assert MODEL.time_ms[2, 2, 2] == pytest.approx(3.0, abs=1e-12)
    assert MODEL.energy_mj[2, 2, 2] == pytest.approx(3 * 0.1 + 0.8, abs=1e-12)
    # half the frequency at 3/4 of the voltage: 2 ms and 0.2 ms, dynamic x 1/2 x 9/16; overhead stays 0.1 ms
    assert MODEL.time_ms[0, 0, 1] == pytest.approx(2.3, abs=1e-12)
    assert MODEL.energy_mj[0, 0, 1] == pytest.approx(2.3 * (0.8 * 0.5 * 0.5625 + 0.1 * 0.75), abs=1e-12)
    assert MODEL.time_ms[0, 2, 2] == pytest.approx(1 + 1 + 3, abs=1e-12), "heads that are skipped cost nothing"
    assert MODEL.time_ms[2, 1, 2] == 0.0, "no way back"
    assert WORK.stretch_macs.tolist() == [[1.1e6, 5.1e6, 6e6], [0, 4.1e6, 5e6], [0, 0, 1e6]]


def test_totals_by_hand() -> None:
    visited = np.array([[True, False, False], [True, True, True]])
    level = np.array([[2, 2, 2], [2, 1, 2]])
    found = totals(MODEL, visited, level, rest=2, deadline_ms=10.0)
    slow = 2 + 0.2 + 0.1  # int8 and head at half the frequency, overhead
    energy = 2 * (0.4 * 0.28125 + 0.075) + 0.3 * (0.8 * 0.28125 + 0.075)
    assert found.latency_ms.tolist() == pytest.approx([1.2, 1.2 + 0.05 + slow + 0.05 + 3.0], abs=1e-9)
    assert found.transitions.tolist() == [0, 2]
    idle = [8.8, 10 - found.latency_ms[1]]
    assert found.idle_ms.tolist() == pytest.approx(idle, abs=1e-9)
    expected = [1.08 + 0.088, 1.08 + 0.02 + energy + 0.02 + 1.1 + idle[1] * 0.01]
    assert found.energy_mj.tolist() == pytest.approx(expected, abs=1e-9)


def test_going_back_to_rest_costs_a_transition_and_shortens_the_wait() -> None:
    visited, level = np.array([[True, False, False]]), np.array([[0, 0, 0]])
    found = totals(MODEL, visited, level, rest=2, deadline_ms=10.0)
    active = 4 + 0.4 + 0.1
    assert found.latency_ms[0] == pytest.approx(active + 0.05)
    assert found.idle_ms[0] == pytest.approx(10 - active - 0.1)
    assert found.transitions[0] == 2


def settling(settle_ms: float) -> EnergyModel:
    content = PROFILE.model_dump()
    content["transition"]["settle_us"] = {"value": 1000 * settle_ms, "source": "test"}
    return EnergyModel(Profile.model_validate(content), WORK)


def test_a_level_that_settles_by_hand() -> None:
    # at rest the highest level; half of it is asked for: 0.6 ms, half of the stretch, run as before, the rest at 2.3 ms
    visited, level = np.array([[True, False, False]]), np.array([[1, 1, 1]])
    found = totals(settling(0.6), visited, level, rest=2, deadline_ms=10.0)
    assert found.latency_ms[0] == pytest.approx(0.05 + 0.6 + 2.3 / 2)
    slow = 2.3 * (0.8 * 0.5 * 0.5625 + 0.1 * 0.75)
    idle = 10 - 0.05 - 0.6 - 1.15 - 0.05
    assert found.energy_mj[0] == pytest.approx(0.02 + 1.08 / 2 + slow / 2 + 0.02 + idle * 0.01)


def test_what_has_not_settled_goes_on_in_the_next_stretch_and_lapses_when_another_is_asked_for() -> None:
    visited = np.array([[True, True, False]])
    model = settling(1.5)  # the first stretch takes 1.2 ms as before; of the second 0.3 of 1.2 ms are as before
    found = totals(model, visited, np.array([[1, 1, 1]]), rest=2, deadline_ms=10.0)
    assert found.latency_ms[0] == pytest.approx(0.05 + 1.2 + 0.3 + 0.75 * model.time_ms[1, 1, 1])
    lapses = totals(model, visited, np.array([[1, 2, 2]]), rest=2, deadline_ms=10.0)
    assert lapses.latency_ms[0] == pytest.approx(0.05 + 1.2 + 0.05 + 1.2)
    assert lapses.transitions[0] == 2
    longer = totals(settling(9.0), visited, np.array([[1, 1, 1]]), rest=2, deadline_ms=10.0)
    assert longer.latency_ms[0] == pytest.approx(0.05 + 1.2 + 1.2)


@pytest.mark.parametrize("settle_ms", [0.0, 0.3, 1.3, 4.0])
def test_segments_sum_to_the_totals_whatever_is_asked_for(settle_ms: float) -> None:
    random, model = np.random.default_rng(1), settling(settle_ms)
    visited = random.random((200, 3)) < 0.7
    visited[:, 2] |= ~visited.any(1)
    chosen = LevelChoice(random.integers(0, 3, (200, 3)), 1)
    found = totals(model, visited, chosen.level, chosen.rest, 14.0)
    answers = [Answer("a", "b")] * 200
    lines = list(schedule(model, visited, np.where(visited, 2, -1), chosen, answers, 14.0))
    assert [line["latency_ms"] for line in lines] == pytest.approx(found.latency_ms.tolist())
    assert [line["energy_mj"] for line in lines] == pytest.approx(found.energy_mj.tolist())
    for line in lines:
        runs = [(one["from"], one["to"]) for one in line["segments"] if one["from"] < one["to"]]
        assert [end for _, end in runs[:-1]] == [start for start, _ in runs[1:]]
        assert (runs[0][0], runs[-1][1]) == (0, line["exit"] + 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("governor", GOVERNORS)
def test_segments_sum_to_the_totals(seed: int, governor: Governor) -> None:
    random = np.random.default_rng(seed)
    visited = random.random((50, 3)) < 0.6
    visited[:, 2] |= ~visited.any(1)
    foretold = np.where(visited, 2, -1)
    load, usual = known_of(visited)
    chosen = governor.rule(MODEL, usual, 14.0)(load)
    found = totals(MODEL, visited, chosen.level, chosen.rest, 14.0)
    answers = [Answer("a", "b")] * 50
    lines = list(schedule(MODEL, visited, foretold, chosen, answers, 14.0))
    for index, line in enumerate(lines):
        assert sum(segment["energy_mj"] for segment in line["segments"]) == pytest.approx(line["energy_mj"], abs=1e-9)
        assert line["energy_mj"] == pytest.approx(found.energy_mj[index], abs=1e-9)
        assert line["latency_ms"] == pytest.approx(found.latency_ms[index], abs=1e-9)
        whole = sum(segment["latency_ms"] for segment in line["segments"])
        assert whole == pytest.approx(max(14.0, whole), abs=1e-9)
        moved = [segment for segment in line["segments"] if segment["to"] > segment["from"]]
        assert [segment["from"] for segment in moved] == [0, *[segment["to"] for segment in moved[:-1]]]
        assert moved[-1]["to"] == line["exit"] + 1
    again = replayed(lines)
    assert again["energy_mj_mean"] == pytest.approx(found.energy_mj.mean(), abs=1e-9)
    assert again["latency_ms_mean"] == pytest.approx(found.latency_ms.mean(), abs=1e-9)
    assert again["deadline_miss_rate"] == (found.latency_ms > 14.0 + 1e-9).mean()


def test_board_regulator_and_operations_beside_macs_by_hand() -> None:
    work = Workload((Work({"fp32": 1e6}), Work()), (Work({"fp32": 5e5}, operations=5e5),))
    plain = EnergyModel(PROFILE, work).segments[0]
    assert plain[0].tolist() == pytest.approx([4.0, 2.0, 1.0])
    # at 100 of 400 MHz and 0.5 of 1 V: 800 mW x 1/4 x 1/4 x 4 ms, and 100 mW x 1/2 x 4 ms
    assert plain[1].tolist() == pytest.approx([0.2 + 0.2, 0.45 + 0.15, 0.8 + 0.1])
    linear = PROFILE.model_copy(update={"regulator": Regulator(kind="linear", source="test")})
    assert EnergyModel(linear, work).segments[0][1].tolist() == pytest.approx([0.4 + 0.2, 0.6 + 0.15, 0.8 + 0.1])
    board = PROFILE.model_copy(update={"board_power_mw": Amount(value=50.0, source="test")})
    model = EnergyModel(board, work)
    assert model.segments[0][1].tolist() == pytest.approx([0.4 + 0.2, 0.6 + 0.1, 0.9 + 0.05])
    spent = totals(model, np.array([[False, True]]), np.array([[2, 2]]), 2, 10.0)
    assert spent.energy_mj.tolist() == pytest.approx([0.9 + 9 * 0.01 + 10 * 0.05]), "the board runs until the deadline"
    head = model.heads[0][0, 2] - PROFILE.overhead_us.value / 1e3
    assert head == pytest.approx(1.0), "an operation takes as long as a multiply-accumulate"
    assert work.head_macs.tolist() == [5e5], "and is none"


def test_race_is_fastest_and_constant_just_keeps_the_deadline() -> None:
    visited = np.ones((4, 3), dtype=bool)
    load, usual = known_of(visited)
    longest = MODEL.path_ms((0, 1, 2))
    assert longest.tolist() == pytest.approx([4.5 + 4.5 + 4.0, 2.3 + 2.3 + 3.0, 1.2 + 1.2 + 3.0])
    assert (Race().rule(MODEL, usual, 99.0)(load).level == 2).all()
    for deadline, level in ((13.0, 0), (12.9, 1), (7.6, 1), (7.5, 2), (5.0, 2)):
        chosen = Constant().rule(MODEL, usual, deadline)(load)
        assert (chosen.level == level).all()
        found = totals(MODEL, visited, chosen.level, chosen.rest, deadline)
        assert (found.latency_ms <= deadline + 1e-9).all() == (deadline >= 5.4)
        assert (found.transitions == 0).all()


def test_the_papers_governor_by_hand() -> None:
    # three exits and a final one, N = 4 of them: from exit 0 with jump 1: 400 x 1/3 = 133, nearest 100; jump 3: 400
    work = Workload((Work({"fp32": 1e6}),) * 4, (Work(),) * 3)
    model = EnergyModel(PROFILE, work)
    visited = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 1, 0], [0, 0, 1, 0]], dtype=bool)
    load, usual = known_of(visited)
    chosen = Paper().rule(model, usual, 9.0)(load)
    assert chosen.rest == 2
    # second path: jump 3 of 3 left; third: 400 x 2/3 = 267, nearest 200; first again at exit 1: jump 2 of 2 left
    assert [chosen.level[row][visited[row]].tolist() for row in range(4)] == [[2, 0, 2], [2, 2], [2, 1], [2]]


def test_the_longest_way_ahead_by_hand() -> None:
    # a visit adds its head and overhead: 0.2 ms at the highest level, 0.4 + 0.1 at the lowest
    assert MODEL.visit_ms == pytest.approx(np.array([[0.5, 0.3, 0.2]] * 2))
    every = (0, 1, 2)
    assert MODEL.ahead_ms(every, 0, 2, 1)[-1] == pytest.approx(1.0 + 0.2 + 3.0)
    assert MODEL.ahead_ms(every, 0, 2, 0)[-1] == pytest.approx(1.0 + 3.0), "no visit is left"
    assert MODEL.ahead_ms((0, 2), 0, 2, 1)[-1] == pytest.approx(4.0), "none may be made"
    assert MODEL.ahead_ms(every, 0, 1, 1)[-1] == pytest.approx(1.2), "it answers at exit 1"
    assert MODEL.ahead_ms(every, 1, 1, 1).tolist() == [0, 0, 0]


def test_who_leaves_between_two_visits_counts_at_the_second() -> None:
    assert exit_rates((0, 2, 3), np.array([0, 1, 2, 3])).tolist() == pytest.approx([1 / 4, 2 / 3, 1])
