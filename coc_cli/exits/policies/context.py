"""What the candidates of all policies are made from: validation's trace, the workload and the predictors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from coc_cli.dvfs.energy import Array, Workload
from coc_cli.exits.predictor import Predictor
from coc_cli.exits.traces import Trace

THRESHOLDS = 24  # tried of a policy without a predictor
PREDICTED_THRESHOLDS = 12  # and of one with it
START_FRACTIONS = (0.1, 0.2, 0.35, 0.5, 0.65)  # of the exits: where a prediction may begin


@dataclass(frozen=True)
class PolicyContext:
    """All that a policy may choose its parameters from; nothing in it is of the test split."""

    trace: Trace  # of validation
    workload: Workload
    measures: tuple[str, ...]  # the rule's own first
    seed: int
    folds: list[tuple[Predictor, Array]] = field(default_factory=list)  # each with the images that it has not seen
    predictor: Predictor | None = None  # fitted on all of validation

    @property
    def measure(self) -> str:
        return self.measures[0]

    @cached_property
    def unseen(self) -> list[tuple[Predictor, Trace]]:
        """Each fold's predictor with the images that it has not seen."""
        return [(predictor, self.trace.rows(fold)) for predictor, fold in self.folds]

    def thresholds(self, count: int, measure: str) -> list[float]:
        """Return thresholds spread over the confidence of exits, from where nearly all leave to where few do."""
        confidence = self.trace.confidence(measure)
        values = np.unique(confidence[np.isfinite(confidence)])
        low, high = 0.02, 0.999
        levels = 1 - np.geomspace(1 - high, 1 - low, count)
        return sorted({float(value) for value in np.quantile(values, levels)}) if len(values) else [np.inf]

    def starts(self) -> list[int]:
        """Return the exits at which a prediction may begin."""
        exits = self.trace.exits
        return sorted({0, *(round(exits * part) for part in START_FRACTIONS), min(6, exits - 1)} - {exits})
