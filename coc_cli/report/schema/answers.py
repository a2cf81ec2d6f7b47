"""Where a network's answers are right and where they are wrong, in result.json and in what `coc evaluate` prints."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from coc_cli.report.schema.part import Count, JsonPart

Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e38, le=1e38)]
MOST = 100_000  # classes or points in a file


class ClassEntry(JsonPart):
    """A class on a split."""

    label: str = Field(description="name of the class")
    n: Count = Field(description="number of its images")
    accuracy: Annotated[Finite, Field(ge=0, le=1)] | None = Field(
        description="fraction answered right; null without images"
    )


class ConfusedEntry(JsonPart):
    """Images of one class that were taken for another."""

    label: str = Field(description="name of the class")
    answer: str = Field(description="name of the class for which they were taken")
    n: Count = Field(description="number of images")


class TargetEntry(JsonPart):
    """Numbers of a target."""

    label: str = Field(description="name of the target")
    points: list[tuple[Finite, Finite]] = Field(
        max_length=MOST, description="true and predicted number, of some images"
    )


class AnswersEntry(JsonPart):
    """Where answers are right and where they are wrong, on a split."""

    classes: list[ClassEntry] = Field(max_length=MOST, description="every class, in order; empty for numbers")
    confused: list[ConfusedEntry] = Field(
        max_length=MOST, description="the most frequent confusions, most frequent first"
    )
    confusion: list[list[Count]] | None = Field(
        max_length=1000, description="images by true (row) and predicted class (column); null for many classes"
    )
    targets: list[TargetEntry] = Field(max_length=MOST, description="every target, in order; empty for classes")
