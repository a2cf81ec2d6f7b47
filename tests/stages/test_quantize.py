"""Per-layer patterns, floating-point exceptions, and what a wrong pattern is told."""

from __future__ import annotations

import pytest

from coc_cli.errors import StageError
from coc_cli.nets.cost import cost
from coc_cli.nets.spec import Spec
from coc_cli.stages.quantize import LayerRule, Quantize


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
