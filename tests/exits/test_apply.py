"""`--apply`: the rule that a checkpoint gets lets images leave where the policy does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import coc
from synthetic_traces import EXITS, synthetic
from tiny import TINY_EXITS

from coc_cli.exits.apply import rule_of
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.policy import walk
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policies.threshold import Threshold
from coc_cli.exits.traces import Shifted
from coc_cli.learning.evaluation import exit_of
from coc_cli.nets.spec import ExitRule

OLD = ExitRule(measure="max_softmax", threshold=0.5, max_drop=0.01)


@pytest.mark.parametrize("base", ["max_softmax", "entropy"])
@pytest.mark.parametrize("ends", [np.inf, -np.inf])
def test_a_rule_leaves_where_its_policy_does(base: str, ends: float) -> None:
    trace = synthetic(400, 1)
    usual = 0.5 if base == "max_softmax" else 0.1
    least = tuple(
        np.inf if exit_ == 2 else ends if exit_ == EXITS - 1 else usual + 0.2 * exit_ for exit_ in range(EXITS)
    )
    policy = Subset.of(Shifted(base, least))
    kept, rule = rule_of(policy, OLD)
    outputs = [torch.from_numpy(trace.outputs[exit_]) for exit_ in (*kept, EXITS)]
    expected = walk(policy, trace).exit
    assert len(np.unique(expected)) > 3
    np.testing.assert_array_equal(np.array([*kept, EXITS])[exit_of(outputs, rule).numpy()], expected)


def test_a_threshold_of_all_exits_and_no_exits() -> None:
    trace = synthetic(400, 2)
    policy = Threshold("entropy", -0.4, tuple(range(EXITS)))
    kept, rule = rule_of(policy, OLD)
    outputs = [torch.from_numpy(output) for output in trace.outputs]
    np.testing.assert_array_equal(exit_of(outputs, rule).numpy(), walk(policy, trace).exit)
    assert kept == tuple(range(EXITS))
    assert rule_of(Classic(), OLD) == ((), None)


def test_the_checkpoint_scores_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TINY_EXITS)
    coc("compress", tmp_path / "t.yaml", "--out", tmp_path / "run")
    said = json.loads(coc("predict-exit", tmp_path / "run", "--profile", "cortex-m7", "--apply", "--json").stdout)
    path, applied = tmp_path / "run/predict-exit/cortex-m7/model.safetensors", said["applied"]
    shown = json.loads(coc("inspect", path, "--json").stdout)
    assert len(shown["exits"]) == len(applied["exits"]) == len(applied["thresholds"])
    assert [one["stage"] for one in shown["lineage"]] == ["baseline", "early_exit", "predict_exit"]
    measured = json.loads(coc("evaluate", path, "--data", tmp_path / "t.yaml", "--json").stdout)
    assert measured["splits"][-1]["metric_value"] == pytest.approx(applied["metric_value"])
    before = (tmp_path / "run/model.safetensors").read_bytes()
    refused = coc("predict-exit", tmp_path / "run", "--apply", "--out", tmp_path / "run", code=2).stderr
    place = tmp_path / "run/model.safetensors"
    assert (
        refused == f"--out: '{place}' is a checkpoint of its own, which --apply would write over; name another folder\n"
    )
    assert place.read_bytes() == before
    rows = {(row["policy"], row["governor"]): row for row in said["policies"]}
    if applied["policy"] == said["schedule"]["policy"]:
        row = rows[applied["policy"], said["schedule"]["governor"]]
        assert row["metric_value"] == pytest.approx(applied["metric_value"], abs=1 / 360)
