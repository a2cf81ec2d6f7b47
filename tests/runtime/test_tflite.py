"""TFLite files answer as the integer graph does: in LiteRT to the last bit but for ties, in TensorFlow Lite Micro nearly."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from exportable import rounded_net

from coc_cli.errors import StageError
from coc_cli.runtime import interpreter
from coc_cli.runtime.graph import (
    Average,
    Concat,
    Grid,
    IntegerGraph,
    Layer,
    Node,
    Operation,
    PerImage,
    Ref,
    Round,
    Sum,
    Value,
    Window,
)
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.writers import tflite_file, tflite_model
from coc_cli.runtime.writers.tflite_answers import answers, input_codes, values

schema = pytest.importorskip("tflite", reason="the dev extra is not installed")
pytest.importorskip("ai_edge_litert", reason="the dev extra is not installed")

BYTES = Grid(0.02, -128, 127)
GRIDS = {
    "unsigned": Grid(0.03, 0, 255),
    "signed": Grid(0.03, -128, 127),
    "even": Grid(0.03, -127, 127),
    "a4": Grid(0.3, 0, 15),
    "signed a4": Grid(0.3, -7, 7),
    "a2": Grid(0.9, 0, 3),
}


def graph_of(shape: tuple[int, ...], nodes: Sequence[Node], made: dict[str, Value]) -> IntegerGraph:
    """Return a graph that rounds its input 'x' to 'codes' and ends with the last of some nodes."""
    rounded = Round("codes", ("x",))
    held = {"x": Value(shape), "codes": Value(shape, BYTES), **made}
    return IntegerGraph((rounded, *nodes), held, "x", (nodes[-1].name,), None, 4, None, {})


def images(*shape: int, count: int = 8) -> Any:
    return np.random.default_rng(0).normal(0, 1.2, (count, *shape)).astype(np.float32)


def differing(graph: IntegerGraph, x: Any) -> Any:
    """Return by how many steps LiteRT's codes of the output differ from the interpreter's."""
    grid = graph.values[graph.outputs[0]].grid
    assert grid is not None
    (found,) = answers(tflite_model.write(graph, {}), x) or []
    expected = interpreter.run(graph, x, taps=graph.outputs)[-1]
    assert np.ptp(expected) > 0
    return np.abs(np.rint(found / np.float32(grid.scale)) - expected)


def kinds(file: bytes) -> list[str]:
    model = schema.Model.GetRootAsModel(file, 0)
    graph = model.Subgraphs(0)
    codes = [graph.Operators(index).OpcodeIndex() for index in range(graph.OperatorsLength())]
    return [schema.opcode2name(model.OperatorCodes(code).BuiltinCode()) for code in codes]


# Layers

WINDOWS = {
    "same": (Window((3, 3), padding=(1, 1, 1, 1)), 8, (8, 8)),
    "even with stride": (Window((3, 3), (2, 2), (1, 1, 1, 1)), 8, (4, 4)),
    "odd with stride": (Window((3, 3), (2, 2), (1, 1, 1, 1)), 9, (5, 5)),
    "valid": (Window((3, 2), (2, 1)), 8, (3, 7)),
    "wide": (Window((5, 3), padding=(2, 0, 2, 0)), 8, (8, 6)),
    "more than needed": (Window((1, 1), (2, 2), (1, 1, 1, 1)), 8, (5, 5)),
    "with holes": (Window((3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)), 8, (8, 8)),
}


def layer(window: Window | None, outputs: int, inputs: int, grid: Grid, groups: int = 1, **limits: int) -> Layer:
    random = np.random.default_rng(1)
    kernel = window.kernel if window else ()
    codes = random.integers(-127, 128, (outputs, inputs // groups, *kernel)).astype(np.int8)
    scale = (random.uniform(0.5, 1, outputs) * grid.scale * grid.high / codes[0].size ** 0.5 / 6000 / 0.02).astype(
        np.float32
    )
    bias = random.integers(-3000, 3000, outputs).astype(np.int32)
    low, high = limits.get("low", grid.low), limits.get("high", grid.high)
    return Layer("y", ("codes",), "layer", codes, scale, bias, low, high, window, groups)


@pytest.mark.parametrize("groups", [1, 2, 6], ids=["whole", "grouped", "depthwise"])
@pytest.mark.parametrize("case", WINDOWS)
def test_a_convolution_is_the_interpreter_s_whatever_its_windows(case: str, groups: int) -> None:
    window, size, out = WINDOWS[case]
    outputs = 12 if groups == 6 else 4
    node = layer(window, outputs, 6, GRIDS["signed"], groups)
    graph = graph_of((6, size, size), [node], {"y": Value((outputs, *out), GRIDS["signed"])})
    assert (differing(graph, images(6, size, size)) == 0).mean() > 0.999
    assert ("PAD" in kinds(tflite_model.write(graph, {}))) == (case in ("even with stride", "wide", "more than needed"))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("limits", [{}, {"low": 0}, {"low": 0, "high": 2}], ids=["none", "relu", "clip"])
def test_codes_of_fewer_bits_are_clipped_as_in_the_network(grid: str, limits: dict[str, int]) -> None:
    node = layer(None, 16, 20, GRIDS[grid], **limits)
    graph = graph_of((20,), [node], {"y": Value((16,), GRIDS[grid])})
    assert differing(graph, images(20, count=40)).max() == 0
    found = kinds(tflite_model.write(graph, {}))
    top = limits.get("high", GRIDS[grid].high) == GRIDS[grid].high
    bottom = "low" in limits or GRIDS[grid].low in (0, -128)
    assert found == ["FULLY_CONNECTED", *["MAXIMUM"] * (not bottom), *["MINIMUM"] * (not top)]


def test_relu6_is_what_it_is_where_codes_are_fine() -> None:
    grid = GRIDS["unsigned"]
    graph = graph_of((20,), [layer(None, 16, 20, grid, high=200)], {"y": Value((16,), grid)})
    assert kinds(tflite_model.write(graph, {})) == ["FULLY_CONNECTED"]
    assert differing(graph, images(20, count=40)).max() == 0


# Everything else

SHAPE = (6, 4, 4)


def op(kind: str, *arguments: Any, name: str = "y", source: str = "codes", **attributes: Any) -> Operation:
    return Operation(name, (source,), kind, (Ref(source), *arguments), attributes)


POOL = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, "ceil_mode": False}
MOVES = {
    "max pool": ([op("maxpool2d", **POOL)], (6, 2, 2)),
    "max pool of all": ([op("maxpool2d", **{**POOL, "padding": 0, "ceil_mode": True})], (6, 2, 2)),
    "max pool to a size": ([op("adaptivemaxpool2d", output_size=(2, 1))], (6, 2, 1)),
    "flatten": ([op("flatten", 1)], (96,)),
    "reshape": ([op("reshape", (PerImage(1), 12, 8))], (12, 8)),
    "permute": ([op("permute", (0, 2, 3, 1))], (4, 4, 6)),
    "transpose": ([op("transpose", 1, -1)], (4, 4, 6)),
    "movedim": ([op("movedim", 1, 3)], (4, 4, 6)),
    "shuffle": ([op("channelshuffle", groups=3)], SHAPE),
    "slice": ([op("getitem", (slice(None), slice(1, 6, 2), ..., slice(1, None)))], (3, 4, 3)),
    "place": ([op("getitem", (slice(None), 2))], (4, 4)),
    "last place": ([op("select", 2, -1)], (6, 4)),
    "narrow": ([op("narrow", 1, 2, 3)], (3, 4, 4)),
    "new dimension": ([op("getitem", (slice(None), None, slice(0, 4)))], (1, 4, 4, 4)),
    "unsqueeze": ([op("unsqueeze", 2)], (6, 1, 4, 4)),
    "pad": ([op("pad", (1, 2, 0, 1))], (6, 5, 7)),
    "pad channels": ([op("pad", (0, 0, 0, 0, 1, 3))], (10, 4, 4)),
    "zeros around": ([op("zeropad2d", padding=(1, 0, 2, 1))], (6, 7, 5)),
    "larger": ([op("upsample", size=None, scale_factor=2.0, mode="nearest")], (6, 8, 8)),
}


@pytest.mark.parametrize("case", MOVES)
def test_what_moves_codes_moves_the_same_ones(case: str) -> None:
    nodes, shape = MOVES[case]
    assert differing(graph_of(SHAPE, nodes, {"y": Value(shape, BYTES)}), images(*SHAPE)).max() == 0


def test_a_shuffle_of_three_operations_turns_one_tensor_once() -> None:
    split, turn = (
        op("reshape", (PerImage(1), 3, 2, 4, 4), name="split"),
        op("transpose", 1, 2, name="turn", source="split"),
    )
    join = op("reshape", (PerImage(1), 6, 4, 4), source="turn")
    made = {"split": Value((3, 2, 4, 4), BYTES), "turn": Value((2, 3, 4, 4), BYTES), "y": Value(SHAPE, BYTES)}
    graph = graph_of(SHAPE, [split, turn, join], made)
    assert differing(graph, images(*SHAPE)).max() == 0
    assert kinds(tflite_model.write(graph, {})) == [
        "RESHAPE",
        "TRANSPOSE",
        "RESHAPE",
        "TRANSPOSE",
    ]  # the last for the output


@pytest.mark.parametrize("kind", [("chunk", 4, 1), ("split", (1, 3, 2), 1)])
def test_pieces_are_joined_with_steps_of_their_own(kind: tuple[Any, ...]) -> None:
    pieces = op(kind[0], *kind[1:], name="pieces")
    parts = [op("getitem", place, name=f"part{place}", source="pieces") for place in (2, 0)]
    finer = Round("finer", ("part0",))
    join = Concat("y", ("part2", "finer"), 1)
    first = 2 if kind[0] == "chunk" else 1
    made = {"pieces": Value((), BYTES), "part2": Value((2, 4, 4), BYTES), "part0": Value((first, 4, 4), BYTES)}
    made |= {"finer": Value((first, 4, 4), GRIDS["unsigned"]), "y": Value((first + 2, 4, 4), GRIDS["signed"])}
    graph = graph_of(SHAPE, [pieces, *parts, finer, join], made)
    found = differing(graph, images(*SHAPE))
    assert found.max() <= 1
    assert (found == 0).mean() > 0.99


@pytest.mark.parametrize("grid", GRIDS)
def test_codes_are_rounded_to_another_grid_and_summed(grid: str) -> None:
    rounded, total = Round("rounded", ("codes",)), Sum("y", ("codes", "rounded"), GRIDS[grid].low, GRIDS[grid].high)
    made = {"rounded": Value(SHAPE, GRIDS["signed"]), "y": Value(SHAPE, GRIDS[grid])}
    for nodes, name in (([rounded, total], "y"), ([Round("y", ("codes",))], "y")):
        found = differing(graph_of(SHAPE, nodes, {**made, name: Value(SHAPE, GRIDS[grid])}), images(*SHAPE))
        assert found.max() <= 1
        assert (found == 0).mean() > 0.97  # halves fall to either side


@pytest.mark.parametrize("grid", ["unsigned", "signed", "signed a4"])
def test_averages_are_rounded_once(grid: str) -> None:
    window = Window((3, 3), (2, 2), (1, 1, 1, 1))
    for node, shape in ((Average("y", ("codes",), None), (6, 1, 1)), (Average("y", ("codes",), window), (6, 2, 2))):
        found = differing(graph_of(SHAPE, [node], {"y": Value(shape, GRIDS[grid])}), images(*SHAPE, count=40))
        assert found.max() <= 1
        assert (found == 0).mean() > 0.95


@pytest.mark.parametrize("grid", ["unsigned", "signed", "a4"])
@pytest.mark.parametrize("clip", ["relu", "relu6", ""])
def test_a_norm_before_a_layer_is_a_convolution_of_each_channel(grid: str, clip: str) -> None:
    random = np.random.default_rng(2)
    shapes = {"weight": 1, "bias": 1, "running_mean": 0, "running_var": 2}
    parameters = {name: np.abs(random.normal(at, 1, 6)).astype(np.float32) for name, at in shapes.items()}
    parameters["weight"] *= np.float32([1, -1, 0, 1e-9, 1, -1])
    parameters["num_batches_tracked"] = np.array(0)
    sizes = {"num_features": 6, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
    norm = Operation("norm", ("codes",), "batchnorm2d", (Ref("codes"),), sizes, parameters)
    nodes = [norm, *([op(clip, name="clip", source="norm")] if clip else []), Round("y", ("clip" if clip else "norm",))]
    made = {"norm": Value(SHAPE), "clip": Value(SHAPE), "y": Value(SHAPE, GRIDS[grid])}
    found = differing(graph_of(SHAPE, nodes, made), images(*SHAPE))
    assert found.max() <= 1
    assert (found == 0).mean() > 0.99


@pytest.mark.parametrize("arguments", [(3, 2, 1), (2,)])
def test_an_average_without_a_quantiser_gets_a_grid_of_8_bits(arguments: tuple[int, ...]) -> None:
    pool = Operation("pool", ("part",), "avg_pool2d", (Ref("part"), *arguments))
    grid = Grid(4.5 / 255, 0, 255)
    made = {"part": Value(SHAPE, GRIDS["a4"]), "pool": Value((6, 2, 2)), "y": Value((6, 2, 2), grid)}
    graph = graph_of(SHAPE, [Round("part", ("codes",)), pool, Round("y", ("pool",))], made)
    found = differing(graph, images(*SHAPE))
    assert found.max() <= 1
    assert (found == 0).mean() > 0.95


def test_tensors_joined_without_a_quantiser_get_a_grid_of_8_bits() -> None:
    for names, wanted in ((("unsigned", "a4"), Grid(0.03, 0, 255)), (("signed", "a4"), Grid(4.5 / 127, -128, 127))):
        rounds = [Round(f"part{place}", ("codes",)) for place in range(2)]
        made = {f"part{place}": Value(SHAPE, GRIDS[name]) for place, name in enumerate(names)}
        join = Operation("join", ("part0", "part1"), "cat", ((Ref("part0"), Ref("part1")), 1))
        wide = Value((12, 4, 4), wanted)
        graph = graph_of(SHAPE, [*rounds, join, Round("y", ("join",))], {**made, "join": Value((12, 4, 4)), "y": wide})
        found = differing(graph, images(*SHAPE))
        assert found.max() <= 1
        assert (found == 0).mean() > 0.95
        assert "CONCATENATION" in kinds(tflite_model.write(graph, {}))


# Networks


def steps_apart(network: Any, x: Any) -> tuple[bytes, list[Any], list[float]]:
    """Return the file of a network, the numbers of all exits that the interpreter gives, and the outputs' steps."""
    graph, _ = lower(network)
    file = tflite_model.write(graph, tflite_model.calibrated(graph, x))
    inner = schema.Model.GetRootAsModel(file, 0).Subgraphs(0)
    steps = [inner.Tensors(place).Quantization().Scale(0) for place in inner.OutputsAsNumpy()]
    return file, interpreter.run(graph, x), steps


