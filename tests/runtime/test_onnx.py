"""Files for ONNX Runtime against the integer interpreter, and that against the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from exportable import (
    FLOAT,
    INTEGER,
    answers,
    equal_rows,
    exits_of,
    float_network,
    inputs_of,
    layer_kinds,
    quantised,
    with_threshold,
)
from formats import through_file
from sampling import tiered

from coc_cli.errors import StageError
from coc_cli.runtime import interpreter
from coc_cli.runtime.graph import Layer, Sum
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.padding import padded
from coc_cli.runtime.writers.onnx import LIMITS, Onnx
from coc_cli.runtime.writers.onnx_model import (
    WEIGHTS,
    OnnxForm,
    batched,
    saturating,
    unsigned_layers,
    whole,
)
from coc_cli.runtime.writers.writer import ExportOptions, Job
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab

RESNET = ("cifar:resnet20", {"depth": 8, "width": 5})
NETWORKS = (
    (*RESNET, "max_softmax", "pool"),
    (*RESNET, "entropy", "bof"),
    (*RESNET, "variance", "pool"),
    (*RESNET, "agreement", "pool"),
    ("cifar:vgg19", {"width": 3}, "max_softmax", "pool"),
    ("cifar:mobilenet_v2", {"width": 6}, "entropy", "pool"),
    ("cifar:mobilenet_v2", {"width": 6}, "", "pool"),
    (*RESNET, "", "pool"),
)
BITS = ((8, 8), (4, 4), (2, 3), (1, 2))
CASES = [(*network, *bits) for network in NETWORKS for bits in BITS]
QUICK = (CASES[0], CASES[5], CASES[10], CASES[14], CASES[21])


@pytest.mark.parametrize("case", tiered(CASES, quick=QUICK, full=8), ids=lambda case: "-".join(map(str, case)))
def test_files_and_interpreter_give_the_same_bits(case: tuple[str, dict[str, int], str, str, int, int]) -> None:
    arch, args, measure, head, weights, activations = case
    network = quantised(float_network(arch, args, size=32, measure=measure, head=head), weights, activations)
    graph, exported = lower(network)
    wide = padded(graph)
    assert any(wide.values[name] != value for name, value in graph.values.items())
    assert graph.integer_layers == graph.layers == tuple(network.layers)
    images = inputs_of(network, 32)
    interpreted = interpreter.run(graph, images)
    assert equal_rows(interpreted, interpreter.run(wide, images)) == 1, "padding changes nothing"
    found = answers(batched(wide, OnnxForm()), images)
    assert equal_rows(interpreted, exits_of(found, graph)) >= (0.9 if activations == 8 else 0.99)
    stopping = answers(whole(wide, OnnxForm()), images, one_by_one=True)
    for name, values in stopping.items():
        np.testing.assert_array_equal(values, found[name], name)
    told = exported.predict(torch.from_numpy(images))
    assert (stopping["exit"] == told.exit.numpy()).mean() >= 0.9
    if measure and activations > 3:  # untrained networks of fewer bits may say the same of all images
        assert len(np.unique(stopping["exit"])) > 1
    if graph.scale is None:
        assert (stopping["value"] == told.value.numpy()).mean() >= 0.9
        np.testing.assert_array_equal(stopping["probabilities"].argmax(1), stopping["value"])
    else:
        near = np.isclose(stopping["value"], told.value.numpy(), atol=0.05).all(1)
        assert near[stopping["exit"] == told.exit.numpy()].mean() >= 0.9


@pytest.mark.parametrize("measure", ["max_softmax", ""])
def test_every_layer_runs_on_integers_in_every_branch(tmp_path: Path, measure: str) -> None:
    network = quantised(float_network(*RESNET, measure=measure), 4, 4)
    graph, _ = lower(network)
    for model in (whole(padded(graph), OnnxForm()), batched(graph, OnnxForm())):
        kinds = layer_kinds(model, str(tmp_path))
        assert set(kinds) <= INTEGER
        assert len(kinds) == len(network.layers)


def test_a_network_that_is_not_quantised_keeps_its_answers_and_exits(tmp_path: Path) -> None:
    network = with_threshold(float_network(*RESNET, measure="max_softmax"))
    graph, _ = lower(network)
    assert graph.integer_layers == ()
    assert set(graph.kept_float.values()) == {"its weights are not rounded"}
    images = inputs_of(network)
    found = answers(whole(graph, OnnxForm()), images, one_by_one=True)
    told = network.predict(torch.from_numpy(images))
    np.testing.assert_array_equal(found["exit"], told.exit.numpy())
    np.testing.assert_array_equal(found["value"], told.value.numpy())
    np.testing.assert_allclose(found["probabilities"], told.probabilities.numpy(), atol=1e-5)
    assert set(layer_kinds(whole(graph, OnnxForm()), str(tmp_path))) <= FLOAT


def test_what_is_no_integer_operation_runs_in_float_and_is_named() -> None:
    network = quantised(float_network("torchvision:mobilenet_v3_small", size=32), 8, 8)
    graph, exported = lower(network)
    assert 0 < len(graph.integer_layers) < len(graph.layers) == len(network.layers)
    assert set(graph.kept_float) == set(graph.layers) - set(graph.integer_layers)
    assert "what follows it, 'hardswish', is not rounded or clipped codes" in graph.kept_float.values()
    images = inputs_of(network, 8)
    found = answers(batched(graph, OnnxForm()), images)
    with torch.no_grad():
        expected = exported(torch.from_numpy(images))[-1].numpy()
    assert np.abs(found["exit_0"] - expected).max() < 0.1 * np.ptp(expected) + 1e-6


def test_an_operation_without_onnx_is_named() -> None:
    graph, _ = lower(float_network(*RESNET))
    node = next(node for node in graph.nodes if getattr(node, "kind", "") == "flatten")
    object.__setattr__(node, "kind", "roll")
    with pytest.raises(StageError, match=rf"'{node.name}' is a roll, for which coc has no ONNX yet"):
        batched(graph, OnnxForm())


@pytest.mark.parametrize("form", ["int8", "int4", "int2"])
def test_weights_of_fewer_bits_make_smaller_files_with_the_same_layers(form: str, tmp_path: Path) -> None:
    network = quantised(float_network("cifar:resnet20", {"depth": 8, "width": 16}), 2, 4)
    graph, _ = lower(network, largest_code=LIMITS[form])
    model = whole(graph, OnnxForm(form))
    assert set(layer_kinds(model, str(tmp_path))) <= INTEGER
    plain, _ = lower(network)
    images = inputs_of(network, 16)
    found = answers(model, images, one_by_one=True)
    reference = interpreter.run(graph, images)[-1].argmax(1)
    np.testing.assert_array_equal(found["value"], reference)
    sizes = {"int8": 1.0, "int4": 0.72, "int2": 0.55}
    assert len(model.SerializeToString()) <= sizes[form] * len(whole(plain, OnnxForm()).SerializeToString())
    assert model.opset_import[0].version == WEIGHTS[form].opset


@pytest.mark.parametrize(("bits", "which"), [(8, "all weights"), (4, "the weights of 2 of 10 integer layers")])
def test_a_note_says_which_weights_fewer_bits_leave_as_large(bits: int, which: str) -> None:
    network = quantised(float_network("cifar:resnet20", {"depth": 8, "width": 4}), bits, bits)
    said = f"{which} take 8 bits each in the file, as --weights int4 packs only what has fewer"
    for form, notes in (("int8", []), ("int4", [said])):
        graph, exported = lower(network, largest_code=LIMITS[form])
        written = Onnx().write(Job(graph, exported, ExportOptions(form), np.empty(0, np.float32)))
        assert [note for note in written.notes if "in the file" in note] == notes


def test_few_bits_cannot_saturate_once_first_and_last_have_unsigned_weights() -> None:
    """What a processor without VNNI adds in 16 bits must fit: the bound by which an export is portable."""
    network = quantised(float_network(*RESNET, measure="max_softmax"), 4, 4)
    graph, _ = lower(network)
    unsigned = unsigned_layers(graph, portable=False)
    assert unsigned == saturating(graph) <= {"conv1", "linear", "exits.0.linear", "exits.1.linear"}
    for node in graph.nodes:
        if isinstance(node, Layer) and node.layer not in unsigned:
            grid = graph.values[node.inputs[0]].grid
            assert grid is not None
            codes = np.abs(node.codes.astype(int)).reshape(len(node.codes), -1)
            assert 2 * codes.max() * (grid.high + (128 if grid.low < 0 else 0)) <= 32767
    wide, _ = lower(quantised(float_network(*RESNET), 8, 8))
    assert unsigned_layers(wide, portable=False) == frozenset()
    assert unsigned_layers(wide, portable=True) == saturating(wide) == set(wide.integer_layers)


def test_unsigned_weights_give_the_same_bits(tmp_path: Path) -> None:
    network = quantised(float_network(*RESNET), 8, 8)
    graph, _ = lower(network)
    form = OnnxForm(unsigned=unsigned_layers(graph, portable=True))
    images = inputs_of(network, 16)
    found = [exits_of(answers(batched(graph, one), images), graph) for one in (OnnxForm(), form)]
    assert equal_rows(*found) == 1
    assert set(layer_kinds(batched(graph, form), str(tmp_path))) <= INTEGER


def test_a_threshold_may_be_given(tmp_path: Path) -> None:
    network = quantised(float_network(*RESNET, measure="max_softmax"), 4, 4)
    graph, _ = lower(network)
    path = tmp_path / "model.onnx"
    onnx.save(whole(graph, OnnxForm()), path)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = inputs_of(network, 8)
    for threshold, exit_ in ((0.0, 0), (2.0, 2)):
        extra = {"threshold": np.array([threshold], np.float32)}
        assert [session.run(["exit"], {"image": one[None], **extra})[0][0] for one in images] == [exit_] * 8


def test_constants_lie_inside_the_branches_under_names_of_their_own() -> None:
    graph, _ = lower(quantised(float_network(*RESNET, measure="max_softmax"), 4, 4))
    model = whole(graph, OnnxForm())
    names: list[str] = []
    heavy: list[int] = []

    def walk(inner: onnx.GraphProto) -> None:
        names.extend(constant.name for constant in inner.initializer)
        names.extend(output for node in inner.node for output in node.output)
        heavy.append(sum(len(constant.raw_data) for constant in inner.initializer))
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    walk(attribute.g)

    walk(model.graph)
    assert len(names) == len(set(names))
    assert len(heavy) == 5, "the graph, and two branches at each of two exits"
    assert heavy[0] < sum(heavy) / 2


@pytest.mark.parametrize("bits", [(8, 8), (4, 4)])
def test_powers_of_two_give_equal_bits_in_the_network_too(bits: tuple[int, int], lab: Lab) -> None:
    stage = Quantize(weights=bits[0], activations=bits[1], scales="power_of_two", epochs=1, teacher="none")
    network = through_file(stage.apply(lab.baseline, lab))
    graph, exported = lower(network)
    for value in graph.values.values():
        assert value.grid is None or np.log2(value.grid.scale) % 1 == 0
    images = network.normalise(lab.data.test.images).contiguous()
    interpreted = interpreter.run(graph, images.numpy())
    found = exits_of(answers(batched(padded(graph), OnnxForm()), images.numpy()), graph)
    with torch.no_grad():
        told = [output.numpy() for output in exported(images)]
    assert equal_rows(interpreted, found) == equal_rows(interpreted, told) == 1


SHORTCUTS = """
import torch.nn.functional as F
from torch import nn

