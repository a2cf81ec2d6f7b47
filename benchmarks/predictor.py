"""What a predictor learns from the images that the network was trained on, against one fitted on validation.

Not a test; run it on a run directory whose chain has exits:

    python benchmarks/predictor.py runs/exits-cifar10
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.collect_traces import collect_traces, workload
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.predictor import calibration_error
from coc_cli.exits.predictor_fitting import fit
from coc_cli.exits.traces import first_confident
from coc_cli.nets.checkpoint import load
from coc_cli.recipe.reading import read


def judged(probabilities: Array, leaves: Array) -> str:
    """Return how good predictions [n, E + 1] are of the exits [n] that came."""
    mean = (probabilities * np.arange(probabilities.shape[1])).sum(1)
    likelihood = np.log(np.maximum(probabilities[np.arange(len(leaves)), leaves], 1e-9)).mean()
    return (
        f"predicted less actual {(mean - leaves).mean():+.2f} exits, log-likelihood {likelihood:.3f} nats,"
        f" calibration error {calibration_error(probabilities, leaves):.3f}"
    )


def main() -> None:
    run = Path(sys.argv[1])
    network = load(run / "model.safetensors", trust_code=True)
    data = read(run / "recipe.yaml").images()
    rule, work = network.spec.rule, workload(network.spec)
    assert rule is not None
    validation, test = collect_traces(network, data.validation), collect_traces(network, data.test)
    train = collect_traces(network, data.train.first(len(validation)))
    thresholds = PolicyContext(validation, work, (rule.measure,), 0).thresholds(6, rule.measure)
    for name, trace in (("training", train), ("validation", validation)):
        predictor = fit(trace, rule.measure, thresholds, work.full_macs, seed=0)
        for at in (0, trace.exits // 3):
            for least in thresholds[2:5:2]:
                rows = np.flatnonzero(test.confidence(rule.measure)[at] < least)
                probabilities = predictor.probabilities(test, at, rows, np.full(len(rows), at - 1), least)
                leaves = first_confident(test, rule.measure, least, after=at)[rows]
                print(f"fitted on {name:10}  at exit {at}, threshold {least:.4f}: {judged(probabilities, leaves)}")


if __name__ == "__main__":
    main()
