"""coc init: what it writes can be planned, says what it guessed, and is refused in one line where something is wrong."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command_line import Run, coc
from PIL import Image

from coc_cli.chain.plan import Plan, make_plan
from coc_cli.nets.architectures import create
from coc_cli.recipe.draft import name_for
from coc_cli.recipe.reading import read

ARCH = ("--arch", "cifar:resnet20")
OUT = Path("mine.yaml")


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def picture(path: Path, size: tuple[int, int] = (16, 16), mode: str = "RGB", shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, shade if mode == "L" else (shade, 2 * shade, 100)).save(path)


def folder(name: str = "pets") -> Path:
    for index in range(60):
        picture(Path(f"{name}/{['cat', 'dog'][index % 2]}/{index:02d}.png"), shade=index)
    return Path(name)


def table(columns: tuple[str, ...], row: Callable[[int], tuple[object, ...]]) -> Path:
    for index in range(60):
        picture(Path(f"pictures/{index:02d}.png"), shade=index)
    with Path("table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows((f"pictures/{index:02d}.png", *row(index)) for index in range(60))
    return Path("table.csv")


def init(*arguments: str | Path, code: int = 0) -> str:
    done = coc("init", *arguments, "--out", OUT, code=code)
    return done.stdout if code == 0 else done.stderr


def planned() -> Plan:
    return make_plan(read(OUT))


def section(name: str) -> dict[str, object]:
    return yaml.safe_load(OUT.read_text())[name]


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps]


def test_digits_with_a_network_that_is_trained_here() -> None:
    said = init(*ARCH, "--data", "digits")
    assert said == "recipe: mine.yaml   next: coc plan mine.yaml   coc compress mine.yaml\n"
    assert names(planned()) == ["baseline", "distill", "prune", "quantize", "early_exit"]
    assert section("data") == {"source": "digits"}
    assert section("model")["train"]["epochs"] == 60, "of the few images many epochs"
    limits = section("limits")
    assert limits["max_drop"] == 0.02
    assert 50 < limits["min_bitops_ratio"] < planned().bitops_ratio(planned().steps[-1])[0]
    assert "# 1,797 images of 1x8x8, 10 classes" in OUT.read_text()


def test_a_folder_and_a_zip_of_it() -> None:
    path = folder()
    init(*ARCH, "--data", path)
    assert section("data")["source"] == "folder:pets"
    assert "# 60 images of 3x16x16, 2 classes" in OUT.read_text()
    plan = planned()
    OUT.unlink()
    with zipfile.ZipFile("pets.zip", "w") as archive:
        for image in path.rglob("*.png"):
            archive.write(image)
    init(*ARCH, "--data", "pets.zip")
    assert section("data")["source"] == "folder:pets.zip"
    assert [step.cost for step in planned().steps] == [step.cost for step in plan.steps]


def test_arrays() -> None:
    images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 1, 8, 8)
    np.savez("arrays.npz", images=images, targets=np.arange(40) % 2)
    init(*ARCH, "--data", "arrays.npz")
    assert section("data") == {"source": "arrays:arrays.npz"}
    assert "# 40 images of 1x8x8, 2 classes" in OUT.read_text()


def test_an_early_exit_may_cost_at_least_one_validation_image() -> None:
    init(*ARCH, "--data", folder())
    early_exit = yaml.safe_load(OUT.read_text())["chain"][-1]["early_exit"]
    assert early_exit["max_drop"] == pytest.approx(1 / 5, abs=1e-5), "a tenth of 48 images is 5"


def test_images_of_several_sizes_and_kinds() -> None:
    path = folder()
    picture(path / "cat/00.png", (100, 60))
    picture(path / "dog/01.png", (70, 70), "L")
    said = init(*ARCH, "--data", path)
    assert "data.size: 32 (the first images have several sizes, 16x16, 60x100, 70x70)\n" in said
    assert (section("data")["size"], section("data")["channels"]) == (32, 3)
    planned()


def test_large_images_are_made_smaller() -> None:
    for index in range(20):
        picture(Path(f"large/{index % 2}/{index}.png"), (320, 300))
    init("--arch", "torchvision:resnet18", "--data", "large")
    assert section("data")["size"] == 224
    assert names(planned()) == ["baseline", "prune", "quantize", "early_exit"], "no student of a library's network"


@pytest.mark.parametrize(
    ("columns", "row", "found"),
    [
        (("image", "label"), lambda i: ("ab"[i % 2],), {"label": "label"}),
        (("file", "kind"), lambda i: ("ab"[i % 2],), {"image": "file", "label": "kind"}),
        (("picture", "Class", "id"), lambda i: (i % 3, i), {"image": "picture", "label": "Class"}),
        (("path", "digit"), lambda i: (i % 10,), {"image": "path", "label": "digit"}),
        (("image", "angle"), lambda i: (i / 7,), {"targets": ["angle"]}),
        (
            ("image", "angle", "size", "split"),
            lambda i: (i / 7, i, ("train", "val", "test")[i % 3]),
            {"split": "split", "targets": ["angle", "size"]},
        ),
    ],
)
def test_the_columns_of_a_table_are_guessed_and_said(
    columns: tuple[str, ...], row: Callable[[int], tuple[object, ...]], found: dict[str, object]
) -> None:
    said = init(*ARCH, "--data", table(columns, row))
    assert section("data") == {"source": "csv:table.csv", **found}
    assert all(f"data.{key}: " in said for key in found)
    file = read(OUT)
    assert file.info.task == ("regression" if "targets" in found else "classification")
    assert [link.stage.name for link in file.recipe.chain] == ["distill", "prune", "quantize", "early_exit"]


def test_of_numbers_a_drop_is_a_part_of_their_spread() -> None:
    init(*ARCH, "--data", table(("image", "angle"), lambda i: (float(i),)))
    assert planned().steps[0].spec.task == "regression"
    assert section("limits")["max_drop"] == 1.7, "a tenth of 17.3, the deviation of 0, 1, .. 59"
    assert yaml.safe_load(OUT.read_text())["chain"][-1]["early_exit"]["max_drop"] == 0.87


def test_weights_from_elsewhere() -> None:
    torch.save(create("cifar:resnet20", {"depth": 20, "width": 16}, outputs=2, channels=3).state_dict(), "weights.pt")
    said = init(*ARCH, "--data", folder(), "--checkpoint", "weights.pt")
    assert section("model") == {"arch": "cifar:resnet20", "checkpoint": "weights.pt"}
    assert "# mean: [0.485, 0.456, 0.406]" in OUT.read_text()
    assert "note: the weights come from elsewhere" in said
    assert "next: coc evaluate mine.yaml   coc plan mine.yaml" in said, "what has weights can be measured first"
    assert names(planned()) == ["baseline", "distill", "prune", "quantize", "early_exit"]
    text = OUT.read_text()
    OUT.write_text(text.replace("# mean", "mean").replace("# std", "std"))
    assert planned().steps[0].spec.mean == (0.485, 0.456, 0.406), "what is a comment is right as it stands"


def test_a_checkpoint_of_coc_brings_its_architecture(finished: Run, exits_run: Path) -> None:
    init("--data", "digits", "--checkpoint", finished.directory / "model.safetensors")
    assert set(section("model")) == {"checkpoint"}
    assert names(planned()) == ["baseline", "prune", "quantize", "early_exit"], "narrower than width 2 is no student"
    OUT.unlink()
    said = init("--data", "digits", "--checkpoint", exits_run / "model.safetensors")
    assert "early_exit is left out: the checkpoint has exits already\n" in said
    assert "  # early_exit is left out: the checkpoint has exits already\n" in OUT.read_text()
    assert "early_exit" not in names(planned())


def test_a_stage_that_cannot_be_is_left_out_and_why() -> None:
    Path("nets.py").write_text(
        "from torch import nn\n\ndef net(outputs, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))\n"
    )
    said = init("--arch", "file:nets.py:net", "--data", "digits")
    assert "is left out: " in said
    left_out = {line.split()[0] for line in said.splitlines() if "is left out" in line}
    assert names(planned()) == [
        "baseline",
        *(one for one in ("prune", "quantize", "early_exit") if one not in left_out),
    ]


def test_paths_count_from_the_folder_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("nets.py").write_text(
        "from torch import nn\n\ndef net(outputs, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, outputs))\n"
    )
    Path("sub").mkdir()
    coc("init", "--arch", "file:nets.py:net", "--data", folder(), "--out", "sub/r.yaml")
    assert 'source: "folder:../' in Path("sub/r.yaml").read_text()
    assert 'arch: "file:../nets.py:net"' in Path("sub/r.yaml").read_text()
    monkeypatch.chdir("sub")
    assert make_plan(read(Path("r.yaml"))).steps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arch", "cifar:resnet65", "--data", "digits"), "--arch: no such architecture 'cifar:resnet65'; did you mean 'cifar:resnet56'?\n"),
        (("--arch", "torchvision:resnet19", "--data", "digits"), "--arch: torchvision has no model 'resnet19'; did you mean 'resnet18'?\n"),
        (("--arch", "file:no.py:net", "--data", "digits"), "--arch: no such file 'no.py'\n"),
        ((*ARCH, "--data", "digit"), "--data: no such folder, .zip, .csv, .npz or data set 'digit'; did you mean 'digits'?\n"),
        ((*ARCH, "--data", "folder:nowhere"), "--data: no such folder or .zip file 'nowhere'\n"),
        ((*ARCH, "--data", "notes.txt"), "--data: 'notes.txt' is no folder, .zip, .csv or .npz; see docs/data.md\n"),
        ((*ARCH, "--data", "digits", "--checkpoint", "no.pt"), "--checkpoint: no such file 'no.pt'\n"),
        ((*ARCH, "--data", "digits", "--checkpoint", "notes.txt"), "--checkpoint: notes.txt is not a plain state dict, but a text file; save model.state_dict() with torch.save and name that file\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    Path("notes.txt").write_text("notes")
    assert init(*arguments, code=2) == message
    assert not OUT.exists()


def test_a_checkpoint_that_does_not_fit_is_refused_as_by_plan() -> None:
    torch.save(create("cifar:resnet20", {"depth": 20, "width": 16}, outputs=7, channels=1).state_dict(), "weights.pt")
    said = init(*ARCH, "--data", "digits", "--checkpoint", "weights.pt", code=2)
    assert said == "--checkpoint: weights.pt does not fit cifar:resnet20: the checkpoint has 7 classes, the data 10\n"


def test_an_architecture_is_needed() -> None:
    said = init("--data", "digits", code=2)
    assert said.startswith("--arch: is needed, unless coc wrote the checkpoint; known: cifar:")
    assert said.endswith("file:PATH.py:FUNCTION, timm:NAME, torchvision:NAME\n"), (
        "what only Python can name is left out"
    )


def test_nothing_is_written_over() -> None:
    OUT.write_text("mine")
    assert init(*ARCH, "--data", "digits", code=2) == "mine.yaml: is there already; name another with --out\n"
    assert OUT.read_text() == "mine"


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ("word\nx\n", "'t.csv' cannot be used: none of its columns (word) names image files"),
        ("image,a,b\na.png,x,y\nb.png,x,y\n", "'t.csv': which of its columns is the class, or the numbers, cannot be told: a, b; call the class 'label', or keep only the numbers"),
        ("", "'t.csv' cannot be used: it has no rows"),
    ],
)  # fmt: skip
def test_a_table_that_tells_nothing(rows: str, what: str) -> None:
    Path("t.csv").write_text(rows)
    assert init(*ARCH, "--data", "t.csv", code=2) == f"--data: {what}\n"


def test_names_come_from_the_data() -> None:
    named = {
        "digits": "digits",
        "/a/my pets.zip": "my-pets",
        "csv:t/x.csv": "x",
        "torchvision:CIFAR10": "CIFAR10",
        "..": "mine",
    }
    assert {text: name_for(text) for text in named} == named
    coc("init", *ARCH, "--data", "digits")
    assert Path("digits.yaml").is_file()
