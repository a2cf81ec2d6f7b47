"""What `coc evaluate --json` prints: a network by itself, on validation and test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coc_cli.report.schema.answers import AnswersEntry
from coc_cli.report.schema.part import Count, Interval, JsonPart, Number
from coc_cli.report.schema.run import Details, Environment, ExitEntry


class SplitEntry(JsonPart):
    """A network on the images of a split, its exit rule applied."""

    name: str = Field(description="validation or test")
    n: Count = Field(description="number of images")
    metric_value: float = Field(description="accuracy 0..1, or mae in the targets' unit")
    metric_ci95: Interval = Field(description="its 95 % interval, low and high")
    details: Details = Field(description="further figures; of these images, whichever split it is")
    exits: list[ExitEntry] = Field(description="every exit, the final output last; empty if there is no inner exit")
    answers: AnswersEntry = Field(description="where answers are right and where they are wrong")


class EvaluationReport(JsonPart):
    """A network by itself."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    network: str = Field(description="the checkpoint, or the recipe that names it")
    arch: str = Field(description="architecture")
    task: str = Field(description="classification or regression")
    metric: str = Field(description="accuracy, 0..1, or mae, in the targets' unit")
    splits: list[SplitEntry] = Field(description="validation, then test")
    macs: Number = Field(
        description="multiply-accumulate operations of an image, mean over the exits that test images take"
    )
    bitops: Number = Field(description="BitOps of an image, the same mean")
    params: int = Field(description="number of parameters: weights, biases and norms")
    warnings: list[str] = Field(description="why the network may be of no use, in sentences")
    environment: Environment = Field(description="on what it was measured")
