"""What a predictor learns from the images that the network was trained on, against one fitted on validation.

Not a test; run it on a run directory whose chain has exits:

    python tests/bench_predictor.py runs/exits-cifar10
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from coc_cli.checkpoint import load
from coc_cli.exits.fitting import calibration_error, fit
from coc_cli.exits.gather import gather, workload
from coc_cli.exits.points import Kit
from coc_cli.exits.policies import first_sure
from coc_cli.exits.traces import Array
from coc_cli.recipe import read


def judged(chances: Array, leaves: Array) -> str:
    """Say how good forecasts [n, E + 1] are of the exits [n] that came."""
    mean = (chances * np.arange(chances.shape[1])).sum(1)
    likelihood = np.log(np.maximum(chances[np.arange(len(leaves)), leaves], 1e-9)).mean()
    return (
        f"forecast less what came {(mean - leaves).mean():+.2f} exits, log-likelihood {likelihood:.3f} nats,"
        f" calibration error {calibration_error(chances, leaves):.3f}"
    )


def main() -> None:
    run = Path(sys.argv[1])
    network = load(run / "model.safetensors", trust_code=True)
    data = read(run / "recipe.yaml").images()
    rule, work = network.spec.rule, workload(network.spec)
    assert rule is not None
    validation, test = gather(network, data.validation), gather(network, data.test)
    train = gather(network, data.train.first(len(validation)))
    thresholds = Kit(validation, work, (rule.measure,), 0).thresholds(6, rule.measure)
    for name, trace in (("training", train), ("validation", validation)):
        predictor = fit(trace, rule.measure, thresholds, work.full_macs, seed=0)
        for at in (0, trace.exits // 3):
            for least in thresholds[2:5:2]:
                rows = np.flatnonzero(test.sureness(rule.measure)[at] < least)
                chances = predictor.chances(test, at, rows, np.full(len(rows), at - 1), least)
                leaves = first_sure(test, rule.measure, least, after=at)[rows]
                print(f"fitted on {name:10}  asked at exit {at}, threshold {least:.4f}: {judged(chances, leaves)}")


if __name__ == "__main__":
    main()
