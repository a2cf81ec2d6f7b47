"""report.json, what a run measured, and result.json, what a stage measured, wherever in which run it stands."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coc_cli.report.schema.answers import AnswersEntry
from coc_cli.report.schema.part import Added, Count, Interval, JsonPart, Number


class Environment(JsonPart):
    """On what something was run."""

    coc: str = Field(description="version of coc")
    python: str = Field(description="version of Python")
    torch: str = Field(description="version of torch")
    platform: str = Field(description="operating system, as Python's platform.platform() names it")
    processor: str = Field(description="name of the processor")
    cores: int | None = Field(description="logical cores of the processor; null if the system does not say")
    threads: int = Field(description="threads that torch computes with")
    device: str = Field(description="name of the GPU, or cpu")
    date: str = Field(description="when, ISO 8601 in UTC")


class ExitEntry(JsonPart):
    """An exit on the test images; the final output is the last."""

    index: Added[int] = Field(description="place along the network, from 0")
    share: float = Field(description="fraction of the images that leave here, 0..1")
    metric_value: float | None = Field(description="the metric on the images that leave here; null if none does")
    metric_all: Added[float] = Field(description="the metric on all images, had all left here")


class EpochEntry(JsonPart):
    """One pass over the training images."""

    epoch: int = Field(description="number of the epoch, from 1")
    epochs: Added[int] = Field(description="how many there are in all")
    loss: float = Field(description="mean training loss")
    metric: float = Field(description="the metric on validation, mean over exits")
    seconds: Added[float] = Field(description="duration in s")
    norms_estimated: Added[int] = Field(description="norms whose statistics were estimated anew before validation")
    restored: Added[bool] = Field(description="reported again after a resume, not trained then")


class Details(JsonPart):
    """Further figures, which depend on the task and the network."""

    trivial_value: Added[float | None] = Field(
        default=None, description="the metric on test of always answering the training images' majority class or median"
    )
    answer_spread: Added[float | None] = Field(
        default=None, description="how much answers vary over the test images by how much targets do; 0 if not at all"
    )
    top5: Added[float | None] = Field(
        default=None, description="fraction of test images whose class is among the five likeliest, of over ten classes"
    )
    r2: float | None = Field(default=None, description="R2 on test, mean over targets")
    r2_ci95: Interval | None = Field(default=None, description="its 95 % interval, low and high (bootstrap)")
    mae_by_target: dict[str, float] | None = Field(
        default=None, description="mean absolute error of each target on test, in its own unit"
    )


class StageResult(JsonPart):
    """result.json: a stage's result as the cache keeps it, independent of where in which run it stands."""

    metric_value: float = Field(description="the metric on test: accuracy 0..1, or mae in the targets' unit")
    metric_ci95: Interval = Field(description="its 95 % interval, low and high")
    n_test: Count = Field(description="number of test images")
    validation_value: float = Field(description="the metric on validation")
    answers: Added[AnswersEntry | None] = Field(default=None, description="where they are right and wrong on test")
    scores: str | list[float] = Field(
        description="of each test image: hexadecimal, a bit each if right, first image highest; or its absolute error"
    )
    exits: list[ExitEntry] = Field(description="every exit on test, the final output last")
    details: Details = Field(description="further figures of the task")
    seconds: Number = Field(description="duration of the training in s")
    epochs: list[EpochEntry] = Field(description="the training, epoch by epoch")
    sha256: str = Field(description="checksum of the checkpoint beside it, hexadecimal")
    environment: Environment = Field(description="on what it was trained and measured")
    arithmetic: Added[str] = Field(default="float32", description="in which the steps of its training computed")
    checksum: Added[str] = Field(default="", description="SHA-256 of all the rest, hexadecimal")


class LatencyEntry(JsonPart):
    """What one batch of test images took, exits counted; of the baseline and of the result."""

    median: float = Field(description="median wall time in ms")
    p95: float = Field(description="95th percentile of the wall time in ms")
    cpu_median: Added[float] = Field(description="CPU time in ms: median over turns of the mean over their images")
    speedup: Added[float] = Field(description="CPU time of the baseline by this one's")
    speedup_ci95: Added[Interval] = Field(description="its 95 % interval, low and high (bootstrap over rounds)")
    busy: Added[bool] = Field(description="whether wall and CPU time parted by over 10 %: other work ran")
    threads: Added[int] = Field(description="threads of the runtime")
    batch: Added[int] = Field(description="images in a batch")
    runtime: str = Field(description="what it was run with")
    integer_convs: Added[int] = Field(description="convolutions and products of matrices that run on integers")
    convs: Added[int] = Field(description="all of them in the graph that the runtime makes")


