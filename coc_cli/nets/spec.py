"""The spec: all that is needed to rebuild a network and to use it, and nothing else. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, Tag, model_validator

from coc_cli.frozen import FLAG, INTEGER, LIST, NUMBER, TEXT, Frozen, by_kind
from coc_cli.nets.names import plain_path
from coc_cli.nets.traced_graph import NetworkGraph

if TYPE_CHECKING:
    from torch import Tensor

Scalar: TypeAlias = Annotated[
    Annotated[bool, Tag(FLAG)]
    | Annotated[int, Tag(INTEGER)]
    | Annotated[float, Tag(NUMBER)]
    | Annotated[str, Tag(TEXT)],
    by_kind("a number, a text, true or false"),
]
WeightBits: TypeAlias = Annotated[int, Field(ge=1, le=8)]
ActivationBits: TypeAlias = Annotated[int, Field(ge=2, le=8)]
Scales: TypeAlias = Literal["learned", "power_of_two"]
Measure: TypeAlias = Literal["max_softmax", "entropy", "variance", "agreement"]

CONFIDENT_WHEN_LOW = frozenset(("entropy", "variance", "agreement"))  # measures
MOST_EDGES, MOST_EXITS = 20_000, 1_000
CODEWORDS, MOST_CODEWORDS = 64, 4096
FLOAT_BITS = 32  # what an unquantised operand counts
LARGEST_BITS = 8


class Edge(Frozen):
    """A quantiser on a tensor between layers: symmetric, zero point 0, one learned scale for the entire tensor."""

    source: str  # the fx node whose output it quantises
    bits: ActivationBits
    signed: bool  # signed codes are low..2^(bits-1)-1, unsigned ones 0..2^bits-1
    users: tuple[str, ...] = ()  # only these fx nodes read it; empty: every user of the source does
    low: Literal[-128] | None = None  # of signed codes of 8 bits; None: minus the highest, as in older files

    def with_sign(self, signed: bool) -> Edge:
        """Return the edge as new stages make it: signed codes of 8 bits begin at -128, as they do in every runtime."""
        return self.model_copy(update={"signed": signed, "low": -128 if signed and self.bits == LARGEST_BITS else None})


class Exit(Frozen):
    """An inner exit: the tensor its head reads and what the head is made of."""

    source: str  # the fx node whose output the head reads
    head: Literal["bof", "pool"]
    channels: int  # of that output, before any pruning
    codewords: Annotated[int, Field(ge=1, le=MOST_CODEWORDS)] = CODEWORDS  # of a bof head


class ExitRule(Frozen):
    """When an input leaves: `max_softmax` at least, other measures at most, the threshold; see nets/exit_rules.py."""

    measure: Measure
    threshold: Annotated[
        Annotated[int, Tag(INTEGER)]
        | Annotated[float, Tag(NUMBER)]
        | Annotated[tuple[float, ...], Field(min_length=1, max_length=MOST_EXITS), Tag(LIST)],
        by_kind("a number, or a list of numbers"),
    ]  # of all exits, or one of each
    max_drop: float  # what the threshold may cost on validation against the final output; calibrated again by this
    confidence: float | None = None  # with which probability it costs no more on other images; None: not tested

    def threshold_at(self, exit_: int) -> float:
        """Return the threshold of an exit."""
        return self.threshold[exit_] if isinstance(self.threshold, tuple) else self.threshold


class Scale(Frozen):
    """What a regression network's outputs mean: value = mean + std x output, per target, in the target's unit."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def plain(cls, targets: int) -> Scale:
        """Return the identity scale."""
        return cls(mean=(0.0,) * targets, std=(1.0,) * targets)

    def values(self, outputs: Tensor) -> Tensor:
        """Return outputs [N, T] in the targets' units."""
        return outputs * outputs.new_tensor(self.std) + outputs.new_tensor(self.mean)

    def outputs(self, values: Tensor) -> Tensor:
        """Return values [N, T], in the targets' units, as the outputs that mean them."""
        return (values - values.new_tensor(self.mean)) / values.new_tensor(self.std)


class Spec(Frozen):
    """A network without its tensors.

    `graph` is the backbone as it came in; `arch` and `args` say where from. `modules` holds constructor numbers (in,
    out, groups, features) of the modules that differ from the graph's, as after pruning; `parameters` likewise the
    shapes of bare parameters.
    """

    arch: str
    args: dict[str, Scalar] = {}
    graph: NetworkGraph | None = None  # None: not traced yet, as in files of format 1
    input_shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]  # per channel, of images scaled to 0..1
    std: tuple[float, ...]
    task: Literal["classification", "regression"] = "classification"
    labels: tuple[str, ...]  # class names, or names of the regression targets
    scale: Scale | None = None  # of a regression network
    modules: dict[str, dict[str, int]] = {}
    parameters: dict[str, tuple[int, ...]] = {}
    bits: dict[str, WeightBits] = {}  # weight bits by layer; a layer not named has float weights; heads are exits.N.*
    edges: Annotated[dict[str, Edge], Field(max_length=MOST_EDGES)] = {}
    scales: Scales = "learned"  # of weights and edges; with powers of two norms keep their statistics, and add only
    exits: Annotated[tuple[Exit, ...], Field(max_length=MOST_EXITS)] = ()
    rule: ExitRule | None = None

    @model_validator(mode="after")
    def _has_a_threshold_an_exit(self) -> Spec:
        found = self.rule.threshold if self.rule else None
        if isinstance(found, tuple) and len(found) != len(self.exits):
            raise ValueError(f"its rule has {len(found)} thresholds for {len(self.exits)} exits")
        return self

    @property
    def head_outputs(self) -> int:
        """How many numbers an inner exit gives: one a class or target, and a log-variance each if it leaves by that."""
        return len(self.labels) * (2 if self.rule and self.rule.measure == "variance" else 1)

    def with_changes(self, **changes: object) -> Spec:
        """Return a checked copy in which some fields are changed; without the graph where it is of another network."""
        if any(name in changes and changes[name] != getattr(self, name) for name in ("arch", "args", "input_shape")):
            changes = {"graph": None, **changes}
        if "labels" in changes and len(changes["labels"]) != len(self.labels):  # type: ignore[arg-type]
            changes = {"graph": None, **changes}
        return Spec(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})  # type: ignore[arg-type]


def with_plain_paths(spec: Spec) -> Spec:
    """Return a spec of format 1, in which modules have the names that their architecture gives them, by plain paths."""
    named = {key: getattr(spec, key) for key in ("modules", "parameters", "bits")}
    return spec.with_changes(**{key: {plain_path(path): one for path, one in d.items()} for key, d in named.items()})
