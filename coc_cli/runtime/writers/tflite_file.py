"""TFLite's file, a flatbuffer: tensors and operators in order, written by the field names of the public schema.

The package `tflite` holds that schema, as its compiler gives it. What a table holds stands here as a dictionary.
"""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Array
from coc_cli.version import __version__

SCHEMA_VERSION, IDENTIFIER = 3, b"TFL3"
ALIGNMENT = 16  # of constants in the file and of tensors in memory
TENSOR_BYTES, OPERATOR_BYTES, CHANNEL_BYTES = 24, 200, 8  # what TensorFlow Lite Micro keeps, about
OLD_CODES = 127  # operators from here on are not in the field of a byte that old runtimes read

# The version of each operator from which it takes bytes; runtimes look for it.
VERSIONS = {
    "ADD": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 12,  # with one step for each output channel
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "PAD": 2,
    "PADV2": 2,
    "RESHAPE": 1,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "STRIDED_SLICE": 2,
    "TRANSPOSE": 2,
}


class Table(NamedTuple):
    """A table of the schema: its name, and its fields' values by name."""

    kind: str
    fields: Mapping[str, Any]


@cache
def schema() -> Any:
    """Return the module that holds the schema.

    Raises:
        StageError: If it is not installed.
    """
    try:
        import tflite
    except ImportError:
        raise StageError("TFLite needs the package 'tflite': pip install 'coc-cli[tflite]'", "to") from None
    return tflite


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a file: bytes as [1, H, W, C] or of any other shape, or int32; a constant, if it has data."""

    shape: tuple[int, ...]
    scale: Array | None = None  # float32, one number or one for each place of `axis`
    zero: int = 0
    axis: int = 0
    data: Array | None = None
    kind: str = "INT8"

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * (1 if self.kind == "INT8" else 4)

    def table(self, buffer: int, name: str) -> Table:
        fields: dict[str, Any] = {
            "Shape": np.asarray(self.shape, np.int32),
            "Type": getattr(schema().TensorType, self.kind),
            "Buffer": buffer,
            "Name": name,
        }
        if self.scale is not None:
            scale = np.asarray(self.scale, np.float32).reshape(-1)
            zeros = np.full(len(scale), self.zero, np.int64)
            quantization = {"Scale": scale, "ZeroPoint": zeros, "QuantizedDimension": self.axis}
            fields["Quantization"] = Table("QuantizationParameters", quantization)
        return Table("Tensor", fields)


class Operator(NamedTuple):
    """An operator: its name in the schema, the tensors that it reads and the one it gives, and its options."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Table | None


@dataclass
class Model:
    """A file that is being written."""

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)  # small constants, which many operators share

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, values: Any, like: Tensor | None = None) -> int:
        """Add a constant: int32, or bytes that mean what those of another tensor do."""
        data = np.asarray(values, np.int32 if like is None else np.int8)
        scale = None if like is None else float(np.asarray(like.scale).item())
        key = (data.shape, data.tobytes(), scale, like and like.zero)
        if key not in self.known:
            kind = "INT32" if like is None else "INT8"
            zero = 0 if like is None else like.zero
            made = None if scale is None else np.array([scale], np.float32)
            self.known[key] = self.add(Tensor(data.shape, made, zero, data=data, kind=kind))
        return self.known[key]

    def op(self, kind: str, inputs: Sequence[int], output: Tensor, options: str = "", **fields: Any) -> int:
        """Add an operator; return the tensor that it gives."""
        table = Table(options, fields) if options else None
        self.operators.append(Operator(kind, tuple(inputs), self.add(output), table))
        return len(self.tensors) - 1

    def to_bytes(self, source: int, outputs: Mapping[str, int], source_name: str) -> bytes:
        """Return the file with an input and its outputs in order; what none of them needs is left out."""
        operators = _needed(self.operators, outputs.values())
        used = {index for one in operators for index in (*one.inputs, one.output)} | {source, *outputs.values()}
        places = {index: place for place, index in enumerate(sorted(used))}
        names = {source: source_name, **{index: name for name, index in outputs.items()}}
        buffers: list[Table] = [Table("Buffer", {})]
        tables = []
        for index, place in places.items():
            data = self.tensors[index].data
            if data is not None:
                buffers.append(Table("Buffer", {"Data": np.frombuffer(data.tobytes(), np.uint8)}))
            buffer = 0 if data is None else len(buffers) - 1
            tables.append(self.tensors[index].table(buffer, names.get(index, f"tensor_{place}")))
        kinds = sorted({one.kind for one in operators})
        subgraph = {
            "Tensors": tables,
            "Inputs": np.array([places[source]], np.int32),
            "Outputs": np.array([places[index] for index in outputs.values()], np.int32),
            "Operators": [_operator(one, kinds, places) for one in operators],
            "Name": "main",
        }
        signature = {
            "Inputs": [_named(source_name, places[source])],
            "Outputs": [_named(name, places[index]) for name, index in outputs.items()],
            "SignatureKey": "serving_default",
        }
        model = {
            "Version": SCHEMA_VERSION,
            "OperatorCodes": [_code(kind) for kind in kinds],
            "Subgraphs": [Table("SubGraph", subgraph)],
            "Description": f"coc {__version__}",
            "Buffers": buffers,
            "SignatureDefs": [Table("SignatureDef", signature)],
        }
        return _file(Table("Model", model))


