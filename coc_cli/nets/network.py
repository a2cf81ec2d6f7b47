"""The network that `build` makes of a spec: a backbone, heads at exits, quantisers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coc_cli.nets.arithmetic import FLOAT32, Arithmetic
from coc_cli.nets.assembly import backbone_of, graph_of
from coc_cli.nets.entry import check_same, entered, raw, with_graph
from coc_cli.nets.exit_rules import leaves
from coc_cli.nets.graph import layer_name, layer_nodes
from coc_cli.nets.heads import make_head
from coc_cli.nets.layers import BATCH_NORM, ActivationQuantizer, Scaled, quantized, resized
from coc_cli.nets.names import module_path
from coc_cli.nets.quantizer_places import input_bits, insert
from coc_cli.nets.segments import Segment, segments, splice
from coc_cli.nets.spec import Spec
from coc_cli.pixels.preparation import PREPARE, InputError, Preparation

if TYPE_CHECKING:
    from torch.fx import Node


@dataclass(frozen=True)
class Prediction:
    """The result of `Network.predict`, image by image."""

    value: Tensor  # the class index [N], or the regression targets [N, T] in their own units
    exit: Tensor  # [N], the exit at which each input left; 0 is the first
    confidence: Tensor  # [N], the greatest softmax probability at that exit; NaN for regression
    probabilities: Tensor | None = None  # [N, classes], there; None for regression


class Network(nn.Module):
    """A backbone cut into segments, one head for each inner exit.

    `forward` computes the outputs of all exits; `predict` really stops at the exit where the rule fires. Inputs are
    normalised images [N, C, H, W]; `normalise` makes them of uint8 ones.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        assert spec.graph is not None
        self.spec = spec
        self.backbone = backbone_of(spec.graph)
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
        self.graph = graph_of(spec.graph)
        # with heads and quantisers in it; targets are names below this module
        for index, place in enumerate(spec.exits):
            splice(self.graph, place.source, index, self.exits[index])
        insert(self.graph, spec.edges)
        if spec.scales == "power_of_two":
            self._use_powers_of_two()
        self._cut: dict[tuple[str, ...], list[Segment]] = {}
        self.backbone_frozen = False
        self.arithmetic = FLOAT32
        shape = (-1, 1, 1)
        self.register_buffer("_mean", torch.tensor(spec.mean).view(shape), persistent=False)
        self.register_buffer("_std", torch.tensor(spec.std).view(shape), persistent=False)

    def _use_powers_of_two(self) -> None:
        """Let scales be powers of two; norms, whose gains are in the layers' weights, learn what they add, no more."""
        for module in self.modules():
            if isinstance(module, Scaled):
                module.power_of_two = True
            elif isinstance(module, BATCH_NORM) and module.weight is not None:
                module.weight.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.get_buffer("_mean").device

    @property
    def segments(self) -> list[Segment]:
        """The stretches between exits."""
        return self._segments_with(())

    def _segments_with(self, taps: tuple[str, ...]) -> list[Segment]:
        if taps not in self._cut:
            self._cut[taps] = segments(self.graph, taps=taps)
        return self._cut[taps]

    def normalise(self, images: Tensor) -> Tensor:
        """Scale images to 0..1 and normalise them by the spec's mean and standard deviation.

        Args:
            images: uint8 [N, C, H, W], on any device.

        Returns:
            float32 [N, C, H, W] on the network's device, channels last.

        Raises:
            InputError: For images that are not uint8.
        """
        if images.dtype != torch.uint8:
            raise InputError(f"takes uint8 pixels, 0 to 255, got {images.dtype}; {PREPARE}")
        mean, std = self.get_buffer("_mean"), self.get_buffer("_std")
        normalised: Tensor = (images.to(mean.device, torch.float32) / 255).sub_(mean).div_(std)
        return normalised.contiguous(memory_format=torch.channels_last)

    def prepare(self, images: Any) -> Tensor:
        """Return images as the network reads them, prepared as in training.

        Args:
            images: One or several of: a path, a PIL image, a uint8 array or tensor [C, H, W] of pixels; or a uint8
                array or tensor [N, C, H, W]. Files and PIL images are turned, recoloured and resized; arrays are not.

        Returns:
            float32 [N, C, H, W] on the network's device, channels last.

        Raises:
            InputError: For a file that is no image, or an array of another size, type or range.
        """
        if isinstance(images, Tensor):
            images = images.cpu().numpy()
        elif isinstance(images, list | tuple):
            images = [image.cpu().numpy() if isinstance(image, Tensor) else image for image in images]
        prepared = torch.from_numpy(self._preparation.prepare(images)).to(self.get_buffer("_mean").device)
        return prepared.contiguous(memory_format=torch.channels_last)

    @property
    def _preparation(self) -> Preparation:
        return Preparation(self.spec.input_shape, self.spec.mean, self.spec.std)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the outputs of all exits.

        Args:
            x: Normalised images [N, C, H, W].

        Returns:
            One tensor per exit, the final output last: logits [N, classes], or targets [N, T] in standard deviations
            (see `Scale`); inner exits with the rule `variance` append log-variances, [N, 2T].
        """
        return self.run(x)[0]

    def run(self, x: Tensor, taps: tuple[str, ...] = ()) -> tuple[list[Tensor], list[Tensor]]:
        """Compute the outputs of all exits and some tensors on the way.

        Args:
            x: Normalised images [N, C, H, W].
            taps: Names of nodes of `graph`.

        Returns:
            The outputs, as of `forward`, and the tensors of the nodes in `taps`.
        """
        live: tuple[Tensor, ...] = (x,)
        outputs = []
        with self.casting():
            for segment in self._segments_with(taps):
                output, *live_now = segment.run(self, *live)
                live = tuple(live_now)
                outputs.append(output)
        if self.arithmetic.precision == "bfloat16":
            return [output.float() for output in outputs], [tensor.float() for tensor in live]
        return outputs, list(live)

    def casting(self) -> AbstractContextManager[Any]:
        """Return the context in which parts of the network compute as its arithmetic says."""
        is_lower = self.arithmetic.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16) if is_lower else nullcontext()

    @contextmanager
    def computing(self, arithmetic: Arithmetic) -> Iterator[None]:
        """Let `run` compute as a training does; what it takes and returns is float32 all the same."""
        before, self.arithmetic = self.arithmetic, arithmetic
        try:
            for edge in self.edges.values():
                edge.compiled = arithmetic.compiled  # type: ignore[assignment]
            yield
        finally:
            self.arithmetic = before
            for edge in self.edges.values():
                edge.compiled = before.compiled  # type: ignore[assignment]

    @torch.no_grad()
    def predict(self, images: Any) -> Prediction:
        """Predict with early exits: an image that leaves at an exit is not computed any further.

        Args:
            images: Normalised images, a tensor float32 [N, C, H, W]; or whatever `prepare` takes.

        Returns:
            For each image its class and the probabilities of all, or targets in their own units, with the exit and the
            confidence there.

        Raises:
            InputError: For images of another size or type, or numbers that are not normalised pixels.
        """
        if isinstance(images, Tensor) and images.is_floating_point():
            self._preparation.check(images)
            x = images.to(self.get_buffer("_mean").device, torch.float32)
        else:
            x = self.prepare(images)
        rows = torch.arange(len(x), device=x.device)  # which image each row of the batch is
        live: tuple[Tensor, ...] = (x,)
        before: Tensor | None = None
        pieces: list[tuple[Tensor, Tensor, int]] = []
        for index, segment in enumerate(self.segments):
            output, *live_now = segment.run(self, *live)
            continues = torch.zeros(len(rows), dtype=torch.bool, device=x.device)
            if index < len(self.spec.exits):
                continues = ~leaves(output, self.spec.rule, before, index)
            pieces.append((rows[~continues], output[~continues, : len(self.spec.labels)], index))
            if not continues.any():
                break
            rows, live, before = rows[continues], tuple(tensor[continues] for tensor in live_now), output[continues]
        order = torch.cat([piece[0] for piece in pieces]).argsort()
        outputs = torch.cat([piece[1] for piece in pieces])[order]
        exits = torch.cat([torch.full_like(rows, index) for rows, _, index in pieces])[order]
        if self.spec.task == "regression":
            outputs = self.spec.scale.values(outputs) if self.spec.scale else outputs
            return Prediction(outputs, exits, torch.full((len(x),), torch.nan, device=x.device))
        probabilities = outputs.softmax(1)
        confidence, label = probabilities.max(1)
        return Prediction(label, exits, confidence, probabilities)

    def train(self, mode: bool = True) -> Network:
        """Set the mode as usual; a frozen backbone stays in eval mode, so that its norms' statistics stay.

        With scales that are powers of two all norms do.
        """
        super().train(mode)
        if self.backbone_frozen:
            self.backbone.eval()
        if self.spec.scales == "power_of_two":
            for module in self.modules():
                if isinstance(module, BATCH_NORM):
                    module.eval()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load tensors as usual, always as the present version of each class, whatever version is recorded."""
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
        """Those layers by name: that in the backbone, or exits.N.NAME in a head."""
        return {layer_name(node): self.get_submodule(str(node.target)) for node in self.layer_nodes}

    def input_bits(self) -> dict[str, int]:
        """Return the bits of the tensor that each layer reads, by layer name."""
        return {layer_name(node): input_bits(node, self, self.spec.edges) for node in self.layer_nodes}


