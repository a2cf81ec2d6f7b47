"""What `coc inspect --json` prints: what a checkpoint holds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from coc_cli.report.schema.part import JsonPart
from coc_cli.report.schema.run import LayerEntry


class AncestorEntry(JsonPart):
    """A stage of the chain that made the checkpoint."""

    stage: str = Field(description="name of the stage; baseline is the first")
    key: str = Field(description="hash of all that its result depends on")
    settings: dict[str, Any] = Field(description="its keys in the recipe, defaults included")


class PlaceEntry(JsonPart):
    """An exit."""

    source: str = Field(description="the node behind which it stands")
    head: str = Field(description="kind of its head")


class CheckpointReport(JsonPart):
    """A checkpoint: where it is from and what it costs, layer by layer."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    path: str = Field(description="the file")
    format: int = Field(description="version of the checkpoint's format")
    sha256: str | None = Field(description="its checksum, hexadecimal; null if the format has none")
    arch: str = Field(description="architecture")
    args: dict[str, bool | int | float | str] = Field(description="arguments of the architecture")
    task: str = Field(description="classification or regression")
    input_shape: tuple[int, int, int] = Field(description="channels, height and width of an image")
    mean: list[float] = Field(description="per channel, of images scaled to 0..1, subtracted before the network")
    std: list[float] = Field(description="what they are divided by then")
    labels: list[str] = Field(description="names of the classes, or of the targets, in order")
    lineage: list[AncestorEntry] = Field(description="the chain that made it, in order")
    macs: float = Field(description="multiply-accumulate operations of an image on the full path")
    bitops: float = Field(description="BitOps of an image on the full path")
    params: int = Field(description="number of parameters: weights, biases and norms")
    checkpoint_bytes: int = Field(description="size of the file in bytes")
    exits: list[PlaceEntry] = Field(description="inner exits, in order")
    measure: str | None = Field(description="by what an image leaves at an exit; null if there are no exits")
    threshold: float | list[float] | None = Field(
        description="which value of it is passed then, at all exits or at each; null likewise"
    )
    layers: list[LayerEntry] = Field(description="layer by layer")
