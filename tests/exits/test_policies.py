"""Policies on traces small enough to follow by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.hierarchical import quarters
from coc_cli.exits.policies.oracle import Oracle
from coc_cli.exits.policies.oracle_from_start import OracleFromStart
from coc_cli.exits.policies.patience import Patience
from coc_cli.exits.policies.placement import placed
from coc_cli.exits.policies.policy import walk
from coc_cli.exits.policies.predictive import Predictive, cheapest_next, quantile, truncated
from coc_cli.exits.policies.predictive_commit import PredictiveCommit
from coc_cli.exits.policies.predictive_conv import PredictiveConv, convolved
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policies.threshold import Threshold
from coc_cli.exits.predictor import Predictor, feature_count
from coc_cli.exits.traces import Shifted, Trace, logit

# Cost of stretches for three segments of 10, 20 and 30 MACs and heads of 1 and 2
STRETCHES = np.array([[11.0, 32.0, 60.0], [0.0, 22.0, 50.0], [0.0, 0.0, 30.0]])


def traced(shares: list[list[float]], right: list[list[float]] | None = None) -> Trace:
    """Two classes; `shares` [E + 1][N] are the larger one's of each exit, class 0 above a half."""
    share = np.array(shares)
    logits = np.log(np.stack([share, 1 - share], 2))
    answer = logits.argmax(2)
    score = np.array(right) if right is not None else (answer == 0).astype(float)
    return Trace(tuple(logits), np.zeros(share.shape[1], dtype=int), score, True, answer)


FOUR = traced([[0.9, 0.6, 0.6, 0.55], [0.9, 0.95, 0.6, 0.55], [0.9, 0.95, 0.99, 0.55]])


def test_classic_runs_everything() -> None:
    paths = walk(Classic(), FOUR)
    assert paths.exit.tolist() == [2, 2, 2, 2]
    assert paths.macs(STRETCHES).tolist() == [60.0] * 4


def test_a_threshold_runs_each_exit_in_turn() -> None:
    paths = walk(Threshold("max_softmax", 0.9 - 1e-9, (0, 1)), FOUR)
    assert paths.exit.tolist() == [0, 1, 2, 2]
    assert paths.macs(STRETCHES).tolist() == [11.0, 33.0, 63.0, 63.0]
    assert walk(Threshold("max_softmax", 0.9 - 1e-9, (1,)), FOUR).macs(STRETCHES).tolist() == [32.0, 32.0, 62.0, 62.0]
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert walk(Threshold("entropy", -entropy - 1e-9, (0, 1)), FOUR).exit.tolist() == [0, 1, 2, 2]


def test_patience_waits_for_exits_that_agree() -> None:
    trace = traced([[0.9, 0.1, 0.1], [0.9, 0.9, 0.9], [0.9, 0.9, 0.1], [0.9, 0.9, 0.9]])
    assert walk(Patience(1), trace).exit.tolist() == [1, 2, 3]
    assert walk(Patience(2), trace).exit.tolist() == [2, 3, 3]


def test_oracles_know_where_an_input_leaves() -> None:
    least = 0.9 - 1e-9
    assert walk(OracleFromStart("max_softmax", least, 0), FOUR).macs(STRETCHES).tolist() == [11.0, 32.0, 60.0, 60.0]
    known = walk(Oracle("max_softmax", least, 0), FOUR)
    assert known.exit.tolist() == [0, 1, 2, 2]
    assert known.macs(STRETCHES).tolist() == [11.0, 33.0, 61.0, 61.0]
    assert known.predicted[:, 0].tolist() == [-1, 1, 2, 2]
    later = walk(OracleFromStart("max_softmax", least, 1), FOUR)
    assert later.exit.tolist() == [1, 1, 2, 2], "whatever lies before its start is not asked"
    assert later.macs(STRETCHES).tolist() == [32.0, 32.0, 60.0, 60.0]


