"""What `coc plan --json` prints: the chain walked dry, with what the network costs after each stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from coc_cli.report.schema.part import Interval, JsonPart


class PlannedStage(JsonPart):
    """The network as it will be after one stage; the first is the baseline."""

    index: int = Field(description="place in the chain; 0 is the baseline")
    name: str = Field(description="name of the stage")
    macs: float = Field(description="multiply-accumulate operations of an image on the full path")
    bitops: float = Field(description="BitOps of an image on the full path")
    bitops_ratio: Interval = Field(
        description="BitOps of the baseline by this one's: full path, and if every image leaves at the first exit"
    )
    bitops_ratio_nominal: Interval = Field(description="the papers' figure, likewise")
    params: int = Field(description="number of parameters: weights, biases and norms")
    checkpoint_bytes: int = Field(description="size of the checkpoint in bytes")
    exact: bool = Field(description="false where widths, and so BitOps and bytes, depend on the weights")
    notes: list[str] = Field(description="what a user should know of the stage")


class PlannedData(JsonPart):
    """The images, as far as they are known without decoding them."""

    shape: tuple[int, int, int] = Field(description="channels, height and width")
    labels: int = Field(description="number of classes, or of targets")
    images: int | None = Field(description="number of images, of all splits; null if it is not known")
    is_absent: bool = Field(description="whether they are not there, and this is what the recipe declares")


class PlanReport(JsonPart):
    """What a recipe would do and cost."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    name: str = Field(description="name of the recipe")
    task: str = Field(description="classification or regression")
    data: PlannedData = Field(description="the images")
    stages: list[PlannedStage] = Field(description="the networks of the chain, the baseline first")
    warnings: list[str] = Field(description="what departs from the advised order of stages")
    code_files: list[str] = Field(description="Python files of the user's that the recipe runs")
    seconds: float | None = Field(description="what the run may take on this machine in s; null if not known yet")
