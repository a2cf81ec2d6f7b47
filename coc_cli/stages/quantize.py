"""Quantisation-aware training: fewer bits for weights and for the tensors between layers.

Learned step sizes (Esser et al. 2020) for 2 to 8 bits, sign times a learned scale for 1 bit; both start calibrated.

    - quantize: {weights: 2, activations: 3, first: 8, last: 8, epochs: 40}
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from coc_cli.errors import StageError, did_you_mean
from coc_cli.nets.spec import FLOAT_BITS, ActivationBits, Frozen, Spec, WeightBits
from coc_cli.stages.stage import Lab, TaughtStage

if TYPE_CHECKING:
    from coc_cli.nets.network import Network
    from coc_cli.nets.precision import Precision

CALIBRATION_IMAGES = 512


class LayerRule(Frozen):
    """What sets some layers apart; `bits` is both, 32 leaves the layer in floating point."""

    bits: ActivationBits | Literal[32] | None = None
    weights: WeightBits | Literal[32] | None = None
    activations: ActivationBits | Literal[32] | None = None


class Quantize(TaughtStage):
    """Round weights and activations, and train with the rounding in the forward pass."""

    name: ClassVar[str] = "quantize"

    weights: Annotated[WeightBits, Field(description="bits of the inner layers' weights")]
    activations: Annotated[ActivationBits, Field(description="bits of the tensors that inner layers read")]
    first: Annotated[ActivationBits, Field(description="bits of the first layer, weights and input")] = 8
    last: Annotated[ActivationBits, Field(description="bits of the last layer, weights and input")] = 8
    residual: Annotated[ActivationBits, Field(description="bits of the tensors that enter a sum")] = 8
    layers: Annotated[
        dict[str, LayerRule], Field(description="by pattern of layer names; the last pattern that matches decides")
    ] = {}

    def expect(self, spec: Spec) -> Spec:
        from coc_cli.nets.network import build
        from coc_cli.nets.precision import unsupported, with_precision

        network = build(spec, device="meta")
        precision = self._precision(list(network.layers))
        expected = with_precision(spec, precision)
        for name, kind in unsupported(build(spec.but(bits={}, edges={}), device="meta")).items():
            if name in expected.bits:
                raise StageError(f"layer '{name}' is a {kind}, which cannot be quantised; set it to 32 bits", "layers")
        for name, bits in spec.bits.items():
            wider = expected.bits.get(name, FLOAT_BITS)
            if wider > bits:
                raise StageError(
                    f"layer '{name}' already has {bits}-bit weights, {wider} bits cannot bring back what was rounded"
                    f" away; ask for {bits} bits or fewer",
                    "weights",
                )
        return expected

    def _precision(self, names: list[str]) -> Precision:
        from coc_cli.nets.precision import LayerBits, Precision

        inner = LayerBits(self.weights, self.activations)
        precision = Precision(LayerBits(self.first, self.first), inner, LayerBits(self.last, self.last), self.residual)
        roles = precision.by_layer(names)
        apart = {}
        for pattern, rule in self.layers.items():
            matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched:
                near = did_you_mean(pattern, names, otherwise="layers")
                raise StageError(f"pattern '{pattern}' matches no layer; {near}", "layers")
            for name in matched:
                role = roles[name]
                apart[name] = LayerBits(
                    rule.weights or rule.bits or role.weights, rule.activations or rule.bits or role.activations
                )
        return Precision(precision.first, inner, precision.last, self.residual, apart)

    def apply(self, network: Network, lab: Lab) -> Network:
        teacher = self.teaching(network, lab)
        quantized = start(network, self.expect(network.spec), lab)
        lab.train(quantized, self, self.loss(teacher))
        return quantized


def start(network: Network, spec: Spec, lab: Lab) -> Network:
    """Give a network of the quantised `spec` with the weights of `network` and scales calibrated on training images."""
    import torch

    from coc_cli.nets.layers import ActivationQuantizer, QuantizedWeight
    from coc_cli.nets.network import build

    draft = build(spec).to(lab.device)
    known = {name: value for name, value in network.state_dict().items() if not name.startswith("edges.")}
    draft.load_state_dict(known, strict=False)
    with torch.no_grad():
        for module in draft.modules():
            if isinstance(module, QuantizedWeight):
                module.calibrate()
            elif isinstance(module, ActivationQuantizer):
                module.samples = []
        draft.eval()(draft.normalise(lab.data.train.images[:CALIBRATION_IMAGES]))
        signs = {}
        for name, edge in spec.edges.items():
            quantizer = draft.edges[name]
            assert isinstance(quantizer, ActivationQuantizer)
            quantizer.calibrate()
            signs[name] = edge.model_copy(update={"signed": quantizer.signed})
    made = build(spec.but(edges=signs)).to(lab.device)
    made.load_state_dict(draft.state_dict())
    return made