class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o - 2, 3, stride, 1, bias=False), nn.BatchNorm2d(o - 2)
        self.conv2, self.bn2 = nn.Conv2d(o - 2, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.stride, self.more = stride, o - i

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(y + x)

class Net(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 13, 3, 1, 1, bias=False), nn.BatchNorm2d(13)
        sizes = [(13, 13, 1), (13, 13, 1), (13, 29, 2), (29, 29, 1), (29, 61, 2), (61, 61, 1)]
        self.blocks, self.linear = nn.Sequential(*[Block(*size) for size in sizes]), nn.Linear(61, outputs)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn(self.conv(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
"""


def test_channels_that_a_shortcut_pads_get_no_more(tmp_path: Path) -> None:
    """As of a pruned ResNet with shortcuts that subsample and pad (He et al. 2016, kind A): none may move."""
    (tmp_path / "nets.py").write_text(SHORTCUTS)
    graph, _ = lower(quantised(float_network(f"file:{tmp_path / 'nets.py'}:Net"), 4, 4))
    wide = padded(graph)
    grown = {name for name, value in graph.values.items() if wide.values[name] != value}
    pads = [node for node in graph.nodes if getattr(node, "kind", "") == "pad"]
    sums = [node for node in graph.nodes if isinstance(node, Sum)]
    assert (len(pads), len(sums)) == (2, 6)
    assert not grown & {name for node in (*pads, *sums) for name in (node.name, *node.inputs)}
    assert len(grown) >= 3, "but what stays inside a block does"
    images = inputs_of(float_network(*RESNET), 16)
    found = answers(batched(wide, OnnxForm()), images)
    assert equal_rows(interpreter.run(graph, images), exits_of(found, graph)) == 1