def check_near(found: Any, expected: Any, step: float, most: int) -> None:
    assert np.abs(found - expected).max() <= (most + 0.51) * step
    best = np.sort(expected, 1)
    clear = best[:, -1] - best[:, -2] > 2 * most * step
    assert (found.argmax(1) == expected.argmax(1))[clear].mean() >= 0.99 if clear.any() else True


NETS = [
    pytest.param("cifar:resnet20", 8, (8, 8), {"depth": 8, "width": 4, "measure": "entropy"}, 1),
    pytest.param("cifar:resnet20", 8, (4, 4), {"depth": 8, "width": 4, "measure": "entropy"}, 1),
    *[
        pytest.param(*case, marks=pytest.mark.full)
        for case in (
            ("cifar:resnet20", 16, (2, 3), {"depth": 8, "width": 5, "exits": 2, "measure": "variance"}, 2),
            ("cifar:vgg19", 32, (8, 8), {"width": 4}, 1),
            ("cifar:vgg19", 32, (4, 4), {"width": 4}, 1),
            ("cifar:mobilenet_v2", 8, (4, 4), {"width": 4, "measure": "entropy"}, 2),
            ("torchvision:squeezenet1_1", 32, (8, 8), {}, 2),
            ("torchvision:shufflenet_v2_x0_5", 32, (8, 8), {}, 2),
        )
    ],
]


