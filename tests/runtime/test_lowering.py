"""The integer graph: numbers worked out by hand, and the network that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exportable import float_network, inputs_of, quantised
from torch import nn

from coc_cli.nets.layers import quantized
from coc_cli.runtime import interpreter
from coc_cli.runtime.folding import folded
from coc_cli.runtime.graph import Average, Grid, Layer, Operation, Round, Sum, Window, saturates
from coc_cli.runtime.lowering import lower

RESNET = ("cifar:resnet20", {"depth": 8, "width": 4})


def layer(weights: list[list[float]], scale: list[float], bits: int = 4, bias: list[float] | None = None) -> nn.Linear:
    plain = nn.Linear(len(weights[0]), len(weights), bias=bias is not None)
    made = quantized(plain, bits)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weights))
        made.weight_scale.copy_(torch.tensor(scale))
        if bias is not None:
            made.bias.copy_(torch.tensor(bias))
    return made


def test_a_bias_is_rounded_to_the_step_of_the_sum() -> None:
    module = layer([[0.5, -0.25], [1.0, 0.0]], [0.25, 0.5], bias=[0.3, -1.0])
    fold = folded(module, None, Grid(0.5, 0, 15), largest_code=7)
    assert fold.codes.tolist() == [[2, -1], [2, 0]]
    assert fold.scale.tolist() == [0.25, 0.5]
    assert fold.bias.tolist() == [2, -4]  # steps of 0.125 and 0.25
    fold.write_back()
    assert module.bias.tolist() == [0.25, -1.0]


def test_weights_of_few_bits_get_a_finer_step() -> None:
    module = layer([[0.5, -0.5]], [0.5], bits=2, bias=[0.3])
    fold = folded(module, None, Grid(1.0, 0, 15), largest_code=127)
    assert fold.codes.tolist() == [[127, -127]]
    assert fold.scale.tolist() == [np.float32(0.5 / 127)]
    assert abs(fold.bias[0] * fold.scale[0] - 0.3) <= 0.5 / 127 / 2
    held = folded(module, None, Grid(1.0, 0, 255), largest_code=127)
    assert held.codes.max() == 64, "two products of 255 by that fit into 16 bits"


def test_a_norm_goes_into_scale_sign_and_bias() -> None:
    module = layer([[0.5, -0.25], [1.0, 0.0], [0.25, 0.25]], [0.25, 0.5, 0.25])
    norm = nn.BatchNorm1d(3, eps=0.0)
    norm.weight.data = torch.tensor([2.0, -1.0, 0.0])
    norm.bias.data = torch.tensor([0.5, 0.0, 0.75])
    norm.running_mean = torch.tensor([1.0, -2.0, 3.0])
    norm.running_var = torch.tensor([4.0, 1.0, 1.0])
    fold = folded(module, norm, Grid(0.5, 0, 15), largest_code=7)
    assert fold.codes.tolist() == [[2, -1], [-2, 0], [0, 0]], "a gain below zero turns signs, one of zero leaves none"
    assert fold.scale[:2].tolist() == [0.25, 0.5]
    assert fold.bias[:2].tolist() == [-4, -8]
    assert fold.bias[2] * fold.scale[2] * 0.5 == pytest.approx(0.75, abs=1e-6)


def test_a_layer_sums_codes_and_rounds_once() -> None:
    network = quantised(float_network(*RESNET, size=8), 4, 4)
    graph, _ = lower(network)
    node = next(node for node in graph.nodes if isinstance(node, Layer))
    source, grid = graph.values[node.inputs[0]].grid, graph.values[node.name].grid
    assert source is not None
    assert grid is not None
    images = inputs_of(network, 2)
    *_, codes, made = interpreter.run(graph, images, taps=(node.inputs[0], node.name))
    at = (1, 2, 3, 4)  # image, channel, row, column
    image, channel, row, column = at
    patch = np.pad(codes[image], ((0, 0), (1, 1), (1, 1)))[:, row : row + 3, column : column + 3]
    total = int((patch.astype(int) * node.codes[channel].astype(int)).sum()) + int(node.bias[channel])
    step = np.float32(source.scale) * node.scale[channel] / np.float32(grid.scale)
    assert made[at] == min(max(np.rint(np.float32(total) * step), node.low), node.high)


def test_only_rounding_of_biases_parts_the_exported_network_from_the_first() -> None:
    network = quantised(float_network(*RESNET, size=8), 8, 8)
    graph, exported = lower(network)
    images = torch.from_numpy(inputs_of(network, 64))
    with torch.no_grad():
        first, given = network(images)[-1], exported(images)[-1]
    assert not torch.equal(first, given)
    assert (first - given).abs().max() < 0.02 * (first.max() - first.min())
    weights = {name: value for name, value in network.state_dict().items() if not name.endswith("bias")}
    assert all(torch.equal(value, exported.state_dict()[name]) for name, value in weights.items())
    interpreted = interpreter.run(graph, images.numpy())[-1]
    assert np.abs(interpreted - given.numpy()).max() < 0.03 * np.ptp(interpreted)


def test_nodes_are_what_an_integer_runtime_has() -> None:
    graph, _ = lower(quantised(float_network(*RESNET, size=8), 8, 8))
    kinds = [type(node) for node in graph.nodes if not isinstance(node, Operation)]
    assert kinds.count(Layer) == 10
    assert kinds.count(Sum) == 3
    assert kinds.count(Average) == 1
    assert kinds.count(Round) == 1, "the input"
    assert [node.kind for node in graph.nodes if isinstance(node, Operation)] == ["flatten"]
    average = next(node for node in graph.nodes if isinstance(node, Average))
    assert graph.values[average.inputs[0]].grid is not None, "the last sum is rounded before it is averaged"


def test_sizes_that_follow_the_number_of_images_are_known() -> None:
    graph, _ = lower(float_network("timm:vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8}, size=32))
    images = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    together = interpreter.run(graph, images)[-1]
    alone = np.concatenate([interpreter.run(graph, images[i : i + 1])[-1] for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_saturation_by_hand() -> None:
    codes = np.array([[64, 64, 1], [127, 0, 0]], np.int8)
    node = Layer("y", ("x",), "fc", codes, np.ones(2, np.float32), np.zeros(2, np.int32))
    assert not saturates(node, Grid(1.0, 0, 255)), "255 x 128 = 32,640"
    assert saturates(node, Grid(1.0, -128, 127).__class__(1.0, 0, 256)), "256 x 128 = 32,768"
    assert saturates(Layer("y", ("x",), "fc", codes * 0 + 65, codes[:, 0], codes[:, 0]), Grid(1.0, -7, 127))


def test_windows_go_over_a_map_as_torch_does() -> None:
    values = np.random.default_rng(0).integers(-9, 9, (2, 3, 7, 8)).astype(np.float32)
    kernel = np.random.default_rng(1).integers(-9, 9, (6, 1, 3, 2)).astype(np.int8)
    window = Window((3, 2), (2, 1), (1, 2, 1, 2), (1, 2))
    node = Layer("y", ("x",), "c", kernel, np.ones(6), np.zeros(6), window=window, groups=3)
    found = interpreter._products(values, node, np.float64)
    expected = nn.functional.conv2d(
        torch.from_numpy(values), torch.from_numpy(kernel).float(), None, (2, 1), (1, 2), (1, 2), 3
    )
    np.testing.assert_array_equal(found, expected.numpy())
