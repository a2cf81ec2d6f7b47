"""Files of weights as people have them: wrapped in entries, of another kind, or damaged."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import coc
from safetensors.torch import save_file

from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.errors import Fault, UserError
from coc_cli.nets.checkpoint import load, save
from coc_cli.nets.foreign_files import kind_fault, tensors_in
from coc_cli.nets.network import build
from coc_cli.nets.spec import Spec
from coc_cli.recipe.reading import read

ADVICE = "save model.state_dict() with torch.save and name that file"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"
RECIPE = """\
name: r
device: cpu
data: {source: digits}
model:
  arch: cifar:resnet20
  depth: 8
  width: 4
  checkpoint: w.pt
chain:
  - quantize: {weights: 8, activations: 8, epochs: 0}
"""


def at(loc: tuple[str | int, ...], what: str) -> Fault:
    return Fault(".".join(map(str, loc)), what)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"a.weight": torch.full((2,), value)}


def read_from(content: Any, entry: str | None = None) -> dict[str, torch.Tensor]:
    torch.save(content, "w.pt")
    return tensors_in(Path("w.pt"), entry, at, "cpu")


@pytest.mark.parametrize(
    "content",
    [
        weights(),
        {"checkpoint": {"model": weights()}, "epoch": 3},
        {"state": {"net": weights()}},
        {"checkpoint": {"state": {"model_state": weights()}}},
        {"state_dict": weights(), "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": []}},
        {"model": weights(), "best": torch.tensor(0.9)},
        {"ema": {"module": weights()}},
        {"params": weights(), "ema": None, "net": 3},
    ],
)
def test_the_entry_that_holds_weights_is_found(content: Any) -> None:
    assert list(read_from(content)) == ["a.weight"]


@pytest.mark.parametrize(
    ("content", "entry", "expected"),
    [
        ({"model": weights(1), "ema": weights(2)}, "ema", 2),
        ({"model": weights(1), "ema": weights(2)}, "model", 1),
        ({"checkpoint": {"model": weights(1), "ema": {"module": weights(2)}}}, "checkpoint.ema.module", 2),
        ({"checkpoint": {"model": weights(1), "ema": {"module": weights(2)}}}, "checkpoint.ema", 2),
        ({"a.b": weights(1), "a": {"b": weights(2)}}, "a.b", 1),
        ({"generator": weights(1), "critic": weights(2)}, "critic", 2),
    ],
)
def test_an_entry_is_chosen(content: Any, entry: str, expected: float) -> None:
    assert read_from(content, entry)["a.weight"].tolist() == [expected] * 2


@pytest.mark.parametrize(
    ("content", "entry", "message"),
    [
        (
            {"model": weights(), "ema": weights()},
            None,
            "checkpoint: w.pt holds weights under 'model' and 'ema'; choose one: checkpoint: {path: w.pt, entry: ema}",
        ),
        (
            {"checkpoint": {"net": weights(), "ema": weights(), "model": weights()}},
            "checkpoint",
            "checkpoint: w.pt holds weights under 'model', 'net' and 'ema'; choose one: checkpoint: {path: w.pt, entry:"
            " checkpoint.ema}",
        ),
        (
            {"generator": weights(), "critic": weights()},
            None,
            "checkpoint: w.pt is not a plain state dict; its weights may be under 'generator' and 'critic': write"
            " checkpoint: {path: w.pt, entry: generator}",
        ),
        (
            {"model": weights(), "ema": weights()},
            "emma",
            "checkpoint.entry: w.pt has no entry 'emma'; did you mean 'ema'?",
        ),
        (
            {"model": weights()},
            "model.b",
            "checkpoint.entry: w.pt has no entry 'model.b'; did you mean 'model'?",
        ),
        ({"model": {"a": 1}}, None, f"checkpoint: w.pt is not a plain state dict, its 'model' is no tensor; {ADVICE}"),
        ([weights()], None, f"checkpoint: w.pt is not a plain state dict; {ADVICE}"),
    ],
)
def test_what_is_not_clear_says_what_to_write(content: Any, entry: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_from(content, entry)
    assert str(caught.value) == message


def test_a_safetensors_file_has_no_entries() -> None:
    save_file(weights(), "w.safetensors")
    with pytest.raises(UserError, match=r"^checkpoint.entry: a .safetensors file has no entries; leave it out$"):
        tensors_in(Path("w.safetensors"), "ema", at, "meta")


@pytest.mark.full
def test_a_recipe_chooses_an_entry(spec: Spec) -> None:
    both = [build(spec.with_changes(labels=tuple("0123456789"))).backbone.state_dict() for _ in range(2)]
    torch.save({"model": both[0], "ema": {"module": both[1]}}, "w.pt")
    text = RECIPE.replace("checkpoint: w.pt", "checkpoint: {path: w.pt, entry: ENTRY}")
    for entry, expected in (("model", both[0]), ("ema", both[1])):  # the second is not the first from the cache
        Path("r.yaml").write_text(text.replace("ENTRY", entry))
        compress(Path("r.yaml"))
        made = load(Path("runs/r/stages/00-baseline/model.safetensors"))
        assert torch.equal(made.backbone.conv1.weight, expected["conv1.weight"])
    Path("r.yaml").write_text(text.replace("ENTRY", "best"))
    with pytest.raises(UserError, match=r"^r.yaml:8: model.checkpoint.entry: w.pt has no entry 'best'; known: ema, mo"):
        make_plan(read(Path("r.yaml")))


def test_a_checkpoint_of_cocs_own_has_no_entries(spec: Spec) -> None:
    save(build(spec.with_changes(labels=tuple("0123456789"))), (), Path("own.safetensors"))
    text = RECIPE.replace("checkpoint: w.pt", "checkpoint: {path: own.safetensors, entry: ema}")
    Path("r.yaml").write_text(text)
    with pytest.raises(UserError, match=r"^r.yaml:8: model.checkpoint.entry: coc made the checkpoint; leave it out$"):
        make_plan(read(Path("r.yaml")))


# Kinds of files


class Net(torch.nn.Linear):
    """A module of the user's."""


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "x")