@pytest.mark.parametrize(("arch", "size", "bits", "options", "most"), NETS)
def test_a_network_answers_in_litert_as_in_the_interpreter(
    arch: str, size: int, bits: tuple[int, int], options: dict[str, Any], most: int
) -> None:
    network, x = rounded_net(arch, size, bits, **options)
    file, expected, steps = steps_apart(network, x.numpy())
    found = answers(file, x.numpy()) or []
    assert len(found) == len(expected) == 1 + options.get("exits", "measure" in options)
    for one, other, step in zip(found, expected, steps, strict=True):
        check_near(one, other, step, most)


@pytest.mark.full
@pytest.mark.parametrize(
    ("arch", "options"), [("cifar:resnet20", {"depth": 8, "measure": "entropy"}), ("cifar:mobilenet_v2", {})]
)
def test_a_network_answers_on_a_microcontroller_as_in_the_interpreter(arch: str, options: dict[str, Any]) -> None:
    runtime = pytest.importorskip("tflite_micro").runtime
    network, x = rounded_net(arch, 8, (8, 8), width=4, **options)
    file, expected, steps = steps_apart(network, x.numpy())
    micro = runtime.Interpreter.from_bytes(file, arena_size=1 << 22)
    source = micro.get_input_details(0)["quantization_parameters"]
    found: list[list[Any]] = [[] for _ in expected]
    for codes in input_codes(x.numpy(), (source["scales"][0], source["zero_points"][0])):
        micro.set_input(codes, 0)
        micro.invoke()
        for place, (numbers, step) in enumerate(zip(found, steps, strict=True)):
            numbers.append(values(micro.get_output(place)[0], (step, 0)))
    for numbers, other, step in zip(found, expected, steps, strict=True):
        check_near(np.stack(numbers), other, step, 3)


