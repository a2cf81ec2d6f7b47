"""What an export carries: it prepares images as training did, needs no coc, and says in one line what is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import coc
from exportable import float_network, images_of, quantised
from PIL import Image

from coc_cli.files.checksum import sealed
from coc_cli.nets.checkpoint import save
from coc_cli.pixels.decoding import pixels_of
from coc_cli.pixels.preparation import InputError
from coc_cli.runtime import standalone
from coc_cli.runtime.session import Session

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a network with exits, compared with nothing, and its checkpoint beside it."""
    place = tmp_path_factory.mktemp("exported")
    network = quantised(float_network("cifar:resnet20", {"depth": 8, "width": 4}, measure="max_softmax"), 4, 4)
    save(network, (), place / "model.safetensors")
    coc("export", place / "model.safetensors", "--out", place / "export")
    return place


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder / "export", tmp_path / "export"))


def test_all_forms_of_an_image_get_the_same_answer(folder: Path, tmp_path: Path) -> None:
    session = Session(folder / "export")
    pixels = images_of(
        quantised(float_network("cifar:resnet20", {"depth": 8, "width": 4}), 4, 4).spec, 3
    ).images.numpy()
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(files, pixels, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    normalised = session.prepare(pixels)
    forms = [pixels, list(pixels), normalised, files, [str(path) for path in files], [Image.open(p) for p in files]]
    answers = [session.predict(form) for form in forms]
    for answer in answers:
        np.testing.assert_array_equal(answer.probabilities, answers[0].probabilities)
        np.testing.assert_array_equal(answer.exit, answers[0].exit)
    assert answers[0].value.shape == answers[0].exit.shape == answers[0].seconds.shape == (3,)
    assert answers[0].probabilities is not None
    np.testing.assert_allclose(answers[0].probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(session.predict(files[1]).probabilities, answers[0].probabilities[1:2])
    assert session.predict([]).value.shape == (0,)
    assert set(session.predict(pixels, threshold=2.0).exit) == {2}


def test_images_are_prepared_as_in_training(folder: Path, tmp_path: Path) -> None:
    network = float_network("cifar:resnet20", {"depth": 8, "width": 4})
    session = Session(folder / "export")
    photo = Image.effect_noise((37, 21), 90).convert("RGBA")
    photo.putalpha(Image.effect_noise((37, 21), 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.png", exif=exif)
    trained_on = pixels_of((tmp_path / "a.png").read_bytes(), session.shape, resize=True)
    expected = network.normalise(torch.from_numpy(np.array(trained_on))[None]).numpy()
    np.testing.assert_allclose(session.prepare(tmp_path / "a.png"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.zeros((3, 16, 15), np.uint8), "takes arrays of 3x16x16 (channels first), got 3x16x15"),
        (np.zeros((16, 16, 3), np.uint8), "takes arrays of 3x16x16 (channels first), got 16x16x3"),
        (np.zeros((3, 16, 16)), "takes uint8 pixels or normalised float32, got float64"),
        (np.full((3, 16, 16), np.nan, np.float32), "got numbers that are not finite"),
        ("nowhere.png", "nowhere.png: no such file"),
        (7, "takes paths, images or arrays, got int"),
    ],
)
def test_what_is_no_image_is_said(folder: Path, image: object, text: str) -> None:
    with pytest.raises(InputError) as caught:
        Session(folder / "export").predict(image)
    assert str(caught.value) == text


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def edit(**changes: object) -> Callable[[Path], object]:
    def edited(path: Path) -> None:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(sealed({**{k: v for k, v in content.items() if k != "checksum"}, **changes})))

    return edited


def misspell(path: Path) -> None:
    """Damage a text file so that it stays JSON."""
    path.write_text(path.read_text().replace("onnxruntime", "onnxruntimf", 1))


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        ("manifest.json", Path.unlink, "{}: there is none; name the folder that coc export wrote"),
        ("manifest.json", lambda path: path.write_text("{"), "{}: damaged; export again"),
        ("manifest.json", lambda path: path.write_text("[" * 9999), "{}: damaged; export again"),
        ("manifest.json", misspell, "{}: damaged: does not match its checksum; export again"),
        ("manifest.json", edit(schema=9), "{}: is of format 9, which this runtime does not know; update it"),
        ("model.onnx", flip, "{}: damaged: does not match its checksum; export again"),
        ("model.onnx", Path.unlink, "{}: missing, cut or of another export; export again"),
        ("model.onnx", lambda path: path.write_bytes(b""), "{}: missing, cut or of another export; export again"),
    ],
)
def test_a_damaged_export_is_one_line(copy: Path, name: str, damage: Callable[[Path], object], text: str) -> None:
    damage(copy / name)
    with pytest.raises(InputError) as caught:
        Session(copy)
    assert str(caught.value) == text.format(copy / name)
    Image.new("RGB", (4, 4)).save(copy.parent / "a.png")
    if (copy / "manifest.json").exists():
        ended = coc("run", copy, copy.parent / "a.png", code=2)
        assert len(ended.stderr.splitlines()) == 1
        assert text.split("; ", maxsplit=1)[0].removeprefix("{}: ") in ended.stderr


