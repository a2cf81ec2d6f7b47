"""What a report knows of a run: figures, without any rendering. Names are report.json's; None is what is not known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from coc_cli.report.answers import AnswersView


@dataclass(frozen=True)
class ExitView:
    """An exit on the test images; the last one is the final output."""

    index: int
    share: float | None
    metric_value: float | None  # of the images that leave there
    metric_all: float | None  # of all images, had they left there


@dataclass(frozen=True)
class LayerView:
    """A layer with weights; counts are those of an image that runs it."""

    name: str
    macs: float | None
    bitops: float | None
    params: float | None
    weight_bits: float | None
    activation_bits: float | None


@dataclass(frozen=True)
class EpochView:
    """One pass over the training images; `metric` is on validation."""

    epoch: int
    loss: float | None
    metric: float | None


@dataclass(frozen=True)
class LatencyView:
    """What one batch took; of CPU time and what follows, files of before have nothing."""

    median: float | None
    p95: float | None
    cpu_median: float | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    busy: bool | None
    threads: float | None
    batch: float | None
    runtime: str | None
    integer_convs: float | None
    convs: float | None


@dataclass(frozen=True)
class DifferenceView:
    """How the metric differs from the baseline's: value minus value, and the 95 % interval if it is known (paired)."""

    value: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class StageView:
    """A network of the chain and what it scored; the first is the baseline."""

    index: int
    name: str
    metric_value: float | None
    metric_ci95: tuple[float, float] | None
    r2: float | None  # of numbers
    trivial_value: float | None  # the metric of answering always the same
    n_test: float | None
    macs: float | None
    bitops: float | None
    bitops_ratio: float | None
    bitops_ratio_nominal: float | None
    factor: float | None  # BitOps of the stage before by this one's
    params: float | None
    checkpoint_bytes: float | None
    bytes_ratio: float | None
    latency_ms: LatencyView | None
    change: DifferenceView | None  # against the baseline
    seconds: float | None
    exits: tuple[ExitView, ...]
    layers: tuple[LayerView, ...]
    epochs: tuple[EpochView, ...]

    @property
    def title(self) -> str:
        """Number and name."""
        return f"{self.index} {self.name}"


@dataclass(frozen=True)
class LimitView:
    """A limit of the recipe."""

    name: str
    limit: float | None
    value: float | None
    ok: bool | None
    decided: bool | None = None  # False: other work on the machine let no time be judged


@dataclass(frozen=True)
class PredictorView:
    """How good a policy's predictions of exits are, measured on test."""

    hit_rate: float | None
    mean_abs_error: float | None  # exits


@dataclass(frozen=True)
class PolicyView:
    """An exit policy under a governor; times and energies are a model."""

    policy: str
    governor: str
    metric_value: float | None
    macs_mean: float | None
    latency_ms_mean: float | None
    energy_mj_mean: float | None
    energy_mj_ci95: tuple[float, float] | None
    energy_saving: float | None
    deadline_miss_rate: float | None
    one_level: bool | None  # no input changes the frequency on its way
    predictor: PredictorView | None
    family: str | None = None  # none, passive, paper, ours or bound; None in files that do not say it


@dataclass(frozen=True)
class PointView:
    """An operating point of a policy on test."""

    metric_value: float
    macs: float


@dataclass(frozen=True)
class CurveView:
    """A policy's operating points."""

    policy: str
    points: tuple[PointView, ...]
    family: str | None = None


@dataclass(frozen=True)
class Stretch:
    """A part of a schedule: layers run, a change of level, or waiting."""

    frequency_mhz: float
    latency_ms: float
    energy_mj: float
    reason: str


@dataclass(frozen=True)
class ExampleView:
    """A test image, and how it ran through the schedule."""

    input: int
    kind: str  # easy, hard or mispredicted
    png: str  # base64
    label: str
    prediction: str
    exit: int
    latency_ms: float | None
    energy_mj: float | None
    deadline_ms: float | None
    segments: tuple[Stretch, ...]


