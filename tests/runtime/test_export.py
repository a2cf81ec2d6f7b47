"""`coc export` and `coc run`, from the outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from command_line import coc
from PIL import Image
from sklearn.datasets import load_digits

import coc_cli
from coc_cli.files.checksum import is_whole
from coc_cli.runtime.writers.onnx import Onnx


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run: quantised, with an exit."""
    recipe = {
        "name": "tiny",
        "device": "cpu",
        "data": {"source": "digits", "limit": 400},
        "model": {"arch": "cifar:resnet20", "depth": 8, "width": 4, "train": {"epochs": 3, "batch": 32, "lr": 0.01}},
        "chain": [
            {"quantize": {"weights": 4, "activations": 4, "epochs": 1}},
            {"early_exit": {"exits": 1, "head": "pool", "epochs": 1, "max_drop": 0.2}},
        ],
    }
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
        coc("compress", "tiny.yaml")
    return folder


@pytest.fixture
def here(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(run, tmp_path / "here", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    return Path()


def test_a_run_is_exported_compared_and_described(here: Path) -> None:
    ended = coc("export", "runs/tiny")
    folder = here / "runs/tiny/export"
    names = ["README.md", "coc_runtime.py", "manifest.json", "model-batch.onnx", "model.onnx"]
    assert sorted(path.name for path in folder.iterdir()) == names
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("exported to runs/tiny/export: model.onnx ")
    assert "12 of 12 layers run on integers" in lines or "11 of 11 layers run on integers" in lines
    manifest = json.loads((folder / "manifest.json").read_text())
    assert is_whole(manifest)
    assert manifest["agreement"]["images"] == 360
    assert manifest["agreement"]["top1"] >= 0.99
    assert manifest["agreement"]["interpreter_equal"] >= 0.99
    assert manifest["integer"]["layers"] == manifest["integer"]["of"]
    assert manifest["portable"] is True, "of few bits, so first and last have unsigned weights"
    network = coc_cli.load(Path("runs/tiny/model.safetensors"))
    assert manifest["bits"]["weights"] == network.spec.bits
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "unknown"
    assert front["tags"] == ["coc", "onnx", "early-exit"]
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert f"accuracy: {report['stages'][-1]['metric_value']:.2%}" in card
    model = onnx.load(folder / "model.onnx")
    assert [value.name for value in model.graph.output] == ["value", "exit", "confidence", "probabilities"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    coc("export", "runs/tiny")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before, "equal exports, equal bytes"


def test_run_says_what_it_sees(here: Path) -> None:
    coc("export", "runs/tiny")
    digits = load_digits()
    names = []
    for index in range(3):
        names.append(f"{index}.png")
        Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8)).save(names[-1])
    lines = coc("run", "runs/tiny/export", *names).stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == names
    assert all(", probability " in line and ", exit " in line for line in lines)
    assert ", exit " not in coc("run", "runs/tiny/stages/01-quantize/model.safetensors", names[0]).stdout
    exported = json.loads(coc("run", "runs/tiny/export", *names, "--json").stdout)
    for target in ("runs/tiny", "runs/tiny/model.safetensors"):
        checkpoint = json.loads(coc("run", target, *names, "--json").stdout)
        assert [one["label"] for one in checkpoint] == [one["label"] for one in exported]
    del here


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["runs/tiny", "--to", "onx"], "--to: no such form 'onx'; did you mean 'onnx'?"),
        (["runs/tiny", "--weights", "int3"], "--weights: no such form 'int3'; use int8, int4, int2"),
        (["runs/none"], "runs/none: no such run directory or checkpoint"),
        (["tiny.yaml"], "tiny.yaml: is a recipe; run coc compress on it first, and name its run directory"),
        (["runs"], "runs: is no run directory; name one that coc compress has finished"),
        (["runs/tiny", "--out", "tiny.yaml"], "tiny.yaml: is a file; name a folder with --out"),
        (["runs/tiny", "--out", "."], "runs: is not of an export; choose an empty folder with --out"),
        (["runs/tiny", "--data", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_request_is_one_line_before_any_work(here: Path, arguments: list[str], text: str) -> None:
    assert coc("export", *arguments, code=2).stderr.splitlines()[0].startswith(text)
    assert not (here / "runs/tiny/export").exists()


def test_files_that_answer_otherwise_are_not_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Onnx.answers

    def wrong(self: Onnx, written: object, images: object) -> object:
        found = told(self, written, images)  # type: ignore[arg-type]
        assert found is not None
        return [part[:, ::-1] for part in found]

    monkeypatch.setattr(Onnx, "answers", wrong)
    ended = coc("export", "runs/tiny", code=1)
    assert ended.stderr.startswith("runs/tiny/export: not written, as only ")
    assert ended.stderr.endswith(" of 360 validation images get the network's answer from onnx\n")
    assert not (here / "runs/tiny/export").exists()


def test_images_that_cannot_be_used_are_all_named(here: Path) -> None:
    Path("bad.png").write_text("x")
    Path("some").mkdir()
    assert coc("run", "runs/tiny", "some", code=2).stderr == "some: is a folder, not a picture\n"
    ended = coc("run", "runs/tiny", "bad.png", "none.png", code=2)
    assert ended.stderr.splitlines() == ["bad.png: not an image, or damaged", "none.png: no such file"]
    del here


def test_a_link_in_an_export_is_not_followed(here: Path) -> None:
    folder = here / "out"
    folder.mkdir()
    Path("mine.txt").write_text("mine")
    (folder / "model.onnx").symlink_to("../mine.txt")
    ended = coc("export", "runs/tiny", "--out", "out", code=2)
    assert ended.stderr == "out/model.onnx: is a link, which coc does not follow inside an export; remove it\n"
    assert Path("mine.txt").read_text() == "mine"


@pytest.mark.full
def test_what_the_document_says_of_devices_works(here: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/deploy.md").read_text().replace("runs/mine", "runs/tiny")
    Image.new("L", (9, 9), 200).save("photo.png")
    shell = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    commands = [line.split("#")[0].split() for line in shell[0].splitlines()]
    assert [command[:2] for command in commands] == [["coc", verb] for verb in ("export", "run", "bench")]
    for command in commands:
        coc(*command[1:], *(["--seconds", "1"] if command[1] == "bench" else []))
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for name in ("a.png", "b.png"):
        shutil.copy("photo.png", name)
    environment = {**os.environ, "PYTHONPATH": "runs/tiny/export"}
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("['")
    program = [sys.executable, "runs/tiny/export/coc_runtime.py", "photo.png"]
    assert json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout)["label"]
    del here