class LayerEntry(JsonPart):
    """A convolution or linear layer, for an image that runs it."""

    name: str = Field(description="dotted name in the network")
    segment: Added[int] = Field(description="which stretch between exits it lies in, from 0")
    macs: int = Field(description="multiply-accumulate operations")
    params: int = Field(description="number of its parameters")
    weight_bits: int = Field(description="bits of a weight; 32 is float")
    activation_bits: int = Field(description="bits of an input value; 32 is float")
    shape: Added[tuple[int, ...]] = Field(description="shape of the weights")
    bitops: int = Field(description="MACs times weight bits times activation bits")


class StageHead(JsonPart):
    """What stands before a task's own figures in a stage's entry."""

    index: Added[int] = Field(description="place in the chain; 0 is the baseline")
    name: str = Field(description="name of the stage")
    metric_value: float = Field(description="the metric on test: accuracy 0..1, or mae in the targets' unit")
    metric_ci95: Interval = Field(description="its 95 % interval, low and high")
    n_test: Count = Field(description="number of test images")
    macs: Number = Field(description="multiply-accumulate operations of an image, mean over the exits that images take")
    bitops: Number = Field(description="BitOps of an image, the same mean; an unquantised operand counts 32 bits")
    params: int = Field(description="number of parameters: weights, biases and norms")
    checkpoint_bytes: int = Field(description="size of the checkpoint in bytes")
    latency_ms: LatencyEntry | None = Field(description="measured time in ms; null if not measured")
    exits: list[ExitEntry] = Field(
        description="every exit on test, the final output last; empty if there is no inner exit"
    )
    seconds: Number = Field(description="duration of the training in s")
    validation_value: Added[float] = Field(description="the metric on validation")


class StageEntry(Details, StageHead):
    """A network of the chain; the first is the baseline. The task's own figures stand before `environment`."""

    environment: Added[Environment] = Field(description="on what it was trained and measured")
    arithmetic: Added[str] = Field(default="float32", description="in which the steps of its training computed")
    layers: Added[list[LayerEntry]] = Field(description="layer by layer")
    bitops_ratio: float = Field(description="BitOps of the baseline by this one's (strict: heads count)")
    bitops_ratio_nominal: float = Field(description="the papers' figure: MACs times the bits that most layers have")
    bytes_ratio: float = Field(description="bytes of the baseline's checkpoint by this one's")


class Factor(JsonPart):
    """What a stage contributes to the ratio of BitOps; the product of all is the last stage's."""

    index: int = Field(description="place of the stage in the chain")
    name: str = Field(description="name of the stage")
    ratio: float = Field(description="BitOps of the stage before by this one's")


class LimitEntry(JsonPart):
    """A limit of the recipe."""

    name: str = Field(description="its key in the recipe")
    limit: Number = Field(description="what the recipe allows, in the unit of the value")
    value: Number = Field(description="what the result has")
    ok: bool = Field(description="whether it is met")
    decided: Added[bool] = Field(default=True, description="false where a busy machine let no time be judged")


class Report(JsonPart):
    """report.json: the stages of a run, set against the baseline."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    name: Added[str] = Field(description="name of the recipe")
    task: str = Field(description="classification or regression")
    metric: Added[str] = Field(description="accuracy, 0..1, or mae, in the targets' unit")
    ok: bool = Field(description="whether every limit is met")
    stages: list[StageEntry] = Field(description="the networks of the chain, the baseline first")
    factors: list[Factor] = Field(description="what each stage behind the baseline contributes to the ratio of BitOps")
    limits: list[LimitEntry] = Field(description="the limits that the recipe sets")
    warnings: Added[list[str]] = Field(default=[], description="why a network may be of no use, in sentences")
    environment: Added[Environment] = Field(description="on what the report was made")
    command: str = Field(description="the command line")
    seed: Added[int] = Field(description="seed of the recipe")
    checksum: Added[str] = Field(default="", description="SHA-256 of all the rest, hexadecimal")