def build(spec: Spec, *, device: str = "cpu") -> Network:
    """Build the network of a spec; see `fresh` for one with the weights that its architecture starts from.

    Args:
        spec: Everything about the network but its tensors; one without a graph is traced first.
        device: Any of torch's; on "meta" tensors have shapes only.

    Returns:
        The network in train mode, channels last, with torch's own initial weights.

    Raises:
        StageError: If a module cannot be made, or the backbone cannot be traced.
    """
    with torch.device(device):
        network = Network(with_graph(spec))
    return channels_last(network)


def channels_last(network: Network) -> Network:
    """Let the memory of all maps and kernels run over channels first, in place; return the network."""
    network._apply(lambda t: t.to(memory_format=torch.channels_last) if t.dim() == len("NCHW") else t)  # noqa: SLF001
    return network


def fresh(spec: Spec, backbone: nn.Module | None = None) -> Network:
    """Return a network with the weights that its architecture starts from, or with those of a backbone from `raw`.

    Args:
        spec: Without pruning or quantisers.
        backbone: Is made plain, in place.

    Returns:
        The network in train mode; random weights are drawn from torch's global generator.

    Raises:
        StageError: If the backbone cannot be made or traced, or is not the one of the spec's graph.
    """
    graph, tensors = entered(spec, raw(spec) if backbone is None else backbone)
    if spec.graph is not None:
        check_same(spec, spec.graph, graph)
    network = build(spec.with_changes(graph=graph))
    state = network.backbone.state_dict()
    network.backbone.load_state_dict({name: tensors.get(name, value) for name, value in state.items()})
    return network


def clone(network: Network) -> Network:
    """Copy a network.

    Args:
        network: Stays as it is.

    Returns:
        A network in train mode with the same spec, and copies of the tensors on the same device.
    """
    return with_spec(network, network.spec)


def with_spec(network: Network, spec: Spec) -> Network:
    """Copy a network under another spec.

    Args:
        network: Stays as it is.
        spec: Of the same tensor shapes: other signs of edges, say, or another exit threshold.

    Returns:
        A network of that spec in train mode, with copies of the tensors on the same device.
    """
    copy = build(spec)
    copy.load_state_dict(network.state_dict())
    return copy.to(network.get_buffer("_mean").device)


def without_quantizers(spec: Spec) -> Spec:
    """Return the spec without any quantiser."""
    return spec.with_changes(bits={}, edges={})
