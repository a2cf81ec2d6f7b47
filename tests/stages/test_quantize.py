"""Per-layer patterns, floating-point exceptions, and what a wrong pattern is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from coc_cli.errors import StageError
from coc_cli.nets.checkpoint import encode
from coc_cli.nets.cost import cost
from coc_cli.nets.layers import normalised_weights
from coc_cli.nets.network import Network, clone
from coc_cli.nets.norm_folding import fold_norms
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.nets.spec import Spec
from coc_cli.stages.distill import Distill, Student
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.quantize import LayerRule, Quantize
from coc_cli.stages.stage import ChainPosition, Lab


def test_patterns_set_layers_apart_and_the_last_one_decides(spec: Spec) -> None:
    layers = {
        "stages.1.*": LayerRule(bits=8),
        "stages.1.0.shortcut.0": LayerRule(weights=2),
        "linear": LayerRule(bits=32),
        "stages.2.0.conv2": LayerRule(activations=32),
    }
    found = cost(Quantize(weights=4, activations=3, layers=layers).expect(spec)).layers
    bits = {layer.name: (layer.weight_bits, layer.activation_bits) for layer in found}
    assert bits == {
        "conv1": (8, 8),
        "stages.0.0.conv1": (4, 3),
        "stages.0.0.conv2": (4, 3),
        "stages.1.0.conv1": (8, 8),
        "stages.1.0.conv2": (8, 8),
        "stages.1.0.shortcut.0": (2, 3),
        "stages.2.0.conv1": (4, 3),
        "stages.2.0.conv2": (4, 32),
        "stages.2.0.shortcut.0": (4, 3),
        "linear": (32, 32),
    }


def test_a_pattern_without_a_layer_is_refused(spec: Spec) -> None:
    stage = Quantize(weights=4, activations=3, layers={"stages.0.0.conf1": LayerRule(bits=8)})
    with pytest.raises(StageError) as caught:
        stage.expect(spec)
    assert caught.value.what == "pattern 'stages.0.0.conf1' matches no layer; did you mean 'stages.0.0.conv1'?"
    assert caught.value.key == "layers"


def test_norms_that_are_folded_only_add(network: Network, images: torch.Tensor) -> None:
    folded = clone(network).eval()
    fold_norms(folded)
    with torch.no_grad():
        torch.testing.assert_close(folded(images)[-1], network(images)[-1], rtol=1e-4, atol=1e-5)
    norms = [module for module in folded.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 9
    for norm in norms:
        assert norm.weight.unique().tolist() == [1]
        assert (norm.running_var + norm.eps).rsqrt().unique().tolist() == [1]


def test_scales_stay_powers_of_two_in_later_stages(lab: Lab) -> None:
    network = Quantize(weights=4, activations=4, scales="power_of_two", epochs=1).apply(lab.baseline, lab)
    exits = EarlyExit(exits=1, head="pool", backbone="trained", max_drop=0.5, epochs=1).apply(network, lab)
    again = Quantize(weights=2, activations=3, scales="power_of_two", epochs=1).apply(exits, lab)
    for made in (network, exits, again):
        tensors = encode(made)
        scales = torch.cat([value.flatten() for name, value in tensors.items() if name.endswith("_scale")])
        assert torch.equal(scales.log2().round(), scales.log2())
        assert torch.equal(tensors["edges"].log2().round(), tensors["edges"].log2())
        norms = [module for module in made.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert {value for norm in norms for value in norm.weight.tolist()} == {1.0}
    learned = Quantize(weights=2, activations=2, epochs=1).apply(again, lab)
    assert learned.spec.scales == "learned"
    student = Distill(student=Student(width=2), epochs=1)
    assert "the student's scales are learned, and no powers of two" in student.notes(network.spec)
    assert student.expect(network.spec).scales == "learned"


def test_bits_fall_in_steps_and_go_on_from_what_was_learned(network: Network, lab: Lab) -> None:
    epochs: list[tuple[int, int]] = []
    lab = replace(lab, log=lambda epoch: epochs.append((epoch.epoch, epoch.epochs)))
    stage = Quantize(weights=2, activations=3, through=((4, 4), (3, 3)), epochs=7, batch=32, lr=1e-2)
    made = stage.apply(network, lab)
    assert epochs == [(1, 2), (2, 2), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3)]
    plain = stage.model_copy(update={"through": ()}).expect(network.spec)
    assert (made.spec.bits, set(made.spec.edges)) == (plain.bits, set(plain.edges))
    for layer, name in ((made.layer(name), name) for name in made.spec.bits):
        assert not torch.equal(layer.weight, network.layer(name).weight), "trained"


def test_through_that_cannot_be_is_refused() -> None:
    position = ChainPosition(0, None, {}, None)
    rising = Quantize(weights=2, activations=3, through=((4, 4), (3, 2)), epochs=9)
    assert list(rising.faults(position)) == [
        (("through", 1), "goes from 3 and 2 bits up to 2 and 3; bits can only fall")
    ]
    twice = Quantize(weights=2, activations=3, through=((4, 4), (4, 4)), epochs=9)
    assert list(twice.faults(position)) == [(("through", 0), "has 4 and 4 bits twice, one after the other")]
    untrained = Quantize(weights=2, activations=3, weight_norm=True, epochs=0)
    assert list(untrained.faults(position)) == [
        (("weight_norm",), "is of training, and there are 0 epochs; leave it out")
    ]
    short = Quantize(weights=2, activations=3, through=((4, 4),), epochs=1)
    assert list(short.faults(position)) == [(("through",), "asks for 2 phases in 1 epochs; give more epochs")]


def test_normalised_weights_start_where_they_were_and_are_plain_in_the_end(network: Network, lab: Lab) -> None:
    stage = Quantize(weights=8, activations=8, weight_norm=True, epochs=2, batch=32, lr=1e-2)
    bare = initialize_quantizers(network, stage.expect(network.spec), lab.data.train, "cpu")
    weight = bare.layer("stages.0.0.conv1").weight.detach().clone()
    with normalised_weights(bare):
        latent = bare.layer("stages.0.0.conv1").latent_weight()  # type: ignore[operator]
        torch.testing.assert_close(latent, weight - weight.mean(), rtol=1e-4, atol=1e-6)
        deviation = bare.layer("stages.0.0.conv1").deviation
    made = stage.apply(network, lab)
    for name in made.spec.bits:
        layer = made.layer(name)
        assert layer.deviation is None
        assert abs(float(layer.weight.mean())) < 1e-5
    assert float(made.layer("stages.0.0.conv1").weight.std()) == pytest.approx(float(deviation), rel=1e-4)  # type: ignore[arg-type]


def test_phases_wider_than_what_came_in_are_refused_by_the_plan(network: Network, lab: Lab) -> None:
    narrow = Quantize(weights=4, activations=4, epochs=0).apply(network, lab).spec
    with pytest.raises(StageError, match=r"8 and 8 bits: layer '.*' already has 4-bit weights") as caught:
        Quantize(weights=2, activations=2, through=((8, 8),), epochs=9).expect(narrow)
    assert caught.value.key == "through"