def test_a_runtime_that_is_too_old_is_one_line(copy: Path) -> None:
    edit(runtime={"name": "onnxruntime", "least": "99.0", "opset": 17})(copy / "manifest.json")
    with pytest.raises(InputError, match=r"model.onnx: needs onnxruntime 99.0 or newer, this is "):
        Session(copy)


def test_the_carried_runtime_is_made_of_the_package(folder: Path) -> None:
    carried = (folder / "export" / standalone.NAME).read_text()
    assert carried == standalone.text()
    assert "coc_cli" not in carried


@pytest.mark.full
def test_the_folder_works_with_numpy_and_onnxruntime_alone(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    wanted = [
        "numpy",
        "onnxruntime",
        "flatbuffers",
        "packaging",
        "google",
        "coloredlogs",
        "humanfriendly",
        "sympy",
        "mpmath",
    ]
    for name in wanted:
        if spec := find_spec(name):
            for origin in spec.submodule_search_locations or []:
                (site / name).symlink_to(origin)
                for libraries in Path(origin).parent.glob(f"{name}.libs"):
                    (site / libraries.name).symlink_to(libraries)
    code = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]\n"
        "import numpy as np; from coc_runtime import Session\n"
        "answer = Session(sys.argv[2]).predict(np.zeros((2, 3, 16, 16), np.uint8))\n"
        "print(answer.value.shape, [n for n in ('torch', 'coc_cli', 'PIL') if n in sys.modules])\n"
        "try:\n    Session(sys.argv[2]).predict(sys.argv[3])\nexcept ValueError as error:\n    print(error)"
    )
    picture = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(picture)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, site, folder / "export", picture],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "(2,) []",
        f"{picture}: image files need Pillow; pip install pillow, or pass arrays",
    ], done.stderr


@pytest.mark.full
def test_the_least_runtime_gives_the_same_answers(folder: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (32, 3, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    (least,) = re.findall(r'"onnxruntime>=([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = ["-m", "pip", "install", "--quiet", f"onnxruntime=={least}.*", "numpy"]
    done = subprocess.run([tmp_path / "venv/bin/python", *install], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"onnxruntime {least} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    code = (
        "import sys, numpy as np, onnxruntime; sys.path.insert(0, sys.argv[1]); from coc_runtime import Session\n"
        "answer = Session(sys.argv[1]).predict(np.load('images.npy')); print(onnxruntime.__version__)\n"
        "np.savez('answer.npz', value=answer.value, exit=answer.exit, probabilities=answer.probabilities)"
    )
    program = [tmp_path / "venv/bin/python", "-I", "-c", code, folder / "export"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith(f"{least}."), done.stderr
    here, there = Session(folder / "export").predict(images), np.load(tmp_path / "answer.npz")
    for name in ("value", "exit", "probabilities"):
        np.testing.assert_array_equal(getattr(here, name), there[name])


@pytest.mark.full
def test_the_carried_runtime_is_a_program(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 30), (200, 10, 10)).save(tmp_path / "a.png")
    program = [sys.executable, folder / "export" / standalone.NAME]
    done = subprocess.run([*program, tmp_path / "a.png"], capture_output=True, text=True, check=True, cwd=tmp_path)
    said = json.loads(done.stdout)
    again = json.loads(coc("run", folder / "export", tmp_path / "a.png", "--json").stdout)[0]
    assert said | {"seconds": 0} == again | {"seconds": 0}
    done = subprocess.run([*program, "none.png"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "none.png: no such file\n")
