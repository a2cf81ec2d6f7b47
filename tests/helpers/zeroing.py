"""The law of pruning: what gives zero is not missed. It is held against networks in double precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coc_cli.nets.network import Network, build, clone
from coc_cli.nets.slicing import SliceIndices, sliced_spec


class Affine(nn.Module):
    """What a norm does behind its statistics, in which a channel that is zero counts too."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.dim = 1 if isinstance(norm, nn.GroupNorm) or type(norm).__name__ == "LayerNorm2d" else -1

    def forward(self, x: Tensor) -> Tensor:
        shape = [1] * x.dim()
        shape[self.dim] = -1
        return x * self.weight.view(shape) + self.bias.view(shape)


def without_statistics(network: Network) -> Network:
    """Let layer and group norms only scale and shift, in place."""
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            parent, _, last = path.rpartition(".")
            setattr(network.get_submodule(parent), last, Affine(module))
    return network


@torch.no_grad()
def silenced(network: Network, keep: SliceIndices) -> Network:
    """Return a copy in which what pruning removes gives zero: rows of layers, norms, bare parameters; no columns."""
    copy = clone(network).double().eval()
    for path, module in copy.named_modules():
        if f"{path}.weight" in keep.indices:
            gone = _gone(module.weight, keep.indices[f"{path}.weight"])
            if isinstance(module, nn.modules.conv._ConvTransposeNd):
                gone = gone.transpose(0, 1)
                module.weight[:, gone.flatten(1).all(1)] = 0
            gone = gone.flatten(1).all(1) if gone.dim() > 1 else gone
            if not isinstance(module, nn.modules.conv._ConvTransposeNd):
                module.weight[gone] = 0
            if module.bias is not None:
                module.bias[gone] = 0
    for name, parameter in copy.named_parameters():
        if name in keep.indices and not name.endswith((".weight", ".bias")):
            parameter[_gone(parameter, keep.indices[name])] = 0
    return copy


def _gone(tensor: Tensor, kept: Tensor) -> Tensor:
    gone = torch.ones(tensor.numel(), dtype=torch.bool)
    gone[kept.flatten()] = False
    return gone.view(tensor.shape)


def cut(network: Network, keep: SliceIndices) -> Network:
    """Return what remains, in double precision and evaluation."""
    made = build(sliced_spec(network.spec, keep))
    state = network.double().state_dict()
    made = made.double()
    made.load_state_dict({n: t.flatten()[keep.indices[n]] if n in keep.indices else t for n, t in state.items()})
    return made.eval()


def check_not_missed(network: Network, keep: SliceIndices) -> None:
    """Assert that a float network without what gives zero computes what it computed with it."""
    before, after = without_statistics(silenced(network, keep)), without_statistics(cut(network, keep))
    x = torch.randn(2, *network.spec.input_shape, dtype=torch.float64)
    with torch.no_grad():
        for there, here in zip(before(x), after(x), strict=True):
            assert float((there - here).abs().max()) <= 1e-9 * float(there.abs().max().clamp_min(1e-12))


def seen(network: Network) -> Network:
    """Let the norms of a network see something, in place."""
    network.train()(torch.randn(4, *network.spec.input_shape))
    return network.eval()