def test_a_subset_asks_each_exit_for_its_own_confidence() -> None:
    sure, unsure = logit(np.array([0.93, 0.55]))
    measure = Shifted("max_softmax", (float(sure), float(unsure)))
    paths = walk(Subset.of(measure), FOUR)
    assert paths.exit.tolist() == [1, 1, 1, 1], "0.9 is too little at exit 0, 0.55 enough at exit 1"
    safer = walk(replace(Subset.of(measure), threshold=float(logit(np.array(0.6)) - unsure)), FOUR)
    assert safer.exit.tolist() == [1, 1, 1, 2]
    alone = Shifted("max_softmax", (np.inf, -np.inf))
    assert (alone.kept, alone.last) == ((1,), 1)
    only = walk(Subset.of(alone), FOUR)
    assert only.macs(STRETCHES).tolist() == [32.0] * 4, "an exit that is not kept runs no head, and nothing runs behind"
    assert measure.reported() == pytest.approx([0.93, 0.55])


def test_the_engine_of_predictive_exit_by_hand() -> None:
    logits = np.array([[1.0, 2.0, 0.0, -1.0]])
    # k = 1: 3, 3, 1, -1; k = 2: 6, 7, 3, 0; k = 3: 13, 16, 10, 3
    scales = np.array([1.0, 1.0, 1.0, 1.0, 1.0])
    assert convolved(logits, scales, 2.9, 0, 8).tolist() == [1]
    assert convolved(logits, scales, 3.0, 0, 8).tolist() == [2], "more than, not as much as"
    assert convolved(logits, scales, 7.0, 0, 8).tolist() == [3]
    assert convolved(logits, scales, 16.0, 0, 3).tolist() == [3], "as far as it looks"
    assert convolved(logits, np.array([9.0, 2.0, 1.0, 1.0]), 3.0, 0, 8).tolist() == [2], (
        "the scale of the exit foretold"
    )
    assert convolved(logits, np.array([9.0, 9.0, 9.0, 1.0]), 2.0, 1, 8).tolist() == [2], (
        "beyond the last, the last one's"
    )


def test_the_engine_leaves_predicts_and_predicts_again() -> None:
    logits = [np.array([[1.0, 2.0, 0.0, -1.0]]), np.array([[0.0, 1.0, 0.0, 0.0]]), np.array([[3.0, 1.0, 0.0, 0.0]])]
    trace = Trace((*logits, logits[0]), np.array([1]), np.ones((4, 1)), True, np.ones((4, 1), dtype=int))
    paths = walk(PredictiveConv(2.5, 0, 8, (1.0, 1.0, 1.0, 1.0)), trace)
    # 0: 2 < 2.5, u^1 = 3 > 2.5 so exit 1; there 1 < 2.5, u^1 = 1, u^2 = 3 > 2.5 so the final one, number 3
    assert paths.visited.tolist() == [[True, True, False, True]]
    assert paths.predicted.tolist() == [[1, 3, -1, -1]]


def test_the_placement_rule_by_hand() -> None:
    # m = 0: (0.5 - 0.2) 20 - 0.8 x 1 - 0.5 x 10 = 0.2 stays; m = 1: (0.5 - 0.2) 30 - 0.8 x 2 - 0.5 x 20 = -2.6 goes
    segments, heads = np.array([10.0, 20.0, 30.0]), np.array([1.0, 2.0])
    assert placed(segments, heads, np.array([0.2, 0.2])) == (0,)
    assert placed(segments, heads, np.array([0.3, 0.0])) == (1,)


def test_three_exits_at_quarters_of_the_work() -> None:
    assert quarters(np.array([10.0, 10.0, 30.0, 30.0, 20.0])) == (1, 2, 3)


def test_a_quantile_is_the_first_exit_that_reaches_it() -> None:
    chances = np.array([[0.0, 0.5, 0.3, 0.2], [0.0, 0.0, 0.0, 1.0]])
    assert quantile(chances, 0.5).tolist() == [1, 3]
    assert quantile(chances, 0.6).tolist() == [2, 3]
    assert quantile(chances, 0.81).tolist() == [3, 3]


