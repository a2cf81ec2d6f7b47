"""predict-exit.json, how exit policies compare on a device, and schedule.jsonl, how each test image would run there."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from coc_cli.report.schema.part import Added, Count, Interval, JsonPart

Parameters = dict[str, Any]  # of a policy: numbers and names, by name
MaybeInterval = tuple[float | None, float | None]


class Choice(JsonPart):
    """A policy under a governor."""

    policy: str = Field(description="name of the exit policy")
    governor: str = Field(description="name of the governor, which chooses frequencies")
    energy_mj_mean: float = Field(description="energy of a test image in mJ, mean (a model)")


class Summary(Choice):
    """Time and energy of a policy under a governor on test; both are a model."""

    latency_ms_mean: float = Field(description="time to the answer in ms, mean")
    energy_saving: float = Field(description="fraction of the energy of classic under race that is saved, up to 1")
    deadline_miss_rate: float = Field(description="fraction of the images that miss the deadline, 0..1")
    one_level: Added[bool] = Field(description="whether no image changes the frequency on its way")


class PredictorEntry(JsonPart):
    """How good a policy's predictions of exits are on test."""

    hit_rate: float = Field(description="fraction of the predictions that name the right exit, 0..1")
    mean_abs_error: float = Field(description="mean distance from the right exit, in exits")
    repredictions_mean: Added[float] = Field(description="predictions of an image behind its first, mean")


class PolicyRow(Summary):
    """A policy under a governor, in full."""

    metric_value: float = Field(description="the metric on test: accuracy 0..1, or mae in the targets' unit")
    macs_mean: float = Field(description="MACs of an image, mean")
    macs_reduction: float = Field(description="fraction of the full path's MACs that is saved, up to 1")
    predictor: PredictorEntry | None = Field(description="how good its predictions are; null if it predicts nothing")
    parameters: Parameters = Field(description="parameters of the policy, by name")
    exit_shares: list[float] = Field(description="fraction of the images that leave at each exit, final output last")
    family: Added[str] = Field(description="what it is compared as: none, passive, paper, ours or bound")
    least_deadline: Added[float | None] = Field(
        default=None, description="the least deadline that the policy keeps, as a multiple of the plain network's time"
    )
    saving_vs_subset: Added[float | None] = Field(
        default=None, description="fraction of subset's energy that is saved at equal score on test; null: not read"
    )
    saving_vs_no_exits: Added[float | None] = Field(
        default=None, description="fraction of the energy without exits, under its best governor, saved likewise"
    )
    drop_vs_baseline: Added[float | None] = Field(
        default=None, description="how much worse it scores than the baseline of its run; null: not known"
    )


class OpponentEntry(JsonPart):
    """What is saved against an opponent at equal score on test."""

    opponent: str = Field(description="classic (no exits), the papers' passive kinds, subset at one level, or subset")
    saving: float = Field(description="fraction of the opponent's energy that is saved")
    saving_ci95: Interval | None = Field(description="95 % interval (bootstrap); null where too many samples failed")
    unread_samples: Count = Field(description="bootstrap samples in which one of both does not reach the score")


class EqualScoreEntry(Choice):
    """A policy under its best governor, read at a score that is the same for all."""

    family: str = Field(description="what it is compared as: none, passive, paper, ours or bound")
    energy_mj: float | None = Field(description="energy of a test image at that score, mJ; null: not reached")
    against: list[OpponentEntry] = Field(description="what is saved against each opponent that reaches it")


class DeadlineRow(Summary):
    """A policy under a governor at one of the deadlines."""

    energy_mj_ci95: Interval = Field(description="95 % interval of the mean energy, low and high, mJ (bootstrap)")


class BenefitEntry(JsonPart):
    """What the prediction is worth: ours against the best passive policy and the bound, each with its best governor."""

    passive: Choice | None = Field(description="the best policy that predicts nothing; null if there is no comparison")
    ours: Choice | None = Field(description="the best policy that predicts")
    oracle: Choice | None = Field(description="the bound: exits are known before")
    gap_closed: float | None = Field(description="fraction of passive's energy above oracle's that ours saves; or null")
    saved_passive: float | None = Field(description="fraction of passive's energy that ours saves")
    score_difference: float | None = Field(
        default=None, description="how much better ours scores on test: accuracy, or less error"
    )
    saved_passive_ci95: Interval | None = Field(default=None, description="95 % interval, low and high (bootstrap)")
    score_difference_ci95: Interval | None = Field(default=None, description="95 % interval, low and high (bootstrap)")
    gap_closed_ci95: Interval | None = Field(default=None, description="95 % interval; null where there is no gap")


class Deadline(JsonPart):
    """All policies under all governors at a deadline."""

    deadline: str = Field(description="the deadline as a multiple of the plain network's time, such as 1.25x")
    deadline_ms: float = Field(description="the deadline in ms")
    rows: list[DeadlineRow] = Field(description="policies under governors")
    worth: BenefitEntry = Field(description="what the prediction is worth at this deadline")


class ChangeHead(JsonPart):
    """What stands first in a change."""

    change: str = Field(description="which number of the profile is another, and how")


class ChangeEntry(BenefitEntry, ChangeHead):
    """What the prediction is worth on a device in which one number is another."""


class SavingEntry(JsonPart):
    """MACs that a policy saves at a score that is so much below the final output's."""

    policy: str = Field(description="name of the exit policy")
    drop: float = Field(description="how far the score may fall: accuracy 0..1, or error in the targets' unit")
    macs: float | None = Field(description="MACs of an image, mean; null if the score is not reached")
    saved_classic: float | None = Field(description="fraction of classic's MACs that is saved")
    saved_classic_ci95: MaybeInterval = Field(description="95 % interval, low and high (bootstrap)")
    saved_passive: float | None = Field(description="fraction of the MACs of the best passive policy that is saved")
    saved_passive_ci95: MaybeInterval = Field(description="95 % interval, low and high (bootstrap)")


