"""The graph that a checkpoint carries: what the network does, as data. No torch here; nothing in it is ever executed.

A node is [name, operation, arguments, place]. The operation is a key of `operations.py`, or one of `module`, `tensor`
and `training`; the place is the path of that module or tensor, else the module in whose forward the node stands.
Arguments are numbers, true, false, null, lists of these, the name of an earlier node, or one of {"text": WORD},
{"slice": [START, STOP, STEP]}, {"rest": true} and {"number": "inf"}.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from coc_cli.frozen import Frozen
from coc_cli.nets.module_kinds import MODULES
from coc_cli.nets.operations import ENUMS, OPERATIONS

INPUT = "x"
MODULE, TENSOR, TRAINING = "module", "tensor", "training"
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a node
PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")  # of a module or a tensor
LARGEST_NODES, LARGEST_ARGUMENTS, LARGEST_DEPTH, LONGEST_NAME = 20_000, 4_096, 6, 512
LARGEST_NUMBER = 1 << 31
LARGEST_DIMENSIONS = 8
LARGEST_TEXT = 16 << 20  # bytes of a graph, unpacked


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def checked(name: str) -> str:
        if len(name) > LONGEST_NAME or not pattern.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is no name")
        return name

    return AfterValidator(checked)


Name: TypeAlias = Annotated[str, _matching(NAME)]
Path: TypeAlias = Annotated[str, _matching(PATH)]
Place: TypeAlias = Annotated[str, _matching(re.compile(f"({PATH.pattern})?"))]


def _tuples(value: Any) -> Any:
    """Return an argument with tuples in place of lists, so that equal graphs are equal however they came."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


Argument: TypeAlias = Annotated[Any, AfterValidator(_tuples)]  # checked by `_check`
GraphNode: TypeAlias = tuple[Name, str, tuple[Argument, ...], Place]
Dtype: TypeAlias = Literal["float32", "int64", "int32", "uint8", "bool"]
Dimension: TypeAlias = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]


class GraphModule(Frozen):
    """A module of torch.nn that nodes call: its class and the arguments of its constructor."""

    kind: str
    arguments: dict[str, Argument] = {}

    @model_validator(mode="after")
    def _is_listed(self) -> GraphModule:
        if self.kind not in MODULES:
            raise ValueError(f"there is no module {self.kind[:40]!r}")
        for name, value in self.arguments.items():
            if name not in MODULES[self.kind]:
                raise ValueError(f"{self.kind} takes no {name[:40]!r}")
            _check(value, frozenset(), 1)
        return self


class GraphTensor(Frozen):
    """A parameter that is no layer's, a buffer, or a constant."""

    shape: Annotated[tuple[Dimension, ...], Field(max_length=LARGEST_DIMENSIONS)]
    trained: bool = True
    dtype: Dtype = "float32"


class NetworkGraph(Frozen):
    """A network without heads, quantisers and pruning, as it came in."""

    nodes: Annotated[tuple[GraphNode, ...], Field(max_length=LARGEST_NODES)]
    output: Name
    modules: Annotated[dict[Path, GraphModule], Field(max_length=LARGEST_NODES)] = {}
    tensors: Annotated[dict[Path, GraphTensor], Field(max_length=LARGEST_NODES)] = {}

    @model_validator(mode="after")
    def _is_sound(self) -> NetworkGraph:
        known = {INPUT}
        for name, operation, arguments, place in self.nodes:
            if name in known:
                raise ValueError(f"two nodes have the name '{name}'")
            if operation == MODULE:
                is_known = place in self.modules and len(arguments) == 1 and isinstance(arguments[0], str)
            elif operation == TENSOR:
                is_known = place in self.tensors and not arguments
            else:
                is_known = operation == TRAINING or operation in OPERATIONS
            if not is_known:
                raise ValueError(f"node '{name}' is no known operation, or its '{operation[:40]}' is not there")
            if operation in OPERATIONS and len(arguments) > len(OPERATIONS[operation].parameters.parameters):
                raise ValueError(f"node '{name}' has too many arguments")
            _check(arguments, known, 0)
            known.add(name)
        if self.output not in known:
            raise ValueError("its output is no node")
        _check_tree((*self.modules, *self.tensors))
        return self


def _check_tree(paths: tuple[str, ...]) -> None:
    """Raise `ValueError` if one path leads through another."""
    if len(set(paths)) < len(paths):
        raise ValueError("a module and a tensor have the same path")
    ends = set(paths)
    for path in paths:
        parts = path.split(".")
        if any(".".join(parts[:index]) in ends for index in range(1, len(parts))):
            raise ValueError(f"'{path[:40]}' lies within another")


def _check(value: Any, known: set[str] | frozenset[str], depth: int) -> None:
    """Raise `ValueError` unless a value is an argument."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if not abs(value) <= LARGEST_NUMBER:
            raise ValueError(f"a number of {value:g} is too large")
    elif isinstance(value, str):
        if value not in known:
            raise ValueError(f"{value[:40]!r} is no earlier node")
    elif isinstance(value, list | tuple):
        if len(value) > LARGEST_ARGUMENTS or depth > LARGEST_DEPTH:
            raise ValueError("an argument is too long")
        for item in value:
            _check(item, known, depth + 1)
    elif not _is_special(value, known, depth):
        raise ValueError(f"{str(value)[:40]} is no argument")


def _is_special(value: Any, known: set[str] | frozenset[str], depth: int) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    (kind, content), *_ = value.items()
    if kind == "slice":
        _check(content, known, depth + 1)
        return isinstance(content, list | tuple) and len(content) == 3  # noqa: PLR2004  (start, stop, step)
    is_text = kind == "text" and isinstance(content, str) and content in ENUMS
    return is_text or value in ({"rest": True}, {"number": "inf"}, {"number": "-inf"})


def as_text(graph: NetworkGraph) -> str:
    """Return a graph as a text for a checkpoint's header: JSON, compressed, in base64."""
    return base64.b64encode(zlib.compress(canonical(graph).encode(), 9)).decode()


def canonical(graph: NetworkGraph) -> str:
    """Return a graph as JSON, always the same for the same graph."""
    content = graph.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)


def unpacked(text: str) -> str:
    """Return the JSON of a graph in a header; raises `ValueError` if it is none or beyond all bounds."""
    try:
        unpack = zlib.decompressobj()
        content = unpack.decompress(base64.b64decode(text, validate=True), LARGEST_TEXT)
    except zlib.error as error:
        raise ValueError(f"cannot be unpacked: {error}") from error
    if not unpack.eof or unpack.unused_data:
        raise ValueError("is cut short, or larger than any network's")
    return content.decode()