def torchscript(path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


def cut(path: Path) -> None:
    torch.save(weights(), path)
    path.write_bytes(path.read_bytes()[:-300])


def old_and_cut(path: Path) -> None:
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-3])


NO_STATE = "is not a plain state dict"
KINDS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a text": (lambda path: path.write_text("conv1: größer\n" * 99), "w.pt", f"{NO_STATE}, but a text file; {ADVICE}"),
    "nothing": (lambda path: path.touch(), "w.pt", f"{NO_STATE}: it is empty; {ADVICE}"),
    "a pointer": (lambda path: path.write_text(LFS), "w.pt", "is a Git LFS pointer; run git lfs pull"),
    "another pointer": (lambda path: path.write_text(LFS), "w.safetensors", "is a Git LFS pointer; run git lfs pull"),
    "a page": (
        lambda path: path.write_text("\n<!DOCTYPE html>\n<html>"),
        "w.pth",
        "is a web page, not weights; download the file itself",
    ),
    "a zip": (zipped, "w.pt", f"is a .zip, but not of torch.save; {ADVICE}"),
    "a file cut short": (cut, "w.pth", f"{NO_STATE}: it is cut short or damaged; copy it again"),
    "an old file cut short": (old_and_cut, "w.pth", f"{NO_STATE}; {ADVICE}"),
    "noise": (lambda path: path.write_bytes(bytes(range(256))), "w.pt", f"{NO_STATE}; {ADVICE}"),
    "TorchScript": (torchscript, "w.pt", f"is a TorchScript archive, which is code; {ADVICE}"),
    "ONNX": (
        lambda path: path.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x05"),
        "w.pt",
        f"is an ONNX file, not one of PyTorch; {ADVICE}",
    ),
    "ONNX by name": (
        lambda path: path.write_bytes(b"\xff"),
        "w.onnx",
        f"is an ONNX file, not one of PyTorch; {ADVICE}",
    ),
    "a module": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "w.pt",
        f"{NO_STATE}; {ADVICE}; this one holds torch.nn.modules.linear.Linear, which is code: a whole model, or something"
        " saved beside it",
    ),
    "safetensors by another name": (
        lambda path: save_file(weights(), path),
        "w.pt",
        "is a safetensors file; give it the ending .safetensors",
    ),
    "torch.save by another name": (
        lambda path: torch.save(weights(), path),
        "w.safetensors",
        "is a file of torch.save, not a safetensors file; give it the ending .pt",
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("case", KINDS)
def test_files_of_other_kinds_end_plan_and_run_with_2_and_one_line(case: str) -> None:
    make, name, message = KINDS[case]
    make(Path(name))
    Path("r.yaml").write_text(RECIPE.replace("w.pt", name))
    for verb in ("plan", "compress"):
        assert coc(verb, "r.yaml", code=2).stderr == f"r.yaml:8: model.checkpoint: {name} {message}\n"
    assert not Path("runs").exists()


def test_a_file_that_cannot_be_read_says_why() -> None:
    assert kind_fault(Path("none.pt")) == "none.pt cannot be read: No such file or directory"
    save_file(weights(), "w.safetensors")
    torch.save(weights(), "w.pt")
    torch.save(weights(), "old.pt", _use_new_zipfile_serialization=False)
    assert [kind_fault(Path(name)) for name in ("w.safetensors", "w.pt", "old.pt")] == [None] * 3