class PointEntry(JsonPart):
    """An operating point of a policy."""

    parameters: Added[Parameters] = Field(description="parameters of the policy, by name")
    validation_score: Added[float] = Field(description="score on validation: accuracy, or minus the error")
    validation_macs: Added[float] = Field(description="MACs of a validation image, mean")
    score: float = Field(description="score on test: accuracy, or minus the error")
    macs: float = Field(description="MACs of a test image, mean")


class CurveEntry(JsonPart):
    """Score against MACs of a policy."""

    policy: str = Field(description="name of the exit policy")
    points: list[PointEntry] = Field(description="operating points")
    family: Added[str] = Field(description="what the policy is compared as: none, passive, paper, ours or bound")


class ExampleEntry(JsonPart):
    """A test image to show."""

    input: Count = Field(description="its place among the test images, from 0")
    kind: str = Field(description="easy, hard or mispredicted")
    png: str = Field(description="the image as a PNG in base64")


class Scheduled(JsonPart):
    """Of which row schedule.jsonl is."""

    policy: str = Field(description="name of the exit policy")
    governor: str = Field(description="name of the governor")


class Applied(JsonPart):
    """The checkpoint that was written beside this file, with the exits of a policy and no others."""

    policy: str = Field(description="name of the exit policy")
    exits: list[int] = Field(description="the exits that were kept, by their numbers in the network as it was")
    thresholds: list[float] = Field(description="that of each, on the scale of its rule")
    metric_value: float = Field(description="the metric on test, of the checkpoint as it leaves by itself")
    checkpoint_sha256: str = Field(description="checksum of the file, hexadecimal")


class PredictExitReport(JsonPart):
    """predict-exit.json: exit policies under governors on one device; times and energies are a model."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    profile: Added[str] = Field(description="name of the device's profile")
    deadline: str = Field(description="the deadline as it was asked for: 1.25x the plain network's time, or 12ms")
    deadline_ms: float = Field(description="the deadline in ms")
    energy: Added[Literal["model"]] = Field(description="where energies are from")
    latency: Added[Literal["model"]] = Field(description="where times are from")
    metric: str = Field(description="accuracy, 0..1, or mae, in the targets' unit")
    n_test: Count = Field(description="number of test images")
    policies: list[PolicyRow] = Field(description="policies under governors at the deadline, classic under race first")
    answer: Added[list[str]] = Field(default=[], description="what to use, what it needs and what pays, a line each")
    notes: Added[list[str]] = Field(description="what a reader of the schedule would wonder about")
    not_applicable: Added[list[str]] = Field(description="policies that this network cannot have")
    deadlines: list[Deadline] = Field(description="the comparison at several deadlines")
    sensitivity: list[ChangeEntry] = Field(
        description="the comparison on changed devices; the first is the device as it is"
    )
    savings: Added[list[SavingEntry]] = Field(description="MACs that are saved at equal score")
    equal_score: Added[list[EqualScoreEntry]] = Field(
        default=[], description="energy at equal score on test: max_drop below the final output"
    )
    curves: list[CurveEntry] = Field(description="score against MACs, a policy each")
    calibration_error: Added[float] = Field(description="expected calibration error of the predictor at the first exit")
    predictor_macs: Added[float | None] = Field(description="MACs of a prediction; null if no predictor was fitted")
    full_macs: float = Field(description="MACs of the full path")
    checkpoint_sha256: Added[str] = Field(description="checksum of the network's checkpoint, hexadecimal")
    examples: Added[list[ExampleEntry]] = Field(description="test images that show how differently inputs run")
    schedule: Scheduled = Field(description="the row whose schedule was written")
    applied: Applied | None = Field(default=None, description="what --apply wrote; null without it")
    files: Added[dict[str, str]] = Field(default={}, description="SHA-256 of the files beside it, by name")
    checksum: Added[str] = Field(default="", description="SHA-256 of all the rest, hexadecimal")


class SegmentEntry(JsonPart):
    """A stretch of a schedule: segments of the network run, a change of frequency, or waiting."""

    from_: Added[int] = Field(alias="from", description="the first segment of the network that runs")
    to: Added[int] = Field(description="the segment before which it ends")
    frequency_mhz: float = Field(description="frequency in MHz")
    voltage_mv: Added[float] = Field(description="voltage in mV")
    latency_ms: float = Field(description="duration in ms")
    energy_mj: float = Field(description="energy in mJ")
    reason: str = Field(description="start, predicted exit N, not sure enough, settling, transition or idle")


class ScheduleLine(JsonPart):
    """A line of schedule.jsonl: how one test image runs; times and energies are a model."""

    input: Count = Field(description="place among the test images, from 0")
    label: str | list[float] = Field(description="what is true: the class, or a number for each target")
    prediction: str | list[float] = Field(description="what the network answers, likewise")
    exit: int = Field(description="the exit at which it leaves, from 0; the final output is the last")
    segments: list[SegmentEntry] = Field(description="stretches in order; their energies sum to the line's")
    latency_ms: float = Field(description="time to the answer in ms")
    energy_mj: float = Field(description="energy in mJ, waiting until the deadline included")
    deadline_ms: float = Field(description="the deadline in ms")
    deadline_met: bool = Field(description="whether the answer is there in time")
