"""Regression weights from elsewhere, and checkpoints of coc's own for other classes or targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.errors import Fault, UserError
from coc_cli.nets.entry import raw
from coc_cli.nets.foreign_weights import load_foreign
from coc_cli.nets.network import build
from coc_cli.nets.spec import Scale, Spec
from coc_cli.recipe.reading import read

NETS = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs, bias=True, order=None):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(4, outputs, bias=bias)
        self.order = order

    def forward(self, x):
        y = self.last(self.body(x))
        return y if self.order is None else y[:, self.order]

def plain(outputs):
    return Net(outputs)

def no_bias(outputs):
    return Net(outputs, bias=False)

def turned(outputs):
    return Net(outputs, order=[1, 0])
"""


def at(loc: tuple[str | int, ...], what: str) -> Fault:
    return Fault(".".join(map(str, loc)), what)


def spec_of(name: str) -> Spec:
    Path("nets.py").write_text(NETS)
    return Spec(
        arch=f"file:nets.py:{name}",
        input_shape=(1, 8, 8),
        mean=(0.5,),
        std=(0.25,),
        task="regression",
        labels=("year", "size"),
        scale=Scale(mean=(2000.0, -1.0), std=(3.0, 0.5)),
    )


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_outputs_become_deviations_and_answers_stay(images: torch.Tensor) -> None:
    spec = spec_of("plain")
    theirs = raw(spec).eval()
    theirs.last.bias.data = torch.tensor([1999.0, -0.5])
    torch.save(theirs.state_dict(), "weights.pt")
    made = load_foreign(Path("weights.pt"), {}, spec, at).eval()
    with torch.no_grad():
        expected, given = theirs(images), made(images)[-1]
    assert made.spec.scale == spec.scale, "fresh students and heads learn the same units"
    assert given.abs().max() < 5, "standard deviations"
    torch.testing.assert_close(made.predict(images).value, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", ["no_bias", "turned"])
def test_outputs_that_cannot_be_brought_to_deviations_are_refused(name: str) -> None:
    spec = spec_of(name)
    torch.save(raw(spec).state_dict(), "weights.pt")
    with pytest.raises(UserError, match=r"^checkpoint: its outputs cannot be brought to standard deviations: the last"):
        load_foreign(Path("weights.pt"), {}, spec, at)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"linear.weight": torch.full((3, 16), torch.nan)}, "is not finite throughout"),
        ({1: torch.zeros(3)}, "its '1' is no tensor"),
        ({"a": torch.zeros(3, dtype=torch.complex64)}, "its 'a' is no tensor"),
        ({"model": {}, "state_dict": {}}, "its 'model' is no tensor"),
    ],
)
def test_odd_files_are_said_to_be(content: dict, message: str, spec: Spec) -> None:
    state = build(spec).backbone.state_dict() | content if "linear.weight" in content else content
    torch.save(state, "weights.pt")
    with pytest.raises(UserError, match=message):
        load_foreign(Path("weights.pt"), {}, spec, at)


def test_a_file_cut_short_is_no_traceback(spec: Spec) -> None:
    torch.save(build(spec).backbone.state_dict(), "whole.pt")
    whole = Path("whole.pt").read_bytes()
    for part in (0, 10, len(whole) // 2, len(whole) - 10):
        Path("weights.pt").write_bytes(whole[:part])
        with pytest.raises(UserError, match="is not a plain state dict"):
            load_foreign(Path("weights.pt"), {}, spec, at)


def test_a_checkpoint_for_other_classes_is_refused(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    from coc_cli.nets.checkpoint import save

    labels = (*map(str, range(8)), "9", "8")
    spec = Spec(
        arch="cifar:resnet20",
        args={"depth": 8, "width": 4},
        input_shape=(1, 8, 8),
        mean=(0.5,),
        std=(0.25,),
        labels=labels,
    )
    save(build(spec), (), tmp_path / "made.safetensors")
    path = recipe(
        "name: r\ndata: {source: digits}\nmodel: {checkpoint: made.safetensors}\n"
        "chain:\n  - quantize: {weights: 8, activations: 8, epochs: 0}\n"
    )
    with pytest.raises(UserError) as caught:
        make_plan(read(path))
    assert str(caught.value) == (
        "recipe.yaml:2: data: number 8 of its classes or targets is '8', of the checkpoint's '9';"
        " they must be the same, in the same order"
    )


def test_the_plan_warns_of_weights_from_elsewhere(recipe: Callable[[str], Path], tmp_path: Path) -> None:
    spec = Spec(
        arch="cifar:resnet20",
        args={"depth": 8, "width": 4},
        input_shape=(1, 8, 8),
        mean=(0.5,),
        std=(0.25,),
        labels=tuple("0123456789"),
    )
    torch.save(build(spec).backbone.state_dict(), tmp_path / "w.pt")
    text = "name: r\ndevice: cpu\ndata: {source: digits}\nmodel: {arch: 'cifar:resnet20', depth: 8, width: 4, checkpoint: w.pt}\n"
    path = recipe(text + "chain:\n  - quantize: {weights: 8, activations: 8, epochs: 0}\n")
    notes = make_plan(read(path)).steps[0].notes
    assert [note.partition(";")[0] for note in notes] == [
        "images are normalised by the mean and deviation of the training images",
        "the weights come from elsewhere",
    ]
    assert compress(path).report["stages"][0]["metric_value"] < 0.5
