"""Quantisation-aware training: fewer bits for weights and for the tensors between layers.

Learned step sizes (Esser et al. 2020) for 2 to 8 bits, sign times a learned scale for 1 bit; both start calibrated.

    - quantize: {weights: 2, activations: 3, first: 8, last: 8, epochs: 40}
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, Tag

from coc_cli.errors import StageError, did_you_mean
from coc_cli.frozen import INTEGER, NUMBER, Frozen, by_function, kind_of
from coc_cli.nets.spec import FLOAT_BITS, ActivationBits, Scales, Spec, WeightBits
from coc_cli.stages.stage import ChainPosition, Lab
from coc_cli.stages.taught_stage import TaughtStage

if TYPE_CHECKING:
    from coc_cli.nets.network import Network
    from coc_cli.nets.precision import Precision

MOST_BITS = 8  # of weights and activations, where they are not floating point
SHOWN = 3  # layers that stay in floating point, by name
Float: TypeAlias = Annotated[Literal[32], Tag(NUMBER)]  # distinguished from bits by its value
_BITS_OR_FLOAT = by_function("a whole number", lambda value: NUMBER if value == FLOAT_BITS else kind_of(value))


class LayerRule(Frozen):
    """What sets some layers apart; `bits` is both, 32 leaves the layer in floating point."""

    bits: Annotated[
        Annotated[Annotated[ActivationBits, Tag(INTEGER)] | Float, _BITS_OR_FLOAT] | None,
        Field(description="of weights and input; 32: floating point"),
    ] = None
    weights: Annotated[
        Annotated[Annotated[WeightBits, Tag(INTEGER)] | Float, _BITS_OR_FLOAT] | None,
        Field(description="of the weights alone"),
    ] = None
    activations: Annotated[
        Annotated[Annotated[ActivationBits, Tag(INTEGER)] | Float, _BITS_OR_FLOAT] | None,
        Field(description="of the input alone"),
    ] = None


class Quantize(TaughtStage):
    """Round weights and activations, and train with the rounding in the forward pass."""

    name: ClassVar[str] = "quantize"
    works_on: ClassVar[str] = "bits below the neuron"
    advised_place: ClassVar[int | None] = 3
    later: ClassVar[frozenset[str]] = TaughtStage.later | {"through", "weight_norm"}

    weights: Annotated[WeightBits, Field(description="bits of the inner layers' weights")]
    activations: Annotated[ActivationBits, Field(description="bits of the tensors that inner layers read")]
    first: Annotated[ActivationBits, Field(description="bits of the first layer, weights and input")] = 8
    last: Annotated[ActivationBits, Field(description="bits of the last layer, weights and input")] = 8
    residual: Annotated[ActivationBits, Field(description="bits of the tensors that enter a sum")] = 8
    scales: Annotated[
        Scales,
        Field(description="power_of_two: every runtime gives the same bits and needs shifts only, at some accuracy"),
    ] = "learned"
    layers: Annotated[
        dict[str, LayerRule], Field(description="by pattern of layer names; the last pattern that matches decides")
    ] = {}

    through: Annotated[
        tuple[tuple[WeightBits, ActivationBits], ...],
        Field(
            description="bits of the inner layers' weights and activations through which the training goes first, as"
            " [[4, 4], [3, 3]]; these and the last bits share the epochs equally"
        ),
    ] = ()
    weight_norm: Annotated[
        bool,
        Field(
            description="keep the weights of each layer at mean 0 and their first deviation while they are trained"
            " (Li et al. 2020)"
        ),
    ] = False

    def faults(self, position: ChainPosition) -> Iterator[tuple[tuple[str | int, ...], str]]:
        yield from super().faults(position)
        if self.weight_norm and not self.epochs:
            yield ("weight_norm",), "is of training, and there are 0 epochs; leave it out"
        if self.epochs < len(self._phases()) and self.through:
            yield ("through",), f"asks for {len(self._phases())} phases in {self.epochs} epochs; give more epochs"
        for number, (first, second) in enumerate(pairwise(self._phases())):
            if first == second:
                yield ("through", number), f"has {first[0]} and {first[1]} bits twice, one after the other"
            elif any(more < fewer for more, fewer in zip(first, second, strict=True)):
                what = f"goes from {first[0]} and {first[1]} bits up to {second[0]} and {second[1]}; bits can only fall"
                yield ("through", number), what

    def at_strength(self, step: int, position: ChainPosition) -> Quantize | None:  # noqa: ARG002
        """Return it with a bit less for each step, of weights or activations, whichever have more."""
        weights, activations = self.weights, self.activations
        for _ in range(abs(step)):
            if step > 0:
                weights, activations = (
                    (weights - 1, activations) if weights > activations else (weights, activations - 1)
                )
            else:
                weights, activations = (
                    (weights, activations + 1) if weights > activations else (weights + 1, activations)
                )
        is_possible = 1 <= weights <= MOST_BITS and 2 <= activations <= MOST_BITS  # noqa: PLR2004
        return self._with_bits(weights, activations, through=self.through) if is_possible else None

    def _phases(self) -> list[tuple[int, int]]:
        """Return the bits of weights and activations of each phase of the training, the last ones last."""
        return [*self.through, (self.weights, self.activations)]

    def expect(self, spec: Spec) -> Spec:
        for phase in self.through:
            self._check_phase(*phase, spec)
        return self._expected(spec)

    def _check_phase(self, weights: int, activations: int, spec: Spec) -> None:
        try:
            self._with_bits(weights, activations).expect(spec)
        except StageError as error:
            raise StageError(f"{weights} and {activations} bits: {error.what}", "through") from error

    def _with_bits(self, weights: int, activations: int, **changed: Any) -> Quantize:
        return self.model_copy(update={"weights": weights, "activations": activations, "through": ()} | changed)

    def _expected(self, spec: Spec) -> Spec:
        from coc_cli.nets.network import build
        from coc_cli.nets.precision import unsupported, with_precision

        network = build(spec, device="meta")
        precision = self._precision(list(network.layers))
        expected = with_precision(spec, precision).with_changes(scales=self.scales)
        kinds = unsupported(build(spec.with_changes(bits={}, edges={}), device="meta"))
        if kept := [name for name in kinds if name in expected.bits]:
            rules = ", ".join(f"'{name}': {{bits: {FLOAT_BITS}}}" for name in kept)
            what = f"layer '{kept[0]}' is a {kinds[kept[0]]}, which cannot be quantised"
            raise StageError(f"{what}; leave it in floating point with layers: {{{rules}}}", "layers")
        for name, bits in spec.bits.items():
            wider = expected.bits.get(name, FLOAT_BITS)
            if wider > bits:
                raise StageError(
                    f"layer '{name}' already has {bits}-bit weights, {wider} bits cannot bring back what was rounded"
                    f" away; ask for {bits} bits or fewer",
                    "weights",
                )
        return expected

    def notes(self, spec: Spec) -> list[str]:
        from coc_cli.nets.cost import cost

        found = cost(self.expect(spec))
        kept = [layer.name for layer in found.layers if max(layer.weight_bits, layer.activation_bits) == FLOAT_BITS]
        if not kept:
            return []
        first = ", ".join(kept[:SHOWN]) + (f" and {len(kept) - SHOWN} more" if len(kept) > SHOWN else "")
        verb = "stays" if len(kept) == 1 else "stay"
        return [f"{found.quantized_share:.1%} of the MACs run on rounded numbers; {first} {verb} in floating point"]

    def _precision(self, names: list[str]) -> Precision:
        from coc_cli.nets.precision import LayerBits, Precision

        inner = LayerBits(self.weights, self.activations)
        precision = Precision(LayerBits(self.first, self.first), inner, LayerBits(self.last, self.last), self.residual)
        roles = precision.by_layer(names)
        overrides = {}
        for pattern, rule in self.layers.items():
            matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched:
                near = did_you_mean(pattern, names, otherwise="layers")
                raise StageError(f"pattern '{pattern}' matches no layer; {near}", "layers")
            for name in matched:
                role = roles[name]
                overrides[name] = LayerBits(
                    rule.weights or rule.bits or role.weights, rule.activations or rule.bits or role.activations
                )
        return Precision(precision.first, inner, precision.last, self.residual, overrides)

    def change(self, network: Network, lab: Lab) -> Network:
        from coc_cli.nets.network import clone
        from coc_cli.nets.norm_folding import fold_norms

        teacher, quantized = self.teacher_network(network, lab), network
        if self.scales == "power_of_two":
            quantized = clone(network)
            fold_norms(quantized)
        phases = self._phases()
        for number, (weights, activations) in enumerate(phases):
            part = self._with_bits(weights, activations, epochs=self.epochs_of(number, len(phases)))
            phase = f"bits-{weights}-{activations}" if number else "training"
            quantized = part.trained_from(quantized, teacher, lab, phase)
        return quantized

    def trained_from(self, incoming: Network, teacher: Network | None, lab: Lab, phase: str) -> Network:
        """Return a network with quantisers of the bits of one phase, trained."""
        from coc_cli.nets.layers import normalised_weights
        from coc_cli.nets.quantizer_initialization import initialize_quantizers

        quantized = initialize_quantizers(incoming, self.expect(incoming.spec), lab.data.train, lab.device)
        if self.epochs == 0:
            from coc_cli.nets.post_training import calibrate

            calibrate(quantized, incoming, lab.data.train)
        with normalised_weights(quantized) if self.weight_norm else nullcontext():
            lab.train(quantized, self, self.loss(teacher), phase=phase, teacher=teacher, views=self.teacher_views)
        return quantized
