"""What all policies choose their parameters from: validation's trace, the device, the predictors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, Work, Workload
from coc_cli.exits.predictor import Predictor
from coc_cli.exits.traces import Measure, Shifted, Trace

if TYPE_CHECKING:
    from coc_cli.dvfs.profile import Profile

GRID = 240  # steps from leaving early to leaving late: of every policy that can be tuned
THRESHOLDS = 24  # of them that are looked at where each would give another form
PREDICTED_THRESHOLDS = 12  # for which a predictor is fitted
SHIFTS = (-4.0, 8.0)  # of a subset's thresholds, on the scale of `stretched`
FOLDS = 5
MOST_STARTS = 4  # of a prediction, in a subset
START_FRACTIONS = (0.1, 0.2, 0.35, 0.5, 0.65)  # of the exits: where a prediction may begin


@dataclass(frozen=True)
class Fitted:
    """A predictor of where inputs leave by a measure."""

    predictor: Predictor  # fitted on all of validation
    folds: tuple[Predictor, ...]  # and on all but one fold each


@dataclass(frozen=True)
class PolicyContext:
    """All that a policy may choose its parameters from; nothing in it is of the test split."""

    trace: Trace  # of validation
    workload: Workload
    profile: Profile
    measures: tuple[str, ...]  # the rule's own first
    seed: int
    by_macs: tuple[Shifted, ...] = ()  # subsets of exits, each with its thresholds, that need the fewest MACs
    by_energy: tuple[Shifted, ...] = ()  # or the least energy
    many_exits: Shifted | None = None  # such a subset as if heads cost less
    refitted: Mapping[Shifted, tuple[Shifted, ...]] = field(default_factory=dict)  # with thresholds of all but a fold
    fitted: Mapping[Measure, Fitted] = field(default_factory=dict)
    _known: dict[tuple[int, str], list[float]] = field(default_factory=dict)
    _models: dict[float, EnergyModel] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        return self.measures[0]

    @property
    def predicted(self) -> tuple[Measure, ...]:
        """The measures by which predicted exits are those where inputs leave."""
        return tuple(self.fitted) or (self.measure,)

    @cached_property
    def folds(self) -> list[Array]:
        """The images of each fold of validation: what was fitted on the others answers them."""
        order = np.random.default_rng(self.seed).permutation(len(self.trace))
        return [np.sort(order[fold::FOLDS]) for fold in range(FOLDS)]

    @cached_property
    def parts(self) -> list[Trace]:
        """The trace of each fold."""
        return [self.trace.rows(fold) for fold in self.folds]

    @cached_property
    def rest_rows(self) -> list[Array]:
        """The images of all but each fold."""
        return [np.setdiff1d(np.arange(len(self.trace)), fold) for fold in self.folds]

    @cached_property
    def rests(self) -> list[Trace]:
        """The trace of all but each fold."""
        return [self.trace.rows(rows) for rows in self.rest_rows]

    def model(self, prediction_macs: float = 0.0) -> EnergyModel:
        """Return the time and energy that paths take, with predictions that cost so much."""
        if prediction_macs not in self._models:
            work = self.workload
            predicting = replace(work, predictor=Work({"fp32": prediction_macs})) if prediction_macs else work
            self._models[prediction_macs] = EnergyModel(self.profile, predicting)
        return self._models[prediction_macs]

    def thresholds(self, count: int, measure: Measure) -> list[float]:
        """Return thresholds spread over the confidence of exits, from where nearly all leave to where few do.

        Of a subset's measure they are shifts of all its exits, the same for each fold.
        """
        if isinstance(measure, Shifted):
            return [float(shift) for shift in np.linspace(*SHIFTS, count)]
        if (count, measure) not in self._known:
            confidence = self.trace.confidence(measure)
            values = np.unique(confidence[np.isfinite(confidence)])
            low, high = 0.02, 0.999
            levels = 1 - np.geomspace(1 - high, 1 - low, count)
            spread = sorted({float(value) for value in np.quantile(values, levels)}) if len(values) else [np.inf]
            self._known[count, measure] = spread
        return self._known[count, measure]

    @cached_property
    def peaks(self) -> Array:
        """The greatest logit of each input at each inner exit over that exit's scale, sorted; [E x N]."""
        scales = np.maximum(np.array(mean_logits(self.trace))[:-1], 1e-12)
        found = [np.abs(output).max(1) / scale for output, scale in zip(self.trace.outputs, scales, strict=False)]
        return np.sort(np.concatenate(found))

    def starts(self, measure: Measure | None = None) -> list[int]:
        """Return the exits at which a prediction may begin: of a subset, those that it keeps."""
        exits = self.trace.exits
        if isinstance(measure, Shifted):
            return [exit_ for exit_ in measure.kept if exit_ < measure.last][:MOST_STARTS] or [0]
        return sorted({0, *(round(exits * part) for part in START_FRACTIONS), min(6, exits - 1)} - {exits})


def mean_logits(trace: Trace) -> tuple[float, ...]:
    """Return |mean logit| of each exit."""
    return tuple(float(abs(output.mean())) for output in trace.outputs)
