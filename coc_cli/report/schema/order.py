"""order.json: which order of stages scores more, measured on one's own network and data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from coc_cli.report.schema.part import Count, Interval, JsonPart
from coc_cli.report.schema.run import Environment

Decision = Literal["before", "after", "undecided", "described"]
Place = Literal["before", "between", "after"]


class EffectEntry(JsonPart):
    """By how much one order scores more than another, over seeds."""

    by_seed: list[float] = Field(description="of each seed: area between both curves by their common range")
    mean: float = Field(description="mean over seeds")
    ci95: Interval | None = Field(description="t interval over seeds; null for one")
    p: float | None = Field(description="two-sided p value, not corrected; null for one seed")
    p_holm: float | None = Field(description="p value corrected for all that were tested together (Holm 1979)")


class PairEntry(EffectEntry):
    """A verdict on a pair of stages."""

    first: str = Field(description="a stage")
    second: str = Field(description="another; effects are of the first before the second")
    decision: Decision = Field(description="where the first belongs; 'described' with fewer than 5 seeds")
    left_out: Count = Field(description="seeds whose curves have no common range of BitOps")

    @property
    def edge(self) -> tuple[str, str] | None:
        """The earlier and the later stage, if that is decided."""
        return {"before": (self.first, self.second), "after": (self.second, self.first)}.get(self.decision)


class InsertionEntry(PairEntry):
    """The verdict on a pair with a third stage among them."""

    third: str = Field(description="the third stage")
    place: Place = Field(description="where it stands")
    turned: bool = Field(description="whether both this and the pair's own verdict are decided, and against each other")


class RankEntry(JsonPart):
    """An order of all stages."""

    order: list[str] = Field(description="the stages, the first one first")
    score: float = Field(description="mean score over the common range of all orders, mean over seeds")
    ci95: Interval | None = Field(description="t interval over seeds")
    behind_best: EffectEntry | None = Field(description="by how much it is below the best order; null for that itself")
    is_as_good: bool = Field(description="whether it cannot be told from the best order")


class StrengthEntry(JsonPart):
    """What differs between the strengths of a stage."""

    stage: str = Field(description="the stage")
    label: str = Field(description="the stage, with which of its meanings it has here")
    means: str = Field(description="what it is: distillation may be a smaller student, or recovery")
    settings: list[dict[str, Any]] = Field(description="keys that differ, a mapping for each strength, weak to strong")


class CurveEntry(JsonPart):
    """Score against the ratio of BitOps, of an order and a seed."""

    order: list[str] = Field(description="the stages, the first one first")
    seed: int = Field(description="of split, baseline and stages")
    points: list[tuple[float, float]] = Field(description="strict ratio of BitOps and score on validation, by strength")


class OrderReport(JsonPart):
    """order.json. Scores are of validation images: accuracy in points of 100, or minus the error in its own unit."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format")
    name: str = Field(description="name of the recipe")
    arch: str = Field(description="architecture of the baseline")
    data: str = Field(description="hash of the recipe's data section")
    metric: str = Field(description="accuracy or mae")
    unit: str = Field(description="of scores and effects: points, or that of the targets")
    seeds: list[int] = Field(description="of split, baseline and stages; they are the units of all statistics")
    strengths: list[StrengthEntry] = Field(description="the stages in the recipe's order")
    teachers: bool = Field(description="whether stages other than distillation had a teacher, too")
    pairs: list[PairEntry] = Field(description="verdicts on all pairs")
    insertions: list[InsertionEntry] = Field(description="verdicts with a third stage; empty without --insert")
    order: list[str] | None = Field(description="stages sorted by what is decided; null where that is a cycle")
    ties: list[tuple[str, str]] = Field(description="pairs that nothing decided puts in an order")
    cycle: list[str] = Field(description="stages each of which is decided to be before the next; empty without a cycle")
    weakest: tuple[str, str] | None = Field(description="of a cycle, the pair whose verdict is least sure")
    ranking: list[RankEntry] = Field(description="all orders of all stages, the best first; empty without --all")
    curves: list[CurveEntry] = Field(description="what all of this is worked out from")
    smallest_effect: float | None = Field(description="that so many seeds decide in 80 %; null with fewer than 5")
    jobs: Count = Field(description="stages and baselines that were run, shared by all chains")
    environment: Environment = Field(description="of the machine that asked")
    seconds: float = Field(description="of training, all jobs together")
    checksum: str = Field(default="", description="SHA-256 of all the rest, hexadecimal")