# The file


def test_the_file_says_what_it_is_and_what_it_needs() -> None:
    network, x = rounded_net("cifar:resnet20", 8, (4, 4), depth=8, width=4, measure="entropy")
    graph, _ = lower(network)
    file = tflite_model.write(graph, tflite_model.calibrated(graph, x.numpy()))
    assert file[4:8] == b"TFL3"
    assert file == tflite_model.write(graph, tflite_model.calibrated(graph, x.numpy()))
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(model_content=file).get_signature_list()["serving_default"]
    assert signature == {"inputs": ["image"], "outputs": ["exit_0", "exit_1"]}
    assert set(kinds(file)) == {"CONV_2D", "ADD", "PAD", "MEAN", "RESHAPE", "FULLY_CONNECTED"}
    weights = sum(node.codes.size for node in graph.nodes if isinstance(node, Layer))
    assert weights < len(file) < weights + 10_000
    largest = 3 * 4 * 64  # the map before a block, and two inside it
    assert largest < tflite_file.estimated_arena_bytes(file) < largest + 15_000


@pytest.mark.full
def test_an_arena_is_measured_where_tensorflow_lite_micro_is() -> None:
    pytest.importorskip("tflite_micro")
    network, x = rounded_net("cifar:resnet20", 16, (8, 8), depth=8, width=4)
    file, *_ = steps_apart(network, x.numpy())
    sizes = tflite_file.sizes(file)
    assert sizes.is_measured
    assert sizes.flash_bytes == len(file)
    assert 0.75 < tflite_file.estimated_arena_bytes(file) / sizes.arena_bytes < 1.25


