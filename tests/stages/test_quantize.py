"""Per-layer patterns, floating-point exceptions, and what a wrong pattern is told."""

from __future__ import annotations

import pytest
import torch

from coc_cli.errors import StageError
from coc_cli.nets.checkpoint import encode
from coc_cli.nets.cost import cost
from coc_cli.nets.network import Network, clone
from coc_cli.nets.norm_folding import fold_norms
from coc_cli.nets.spec import Spec
from coc_cli.stages.distill import Distill, Student
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.quantize import LayerRule, Quantize
from coc_cli.stages.stage import Lab


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
