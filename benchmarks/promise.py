"""How often a promise of `confidence` fails on a network's own images, beside a threshold that was chosen without one.

    OMP_NUM_THREADS=1 python benchmarks/promise.py RUN --draws 500

What exits say of all images that the run's network never trained on is taken for a population, whose drops are known.
Validation sets are drawn from it with replacement; a threshold chosen by each fails where the population loses more
than `max_drop` by it. An illustration: for any population see coc_cli/learning/certificate.py and its test.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

import numpy as np
import torch

from coc_cli.chain.result import environment
from coc_cli.exits.predict_exit import make_traces
from coc_cli.exits.request import prepare
from coc_cli.learning import exit_thresholds
from coc_cli.learning.exit_thresholds import best_threshold, exit_costs, exits_at, promised_threshold
from coc_cli.nets.checkpoint import load
from coc_cli.nets.exit_rules import NEVER, exit_scores
from coc_cli.nets.spec import ExitRule
from coc_cli.report.schema.part import as_data

JSON = Path(__file__).resolve().parents[1] / "docs/benchmarks/promise.json"
CANDIDATES = 100  # of thresholds, where coc tries 1,000: for the time of many draws


def main() -> None:
    """Draw, choose and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory with exits of a classifier")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--images", type=int, default=4000, help="of each draw")
    parser.add_argument("--max-drop", type=float, default=0.005)
    parser.add_argument("--confidence", type=float, default=0.95)
    asked = parser.parse_args()
    request = prepare(asked.run, device="cpu", trust_code=True)
    network, spec = load(request.checkpoint, trust_code=True), request.header.spec
    validation, test = make_traces(request, network, request.recipe.images(), print)
    every = validation.joined(test)
    outputs, score = [torch.from_numpy(one) for one in every.outputs], torch.from_numpy(every.score).double()
    rule = ExitRule(measure="max_softmax", threshold=0.0, max_drop=asked.max_drop, confidence=asked.confidence)
    costs, sure = exit_costs(spec), exit_scores(outputs, rule.measure)
    exit_thresholds.CANDIDATES = CANDIDATES

    def drop(threshold: float) -> float:
        return float((score[-1] - score.gather(0, exits_at(sure, threshold)[None])[0]).mean())

    random, counts = np.random.default_rng(0), {"failed": 0, "used": 0, "failed_without": 0}
    for _ in range(asked.draws):
        rows = torch.from_numpy(random.integers(0, len(every), asked.images))
        drawn = [output[rows] for output in outputs], score[:, rows], rule, costs
        threshold = promised_threshold(*drawn)
        counts["failed"] += drop(threshold) > rule.max_drop
        counts["used"] += threshold < NEVER[rule.measure]
        counts["failed_without"] += drop(best_threshold(*drawn)) > rule.max_drop
    content = {
        "command": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', os.cpu_count())} python benchmarks/promise.py "
        + shlex.join(sys.argv[1:]),
        "environment": as_data(environment("cpu")),
        "population": len(every),
        **{name: getattr(asked, name) for name in ("draws", "images", "max_drop", "confidence")},
        **counts,
    }
    JSON.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
