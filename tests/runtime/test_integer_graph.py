"""Early proof for the runtime: a quantised ResNet-20 becomes integer operations in ONNX Runtime, all of its layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from coc_cli.data import sources
from coc_cli.data.settings import Augment, DataSettings
from coc_cli.data.sources.digits import read_digits
from coc_cli.learning.training import Training
from coc_cli.nets import lsq
from coc_cli.nets.layers import ActivationQuantizer, QuantizedWeight
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab

onnx = pytest.importorskip("onnx", reason="the dev extra is not installed")
ort = pytest.importorskip("onnxruntime", reason="the dev extra is not installed")


def export(network: Network, path: Path) -> None:
    """Write Q/Clip/DQ around folded convolutions, node by node of the traced graph.

    Biases are rounded to the steps of the integer sums, in the file and in the network.
    """
    nodes: list[Any] = []
    constants: list[Any] = []
    names: dict[Any, str] = {}
    steps: dict[str, float] = {}

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def op(kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    for node in network.graph.nodes:
        module = network.get_submodule(node.target) if node.op == "call_module" else None
        inputs = [names[a] for a in node.args if a in names] if node.op != "placeholder" else []
        name = node.name
        if isinstance(module, ActivationQuantizer):
            shift = 128 if module.edge.signed else 0  # all uint8: the runtime wants one type on both sides of a layer
            step = constant(f"{name}.s", np.float32(lsq.positive(module.scale).item()))
            limits = module.codes
            zero, low, high = (constant(f"{name}.{i}", np.uint8(v + shift)) for i, v in enumerate((0, *limits)))
            codes = op("QuantizeLinear", [inputs[0], step, zero], f"{name}.q")
            names[node] = op("DequantizeLinear", [op("Clip", [codes, low, high], f"{name}.c"), step, zero], name)
            steps[name] = lsq.positive(module.scale).item()
        elif isinstance(module, QuantizedWeight):
            norm = network.get_submodule(str(next(iter(node.users)).target)) if isinstance(module, nn.Conv2d) else None
            gain, shift = torch.ones(len(module.weight)), module.bias
            if isinstance(norm, nn.BatchNorm2d):
                gain = norm.weight / (norm.running_var + norm.eps).sqrt()
                shift = norm.bias - norm.running_mean * gain
            values = lsq.codes(module.weight, module.scale_for_weight(), module.bits, signed=True)
            finer = 127 // lsq.code_range(module.bits, signed=True)[1]  # the bias is rounded to steps of the sum
            values = values * finer * gain.sign().view(-1, *[1] * (values.dim() - 1)).int()
            scale = (lsq.positive(module.weight_scale) * gain.abs() / finer).detach().numpy()
            bias_scale = (scale * steps[inputs[0]]).astype(np.float32)
            bias = np.rint(shift.detach().numpy() / bias_scale).astype(np.int32)
            (norm or module).bias.data += torch.from_numpy(bias * bias_scale) - shift.detach()
            parts = [("w", values.numpy().astype(np.int8), scale), ("b", bias, bias_scale)]
            for part, integers, step in parts:
                tensors = [constant(f"{name}.{part}i", integers), constant(f"{name}.{part}s", step)]
                tensors += [constant(f"{name}.{part}z", np.zeros(len(step), integers.dtype))]
                inputs.append(op("DequantizeLinear", tensors, f"{name}.{part}", axis=0))
            if isinstance(module, nn.Conv2d):
                op("Conv", inputs, name, pads=[*module.padding] * 2, strides=[*module.stride])
            else:
                op("Gemm", inputs, name, transB=1)
            names[node] = name
        elif isinstance(module, nn.BatchNorm2d):
            names[node] = inputs[0]  # folded
        elif node.op == "placeholder":
            names[node] = name
        elif node.op != "output":
            kinds = {nn.ReLU: "Relu", nn.AdaptiveAvgPool2d: "GlobalAveragePool", nn.Flatten: "Flatten"}
            names[node] = op(kinds.get(type(module), "Add"), inputs, name)
    output = names[network.graph.output_node().args[0]]
    shapes = [("x", ["n", *network.spec.input_shape]), (output, ["n", len(network.spec.labels)])]
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shape) for n, shape in shapes]
    graph = onnx.helper.make_graph(nodes, "coc", ends[:1], ends[1:], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Lab]:
    """A float ResNet-20 of width 8 that knows the digits a little."""
    torch.manual_seed(0)
    info, folder = sources.describe(DataSettings(source="digits")), tmp_path_factory.mktemp("trained")
    args = {"depth": 20, "width": 8}
    spec = Spec(arch="cifar:resnet20", args=args, input_shape=info.shape, mean=(0.3,), std=(0.4,), labels=info.labels)
    network = build(spec)
    lab = Lab(read_digits(0), Augment(), "cpu", 1, network, folder, lambda _: None)
    lab.train(network, Training(epochs=6, batch=128), Quantize(weights=8, activations=8).loss(None))
    return network, lab


@pytest.mark.parametrize(
    ("weights", "activations", "epochs"),
    [(8, 8, 1), *[pytest.param(*case, marks=pytest.mark.full) for case in ((1, 4, 6), (2, 3, 3), (4, 4, 2))]],
)
def test_every_layer_of_a_quantised_resnet20_runs_as_an_integer_operation(
    trained: tuple[Network, Lab], tmp_path: Path, weights: int, activations: int, epochs: int
) -> None:
    network, lab = trained
    stage = Quantize(weights=weights, activations=activations, epochs=epochs, teacher="none")
    network = stage.apply(network, replace(lab, state=tmp_path)).eval()
    export(network, tmp_path / "model.onnx")

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = ort.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    integer = sum(kind in ("QLinearConv", "QGemm", "ConvInteger", "MatMulInteger") for kind in kinds)
    assert integer == len(network.layers) == 22, sorted(set(kinds))
    assert not {"Conv", "Gemm", "MatMul", "FusedConv"} & set(kinds)

    x = network.normalise(lab.data.test.images)
    with torch.no_grad():
        expected = network(x)[-1].numpy()
    (found,) = session.run(None, {"x": x.numpy()})
    agree = np.abs(found - expected).max(1) < 1e-4 * np.ptp(expected)
    assert agree.mean() > 0.95  # an image whose sum lies on the edge between two codes may fall to either side
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.99
