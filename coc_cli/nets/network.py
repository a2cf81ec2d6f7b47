"""The network: what `build` makes of a spec."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coc_cli.nets import architectures as sources
from coc_cli.nets.canonical import canonicalize
from coc_cli.nets.exit_rules import leaves
from coc_cli.nets.graph import layer_name, layer_nodes
from coc_cli.nets.heads import make_head
from coc_cli.nets.layers import ActivationQuantizer, numbers_of, quantized, resized
from coc_cli.nets.names import layer_at, module_path
from coc_cli.nets.quantizer_places import input_bits, insert
from coc_cli.nets.segments import Segment, segments, splice
from coc_cli.nets.spec import Spec
from coc_cli.nets.tracing import trace

if TYPE_CHECKING:
    from torch.fx import Node


@dataclass(frozen=True)
class Prediction:
    """What `predict` says of a batch."""

    value: Tensor  # the class index [N], or the regression targets [N, T] in their own units
    exit: Tensor  # [N], the exit at which each input left; 0 is the first
    confidence: Tensor  # [N], the greatest softmax share; NaN for regression


class Network(nn.Module):
    """A backbone cut into segments, one head for each inner exit.

    `forward` gives one output per exit, the last is final; `predict` really stops at the exit where the rule fires.
    Inputs are normalised images [N, C, H, W]; `normalise` makes them of uint8 ones.
    """

    def __init__(self, spec: Spec, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = canonicalize(backbone or raw(spec), spec.input_shape)
        self.exits = nn.ModuleList(make_head(place, spec.head_outputs) for place in spec.exits)
        for name, numbers in spec.modules.items():
            self._replace(name, resized(self.layer(name), numbers))
        for name, shape in spec.parameters.items():
            self._replace(name, nn.Parameter(torch.empty(shape)))
        for name, bits in spec.bits.items():
            layer = self.layer(name)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            self._replace(name, quantized(layer, bits))
        self.edges = nn.ModuleDict({name: ActivationQuantizer(edge) for name, edge in spec.edges.items()})
        with sources.user_code_errors(spec.arch):
            self.graph = trace(_Traced(self.backbone))
        # with heads and quantisers in it; targets are names below this module
        for index, place in enumerate(spec.exits):
            splice(self.graph, place.source, _TracedHead(self.exits, index))
        insert(self.graph, spec.edges)
        self._cut: dict[tuple[str, ...], list[Segment]] = {}
        self.backbone_frozen = False
        shape = (-1, 1, 1)
        self.register_buffer("_mean", torch.tensor(spec.mean).view(shape), persistent=False)
        self.register_buffer("_std", torch.tensor(spec.std).view(shape), persistent=False)

    @property
    def segments(self) -> list[Segment]:
        """The stretches between exits."""
        return self._segments_with(())

    def _segments_with(self, taps: tuple[str, ...]) -> list[Segment]:
        if taps not in self._cut:
            self._cut[taps] = segments(self.graph, taps=taps)
        return self._cut[taps]

    def normalise(self, images: Tensor) -> Tensor:
        """Return float images for `forward` from uint8 images [N, C, H, W]."""
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        made: Tensor = (images.to(mean.device, torch.float32) / 255).sub_(mean).div_(std)
        return made.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Run everything: one output [N, classes or targets] per exit, the last is final."""
        return self.run(x)[0]

    def run(self, x: Tensor, taps: tuple[str, ...] = ()) -> tuple[list[Tensor], list[Tensor]]:
        """Return what `forward` gives, and the tensors of the graph nodes named in `taps`."""
        live: tuple[Tensor, ...] = (x,)
        outputs = []
        for segment in self._segments_with(taps):
            output, *live_now = segment.run(self, *live)
            live = tuple(live_now)
            outputs.append(output)
        return outputs, list(live)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Prediction:
        """Answer for normalised images [N, C, H, W]; what leaves at an exit is dropped from all that follows."""
        rows = torch.arange(len(x), device=x.device)  # which image each row of the batch is
        live: tuple[Tensor, ...] = (x,)
        before: Tensor | None = None
        pieces: list[tuple[Tensor, Tensor, int]] = []
        for index, segment in enumerate(self.segments):
            output, *live_now = segment.run(self, *live)
            stays = torch.zeros(len(rows), dtype=torch.bool, device=x.device)
            if index < len(self.spec.exits):
                stays = ~leaves(output, self.spec.rule, before)
            pieces.append((rows[~stays], output[~stays, : len(self.spec.labels)], index))
            if not stays.any():
                break
            rows, live, before = rows[stays], tuple(tensor[stays] for tensor in live_now), output[stays]
        order = torch.cat([piece[0] for piece in pieces]).argsort()
        outputs = torch.cat([piece[1] for piece in pieces])[order]
        exits = torch.cat([torch.full_like(rows, index) for rows, _, index in pieces])[order]
        if self.spec.task == "regression":
            outputs = self.spec.scale.values(outputs) if self.spec.scale else outputs
            return Prediction(outputs, exits, torch.full((len(x),), torch.nan, device=x.device))
        confidence, label = outputs.softmax(1).max(1)
        return Prediction(label, exits, confidence)

    def train(self, mode: bool = True) -> Network:
        """Set the mode as usual; a frozen backbone stays in eval mode, so that its norms do not move."""
        super().train(mode)
        if self.backbone_frozen:
            self.backbone.eval()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take tensors as usual; they are those of the modules as they are now, not of an older version of a class."""
        state = OrderedDict(state_dict)
        state._metadata = self.state_dict()._metadata  # type: ignore[attr-defined]  # noqa: SLF001
        return super().load_state_dict(state, strict, assign)

    def layer(self, name: str) -> nn.Module:
        """Return the module of that name in the backbone, or exits.N.NAME in a head."""
        return self.get_submodule(module_path(name))

    def _replace(self, name: str, part: nn.Module | nn.Parameter) -> None:
        parent, _, last = module_path(name).rpartition(".")
        setattr(self.get_submodule(parent), last, part)

    @cached_property
    def layer_nodes(self) -> list[Node]:
        """The graph's nodes that call a convolution or a linear layer, in the order in which they run."""
        return layer_nodes(self.graph, self)

    @property
    def layers(self) -> dict[str, nn.Module]:
        """Those layers by their names in the backbone."""
        return {layer_name(node): self.get_submodule(str(node.target)) for node in self.layer_nodes}

    def input_bits(self) -> dict[str, int]:
        """Return, for every layer, the bits of the tensor that it reads."""
        return {layer_name(node): input_bits(node, self, self.spec.edges) for node in self.layer_nodes}