@pytest.mark.parametrize("seed", range(20))
def test_the_cheapest_way_on_is_that_of_brute_force(seed: int) -> None:
    random = np.random.default_rng(seed)
    exits = 5
    segments, heads = random.uniform(1, 5, exits + 1), random.uniform(0, 4, exits)
    done = np.concatenate([[0], segments.cumsum()])
    ends = np.append(heads, 0.0)
    stretches = np.array(
        [[max(0.0, done[e + 1] - done[s] + ends[e]) for e in range(exits + 1)] for s in range(exits + 1)]
    )
    at, asking = 1, 0.3
    chances = np.concatenate([np.zeros(at + 1), random.dirichlet(np.ones(exits - at))])
    beyond = 1 - chances.cumsum()
    best, first = np.inf, -1
    inner = range(at + 1, exits)
    for count in range(len(inner) + 1):
        for visited in combinations(inner, count):
            price, here, going = 0.0, at, 1.0
            for there in (*visited, exits):
                price += going * (stretches[here + 1, there] + (asking if here < exits - 1 else 0.0))
                here, going = there, max(0.0, beyond[there])
            if price < best - 1e-12:
                best, first = price, (*visited, exits)[0]
    assert cheapest_next(chances[None], stretches, at, asking).tolist() == [first]


def always(trace: Trace, hazards: list[float]) -> Predictor:
    """Foretells the same of every input: the chance to leave at each exit of those that reach it."""
    count, exits = feature_count(trace), trace.exits
    odds = np.log(np.array(hazards) / (1 - np.array(hazards)))
    nothing = np.zeros((count, 0)), np.zeros((exits, 0)), np.zeros((0, exits))
    return Predictor("max_softmax", np.zeros(count), np.ones(count), *nothing, np.tile(odds, (exits, 1)))


def test_what_is_beyond_a_promise_happens_there() -> None:
    chances = np.array([[0.0, 0.5, 0.3, 0.2], [0.0, 0.1, 0.2, 0.7]])
    assert truncated(chances, np.array([2, 3])) == pytest.approx(np.array([[0, 0.5, 0.5, 0], [0, 0.1, 0.2, 0.7]]))


UNSURE = traced([[0.6, 0.6]] * 3 + [[0.95, 0.6]] + [[0.99, 0.99]])  # four exits; the first input is sure at the last
HAZARDS = [0.5, 0.5, 0.5, 0.5]  # asked at exit 0: chances 0.5, 0.25, 0.125 at exits 1 to 3 and 0.125 at the end
DEAR = np.where(np.tri(5, k=-1) > 0, 0.0, np.arange(1, 6)[None] - np.arange(5)[:, None])  # heads cost nothing


def test_a_cap_is_the_exit_by_which_it_answers() -> None:
    predictor = always(UNSURE, HAZARDS)
    free = walk(Predictive("max_softmax", 0.9, 0, predictor, DEAR, 0.0), UNSURE)
    assert free.exit.tolist() == [3, 4]
    assert free.latest_exit.min() == 4
    capped = Predictive("max_softmax", 0.9, 0, predictor, DEAR, 0.0, cap=0.75)
    paths = walk(capped, UNSURE)
    assert paths.exit.tolist() == [2, 2], "has left by exit 2 with a chance of 0.75: it answers there, sure or not"
    assert paths.visited.tolist() == [[True, True, True, False, False]] * 2
    assert paths.latest_exit[:, 1:3].tolist() == [[2, 2]] * 2
    assert paths.continue_probability[:, 1].tolist() == pytest.approx([0.5, 0.5])
    assert paths.continue_probability[:, 2].tolist() == [0.0, 0.0]


def test_a_limit_of_visits_goes_to_the_last_exit_at_once() -> None:
    one = Predictive("max_softmax", 0.9, 0, always(UNSURE, HAZARDS), DEAR, 0.0, visits=1)
    assert walk(one, UNSURE).visited.tolist() == [[True, True, False, False, True]] * 2
    capped = Predictive("max_softmax", 0.9, 0, always(UNSURE, HAZARDS), DEAR, 0.0, visits=1, cap=0.8)
    assert walk(capped, UNSURE).visited.tolist() == [[True, True, False, True, False]] * 2
    assert walk(capped, UNSURE).max_visits[:, 1].tolist() == [0, 0]


def test_who_commits_leaves_where_it_said() -> None:
    paths = walk(PredictiveCommit("max_softmax", 0.9, 0, always(UNSURE, HAZARDS), 0.75), UNSURE)
    assert paths.visited.tolist() == [[True, False, True, False, False]] * 2
    assert paths.exit.tolist() == [2, 2]