def _needed(operators: Sequence[Operator], outputs: Any) -> list[Operator]:
    needed, kept = set(outputs), []
    for operator in reversed(operators):
        if operator.output in needed:
            needed.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def _operator(operator: Operator, kinds: list[str], places: Mapping[int, int]) -> Table:
    fields: dict[str, Any] = {
        "OpcodeIndex": kinds.index(operator.kind),
        "Inputs": np.array([places[index] for index in operator.inputs], np.int32),
        "Outputs": np.array([places[operator.output]], np.int32),
    }
    if operator.options is not None:
        fields["BuiltinOptionsType"] = getattr(schema().BuiltinOptions, operator.options.kind)
        fields["BuiltinOptions"] = operator.options
    return Table("Operator", fields)


def _code(kind: str) -> Table:
    number = getattr(schema().BuiltinOperator, kind)
    fields = {"DeprecatedBuiltinCode": min(number, OLD_CODES), "Version": VERSIONS[kind], "BuiltinCode": number}
    return Table("OperatorCode", fields)


def _named(name: str, place: int) -> Table:
    return Table("TensorMap", {"Name": name, "TensorIndex": place})


def _file(model: Table) -> bytes:
    schema()
    import flatbuffers

    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(_encoded(builder, model, {}), IDENTIFIER)
    return bytes(builder.Output())


def _encoded(builder: Any, value: Any, vectors: dict[Any, int]) -> Any:
    """Write a value of a field; return the number itself, or where its table, text or vector lies.

    Equal vectors are written once: most are zero points and sizes.
    """
    if isinstance(value, str):
        return builder.CreateSharedString(value)
    if isinstance(value, np.ndarray):
        key = value.dtype.str, value.tobytes()
        if key not in vectors:
            if value.dtype == np.uint8:
                builder.Prep(ALIGNMENT, len(value))
            vectors[key] = builder.CreateNumpyVector(value)
        return vectors[key]
    if isinstance(value, list):
        places = [_encoded(builder, item, vectors) for item in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return builder.EndVector()
    if isinstance(value, Table):
        fields = {name: _encoded(builder, item, vectors) for name, item in value.fields.items()}
        getattr(schema(), f"{value.kind}Start")(builder)
        for name, item in fields.items():
            getattr(schema(), f"{value.kind}Add{name}")(builder, item)
        return getattr(schema(), f"{value.kind}End")(builder)
    return value


@dataclass(frozen=True)
class Sizes:
    """What a file needs on a microcontroller."""

    flash_bytes: int
    arena_bytes: int
    is_measured: bool  # by TensorFlow Lite Micro; else an estimate: the most bytes of tensors that live at a time


def sizes(file: bytes) -> Sizes:
    """Return what a file needs; the arena is measured where the package `tflite_micro` is installed."""
    measured = _measured_arena(file)
    return Sizes(len(file), estimated_arena_bytes(file) if measured is None else measured, measured is not None)


def estimated_arena_bytes(file: bytes) -> int:
    """Return about what TensorFlow Lite Micro takes of an arena.

    That is the most bytes of tensors that live at a time, in the order in which operators run, and what it keeps for
    each tensor, operator and channel.
    """
    model = schema().Model.GetRootAsModel(file, 0)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    last = {graph.Outputs(index): len(operators) for index in range(graph.OutputsLength())}
    for step, operator in enumerate(operators):
        for tensor in operator.InputsAsNumpy().tolist():
            last[tensor] = max(step, last.get(tensor, 0))

    def room(tensor: int) -> int:
        if model.Buffers(graph.Tensors(tensor).Buffer()).DataLength():
            return 0  # it stays in flash
        size = math.prod(int(length) for length in graph.Tensors(tensor).ShapeAsNumpy())
        return -(-size // ALIGNMENT) * ALIGNMENT

    live = set(graph.InputsAsNumpy().tolist())
    most = sum(map(room, live))
    for step, operator in enumerate(operators):
        live |= set(operator.OutputsAsNumpy().tolist())
        most = max(most, sum(map(room, live)))
        live = {tensor for tensor in live if last.get(tensor, -1) > step}
    tensors = [graph.Tensors(index) for index in range(graph.TensorsLength())]
    channels = sum(one.Shape(0) for one in tensors if one.Type() == schema().TensorType.INT32 and one.Quantization())
    kept = TENSOR_BYTES * len(tensors) + OPERATOR_BYTES * len(operators) + CHANNEL_BYTES * channels
    return int(most + kept)


_MEASURE = """
import sys
from tflite_micro import runtime
runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=1 << 28).print_allocations()
"""


def _measured_arena(file: bytes) -> int | None:
    """Return the bytes that TensorFlow Lite Micro takes of an arena; None where it is not installed or will not start.

    It runs in a process of its own, as it prints what it measures, and may end the process where it cannot start.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        return None
    done = subprocess.run([sys.executable, "-c", _MEASURE], input=file, capture_output=True, check=False)  # noqa: S603 - our own Python
    found = re.search(rb"Arena allocation total (\d+) bytes", done.stdout + done.stderr)
    return int(found[1]) if found else None