class _Traced(nn.Module):
    """Gives the traced names the prefix under which the network holds its backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.backbone(x)
        return y


class _TracedHead(nn.Module):
    """The same for the head of one exit."""

    def __init__(self, exits: nn.ModuleList, index: int) -> None:
        super().__init__()
        self.exits, self.index = exits, index

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.exits[self.index](x)
        return y


def raw(spec: Spec) -> nn.Module:
    """Make the architecture of a spec just as its source makes it, with fresh random weights."""
    return sources.create(spec.arch, spec.args, outputs=len(spec.labels), channels=spec.input_shape[0])


def build(spec: Spec, *, device: str = "cpu", backbone: nn.Module | None = None) -> Network:
    """Make the network of a spec, channels last, in train mode, with fresh random weights (none on "meta").

    A `backbone`, made by `raw` and filled, is taken over instead of fresh weights. Raises `StageError` where the
    backbone cannot be made or traced.
    """
    with torch.device(device):
        network = Network(spec, backbone)
    return network.to(memory_format=torch.channels_last)


def clone(network: Network) -> Network:
    """Return a network with the same spec and tensors on the same device that shares none of them."""
    return with_spec(network, network.spec)


def with_spec(network: Network, spec: Spec) -> Network:
    """Return a network with the same tensors and another spec of the same shapes: other signs, another threshold."""
    made = build(spec)
    made.load_state_dict(network.state_dict())
    return made.to(network.get_buffer("_mean").device)


def without_quantizers(spec: Spec) -> Spec:
    """Return the spec without any quantiser."""
    return spec.with_changes(bits={}, edges={})


def changed_numbers(network: nn.Module, spec: Spec) -> dict[str, dict[str, int]]:
    """Return a spec's `modules`: the numbers in which a network differs from what its architecture makes by itself."""
    plain = build(without_quantizers(spec.with_changes(modules={})), device="meta")
    changed = {}
    for path, module in plain.named_modules():
        numbers = numbers_of(module)
        found = numbers_of(network.get_submodule(path)) if numbers else None
        if found != numbers and found is not None:
            changed[layer_at(path)] = found
    return changed


def changed_parameters(network: nn.Module, spec: Spec) -> dict[str, tuple[int, ...]]:
    """Return a spec's `parameters`: the shapes of bare parameters that its `modules` do not already tell."""
    plain = dict(build(without_quantizers(spec.with_changes(parameters={})), device="meta").named_parameters())
    found = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    return {layer_at(name): found[name] for name in found if found[name] != tuple(plain[name].shape)}