# What it cannot hold


def refused(graph: IntegerGraph, ranges: dict[str, float] | None = None) -> str:
    with pytest.raises(StageError) as error:
        tflite_model.write(graph, ranges or {})
    assert error.value.key == "to"
    return error.value.what


def test_what_is_no_integer_operation_is_refused_by_name() -> None:
    made = {"y": Value(SHAPE)}
    assert refused(graph_of(SHAPE, [op("silu")], made)) == (
        "'y' (silu) is computed in float32, and TFLite files are of bytes; write `--to onnx` instead"
    )
    assert refused(graph_of(SHAPE, [op("interpolate", None, 1.5)], {"y": Value((6, 6, 6), BYTES)})) == (
        "'y' (interpolate) does not repeat pixels, for which coc has no TFLite; write `--to onnx` instead"
    )
    graph = graph_of(SHAPE, [op("silu")], made)
    kept = IntegerGraph(**{**vars(graph), "kept_float": {"stem": "its weights are not rounded"}})
    assert refused(kept) == (
        "layer 'stem' is not integer, as TFLite needs: its weights are not rounded; write `--to onnx` instead"
    )
    bare = IntegerGraph(
        (op("relu", source="x"),), {"x": Value(SHAPE), "y": Value(SHAPE)}, "x", ("y",), None, 4, None, {}
    )
    assert refused(bare) == "the input 'x' is not rounded to codes, as TFLite needs; write `--to onnx` instead"
    node = layer(None, 4, 6, GRIDS["signed"])
    assert refused(graph_of((6,), [node], {"y": Value((4,))})) == (
        "'y' has no range; measure it on images by `calibrated`"
    )


def test_without_the_schema_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite", None)
    tflite_file.schema.cache_clear()
    try:
        assert refused(graph_of(SHAPE, [op("silu")], {"y": Value(SHAPE)})) == (
            "TFLite needs the package 'tflite': pip install 'coc-cli[tflite]'"
        )
    finally:
        tflite_file.schema.cache_clear()
