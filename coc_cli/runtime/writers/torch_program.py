"""Networks as programs of torch.export: for users of PyTorch, not small and not fast.

Weights are written as what they are rounded to, with the norms behind them folded in; tensors between layers are still
rounded in float32. `torch.export.load` opens the file without coc; its module gives the outputs of all exits.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from coc_cli.errors import RunError
from coc_cli.nets import lsq
from coc_cli.nets.graph import operation
from coc_cli.nets.layers import ActivationQuantizer, QuantizedWeight
from coc_cli.nets.network import Network, clone
from coc_cli.nets.plain_modules import arguments_of, made

IMAGES = 2  # of the example; with one image torch takes their number for a constant


class Rounding(nn.Module):
    """Rounds a tensor to the codes of a grid, times their step."""

    scale: Tensor

    def __init__(self, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.register_buffer("scale", lsq.positive(quantizer.used(quantizer.scale)).detach().clone())
        self.low, self.high = quantizer.codes

    def forward(self, x: Tensor) -> Tensor:
        return (x / self.scale).round().clamp(self.low, self.high) * self.scale


class Outputs(nn.Module):
    """The outputs of all exits, the final one last."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(image))


def write(network: Network) -> bytes:
    """Return the file: input `image` float32 [N, C, H, W], normalised; a tuple of the outputs of all exits.

    N is free where the network allows it.

    Args:
        network: As exported: with its biases on the steps of the sums. On the CPU; stays as it is.

    Raises:
        RunError: If the file, read again, answers otherwise.
    """
    module = Outputs(plain(network)).eval().requires_grad_(requires_grad=False)
    images = torch.rand(IMAGES, *network.spec.input_shape, generator=torch.Generator().manual_seed(0))
    sizes = {"image": {0: torch.export.Dim.AUTO}}
    program = torch.export.export(module, (images,), dynamic_shapes=sizes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this computer
    file = io.BytesIO()
    torch.export.save(program, file)
    content = file.getvalue()
    _check(content, module, images)
    return content


def _check(content: bytes, module: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        expected, found = module(images), torch.export.load(io.BytesIO(content)).module()(images)
    pairs = zip(expected, found, strict=True)
    if not all(torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True) for one, other in pairs):
        raise RunError("the file of torch.export answers otherwise than the network; write `--to onnx` instead")


@torch.no_grad()
def plain(network: Network) -> Network:
    """Return a copy that holds nothing but torch's own layers with rounded weights, and roundings; norms are folded."""
    copy = clone(network).eval()
    calls = Counter(node.target for node in copy.graph.nodes if node.op == "call_module")
    for node in copy.layer_nodes:
        name = str(node.target)
        layer = copy.get_submodule(name)
        norm = _norm_behind(copy, node, calls)
        if norm is not None:
            _put(copy, name, _layer(layer, copy.get_submodule(norm)))
            _put(copy, norm, nn.Identity())
        elif isinstance(layer, QuantizedWeight):
            _put(copy, name, _layer(layer, None))
    for name, quantizer in list(copy.named_modules()):
        if isinstance(quantizer, ActivationQuantizer):
            _put(copy, name, Rounding(quantizer))
    return copy


def _put(network: Network, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module.eval())


def _norm_behind(network: Network, node: Node, calls: Counter[Any]) -> str | None:
    """Return the name of the batch norm behind a convolution, if nothing else reads either."""
    if not isinstance(network.get_submodule(str(node.target)), nn.Conv2d) or len(node.users) != 1:
        return None
    (follower,) = node.users
    if operation(follower, network) != "batchnorm2d" or max(calls[node.target], calls[follower.target]) > 1:
        return None
    norm: Any = network.get_submodule(str(follower.target))
    return str(follower.target) if norm.running_mean is not None else None


def _layer(layer: Any, norm: Any) -> nn.Module:
    """Return a plain layer with rounded weights, and with a norm folded in."""
    weight = layer.rounded_weight() if isinstance(layer, QuantizedWeight) else layer.weight
    bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias
    if norm is not None:
        gain = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        weight = weight * gain.view(-1, *[1] * (weight.dim() - 1))
        bias = (bias - norm.running_mean) * gain + (0 if norm.bias is None else norm.bias)
    kind = "Linear" if isinstance(layer, nn.Linear) else "Conv2d"
    fresh: Any = made(kind, {**arguments_of(layer, kind), "bias": True})
    fresh.weight.copy_(weight)
    fresh.bias.copy_(bias)
    return fresh  # type: ignore[no-any-return]
