"""The network: what `build` makes of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from coc_cli.nets import edges as edge_places
from coc_cli.nets import sources
from coc_cli.nets.cuts import Segment, segments, trace
from coc_cli.nets.layers import ActivationQuantizer, numbers_of, quantized, remade
from coc_cli.nets.spec import Spec

if TYPE_CHECKING:
    from torch.fx import Node


@dataclass(frozen=True)
class Prediction:
    """What `predict` says of a batch."""

    value: Tensor  # the class index [N], or the regression targets [N, T]
    exit: Tensor  # [N], the exit at which each input left; 0 is the first
    confidence: Tensor  # [N], the greatest softmax share; NaN for regression


class Network(nn.Module):
    """A backbone cut into segments, one head for each inner exit.

    `forward` gives one output per exit, the last is final; `predict` really stops at the exit where the rule fires.
    Inputs are normalised images [N, C, H, W]; `normalise` makes them of uint8 ones.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = sources.create(spec.arch, spec.args, outputs=len(spec.labels), channels=spec.input_shape[0])
        for name, numbers in spec.modules.items():
            _replace(self.backbone, name, remade(self.backbone.get_submodule(name), numbers))
        for name, bits in spec.bits.items():
            layer = self.backbone.get_submodule(name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            _replace(self.backbone, name, quantized(layer, bits))
        self.edges = nn.ModuleDict({name: ActivationQuantizer(edge) for name, edge in spec.edges.items()})
        self.graph = trace(_Traced(self.backbone))  # with the quantisers in it; targets are names below this module
        self._rounded = edge_places.insert(self.graph, spec.edges)
        self._cut: dict[tuple[str, ...], list[Segment]] = {}
        shape = (-1, 1, 1)
        self.register_buffer("_mean", torch.tensor(spec.mean).view(shape), persistent=False)
        self.register_buffer("_std", torch.tensor(spec.std).view(shape), persistent=False)

    @property
    def segments(self) -> list[Segment]:
        """The stretches between exits."""
        return self._segments_with(())

    def _segments_with(self, taps: tuple[str, ...]) -> list[Segment]:
        if taps not in self._cut:
            cuts = [self._rounded.get(place.source, place.source) for place in self.spec.exits]
            self._cut[taps] = segments(self.graph, cuts, taps=taps)
        return self._cut[taps]

    def normalise(self, images: Tensor) -> Tensor:
        """Give float images for `forward` from uint8 images [N, C, H, W]."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        made: Tensor = (images.to(mean.device, torch.float32) / 255).sub_(mean).div_(std)
        return made.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Run everything: one output [N, classes or targets] per exit, the last is final."""
        return self.run(x)[0]

    def run(self, x: Tensor, taps: tuple[str, ...] = ()) -> tuple[list[Tensor], list[Tensor]]:
        """Give what `forward` gives, and the tensors of the graph nodes named in `taps`."""
        live: tuple[Tensor, ...] = (x,)
        for segment in self._segments_with(taps):
            live = segment.run(self, *live)
        return [live[0]], list(live[1:])

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Answer for normalised images [N, C, H, W]."""
        outputs = self(x)
        exits = torch.full((len(x),), len(outputs) - 1, device=x.device)
        if self.spec.task == "regression":
            return Prediction(outputs[-1], exits, torch.full((len(x),), torch.nan, device=x.device))
        confidence, label = outputs[-1].softmax(1).max(1)
        return Prediction(label, exits, confidence)

    @cached_property
    def layer_nodes(self) -> list[Node]:
        """The graph's nodes that call a convolution or a linear layer, in the order in which they run."""
        return edge_places.layer_nodes(self.graph, self)

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Those layers by their names in the backbone."""
        return {edge_places.layer_name(node): self.get_submodule(str(node.target)) for node in self.layer_nodes}

    def input_bits(self) -> dict[str, int]:
        """Give, for every layer, the bits of the tensor that it reads."""
        return {
            edge_places.layer_name(node): edge_places.input_bits(node, self, self.spec.edges)
            for node in self.layer_nodes
        }


class _Traced(nn.Module):
    """Gives the traced names the prefix under which the network holds its backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.backbone(x)
        return y


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, module)


def build(spec: Spec, *, device: str = "cpu") -> Network:
    """Make the network of a spec, channels last, in train mode, with fresh random weights (none on "meta").

    Raises `StageError` where the backbone cannot be traced.
    """
    with torch.device(device):
        network = Network(spec)
    return network.to(memory_format=torch.channels_last)


def clone(network: Network) -> Network:
    """Give a network with the same spec and tensors on the same device that shares none of them."""
    made = build(network.spec)
    made.load_state_dict(network.state_dict())
    return made.to(network.get_buffer("_mean").device)


def float_twin(spec: Spec) -> Spec:
    """Give the spec without any quantiser and without exits."""
    return spec.but(bits={}, edges={}, exits=(), rule=None)


def changed_numbers(network: Network) -> dict[str, dict[str, int]]:
    """Give the constructor numbers that differ from what the architecture makes by itself: a spec's `modules`."""
    spec = network.spec
    with torch.device("meta"):
        plain = sources.create(spec.arch, spec.args, outputs=len(spec.labels), channels=spec.input_shape[0])
    changed = {}
    for name, module in plain.named_modules():
        numbers = numbers_of(network.backbone.get_submodule(name))
        if numbers is not None and numbers != numbers_of(module):
            changed[name] = numbers
    return changed