@dataclass(frozen=True)
class BestView:
    """The policy and governor of a kind that need least energy; a model."""

    policy: str
    governor: str
    energy_mj_mean: float | None
    energy_mj_ci95: tuple[float, float] | None
    one_level: bool | None


@dataclass(frozen=True)
class BenefitView:
    """What prediction is worth at a deadline or on a changed device: the best passive policy, ours, and the bound."""

    name: str
    passive: BestView | None
    ours: BestView | None
    oracle: BestView | None
    saved_passive: float | None
    saved_passive_ci95: tuple[float, float] | None
    score_difference: float | None  # how much better ours scores on test: accuracy, or less error
    score_difference_ci95: tuple[float, float] | None
    gap_closed: float | None  # None where the oracle needs no less than the best passive policy
    gap_closed_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class SavingView:
    """What a policy saves at a metric that is so much worse than the final output's; None where it is not reached."""

    policy: str
    drop: float
    macs: float | None
    saved_classic: float | None
    saved_classic_ci95: tuple[float, float] | None
    saved_passive: float | None
    saved_passive_ci95: tuple[float, float] | None


@dataclass(frozen=True)
class PredictionView:
    """What `coc predict-exit` found on one device."""

    profile: str
    deadline: str | None
    deadline_ms: float | None
    metric: str
    n_test: float | None
    full_macs: float | None
    final_exit: int | None  # the index by which a schedule names the final output
    policies: tuple[PolicyView, ...]
    not_applicable: tuple[str, ...]
    curves: tuple[CurveView, ...]
    savings: tuple[SavingView, ...]
    deadlines: tuple[BenefitView, ...]
    sensitivity: tuple[BenefitView, ...]  # at the deadline; the first is the device as it is
    scheduled: PolicyView | None  # the row whose schedule was written
    answer: tuple[str, ...]  # what to use, what it needs and what pays, a line each
    notes: tuple[str, ...]
    examples: tuple[ExampleView, ...]


@dataclass(frozen=True)
class Run:
    """A run directory, as far as it can be read."""

    label: str  # the name; the directory where several runs have one name
    name: str
    directory: str
    task: str | None
    metric: str
    ok: bool | None  # every limit is met; None while that is not known
    stages: tuple[StageView, ...]
    limits: tuple[LimitView, ...]
    environment: dict[str, str]
    command: str | None
    seed: int | None
    recipe: str | None  # resolved, as it was written
    settings: dict[str, Any]  # the same, read
    predictions: tuple[PredictionView, ...]
    missing: tuple[str, ...]
    answers: AnswersView | None = None  # of the last stage
    warnings: tuple[str, ...] = ()  # why a network may be of no use
    damaged: tuple[str, ...] = ()  # what does not match its checksum, said above all else

    @property
    def first(self) -> StageView | None:
        """The baseline, if there is any stage."""
        return self.stages[0] if self.stages else None

    @property
    def last(self) -> StageView | None:
        """The result, if there is any stage."""
        return self.stages[-1] if self.stages else None

    @property
    def has_r2(self) -> bool:
        """Whether R2 is known of any stage."""
        return any(stage.r2 is not None for stage in self.stages)

    @property
    def verdict(self) -> str:
        """Whether limits are met, in two words."""
        if self.ok is None:
            return "not finished"
        if not self.limits:
            return "no limits set"
        if not self.ok and all(limit.ok or limit.decided is False for limit in self.limits):
            return "not decided: busy machine"
        return "limits met" if self.ok else "LIMIT MISSED"

    @property
    def sign(self) -> int:
        """1 where a larger metric is better, else -1."""
        return sign(self.metric)


def sign(metric: str) -> int:
    """Return 1 for a metric of which more is better, -1 for an error."""
    return -1 if metric == "mae" else 1


KEYS = {"predictions": "forecasts"}  # how `coc report --format json` names a field


def as_data(run: Run) -> dict[str, Any]:
    """Return a run as plain data, without images."""
    data = {KEYS.get(name, name): value for name, value in asdict(run).items() if name != "settings"}
    for prediction in data[KEYS["predictions"]]:
        for example in prediction["examples"]:
            del example["png"]
    return data
