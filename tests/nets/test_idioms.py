"""Networks as people write them: each runs through a chain, or ends in one line that says where and what instead."""

from __future__ import annotations

import re
from pathlib import Path

import idioms
import pytest
from command_line import coc
from idioms import FOLDER, NAMES, arch_of, golden, inside, outcome
from sampling import tiered

QUICK = (
    "convolution_subclass_forward",
    "embedding",
    "forward_hook_changes",
    "multihead_attention",
    "squeeze_pooled",
    "tied_weights",
    "training_flag_dropout",
    "transposed_convolution",
    "view_len",
    "weight_norm_hook",
    "weight_norm_parametrized",
)
REFUSED = tuple(name for name, found in golden().items() if found["trace"] != idioms.DONE)
RECIPE = """\
name: idiom
device: cpu
data: {{source: "folder:none", size: 16, channels: 3, classes: [a, b, c, d]}}
model: {{arch: "{arch}", train: {{epochs: 1}}}}
chain:
  - quantize: {{weights: 8, activations: 8, epochs: 1}}
"""


@pytest.mark.parametrize("name", tiered(NAMES, quick=QUICK, full=len(NAMES)))
def test_an_idiom_runs_or_says_why_not(name: str) -> None:
    assert outcome(name) == golden()[name]


@pytest.mark.parametrize("name", tiered(REFUSED, quick=("einsum", "returns_dict"), full=len(REFUSED)))
def test_the_plan_of_what_is_refused_ends_in_one_line(name: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(arch=arch_of(name)))
    with inside(FOLDER):
        said = coc("plan", recipe, code=2)
    assert said.stderr.splitlines() == [f"{recipe}:4: model.arch: {golden()[name]['trace']}"]


def test_each_idiom_has_its_line() -> None:
    assert tuple(golden()) == NAMES
    for name, found in golden().items():
        if found["trace"] != idioms.DONE:
            assert re.match(rf"{name}\.py:\d+: [^\n]+$", found["trace"]), name
            assert tuple(found) == ("trace",)
        assert all("\n" not in said for said in found.values()), name


def test_where_a_layer_cannot_be_rounded_the_line_to_write_is_said() -> None:
    said = golden()["transposed_convolution"]["quantize"]
    assert said == (
        "layer '2' is a ConvTranspose2d, which cannot be quantised; leave it in floating point with"
        " layers: {'2': {bits: 32}}"
    )
