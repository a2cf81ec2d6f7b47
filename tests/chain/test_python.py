"""`coc_cli.compress` of a recipe's content, a live network, arrays, and functions of the user's own."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import coc
from sklearn.datasets import load_digits
from torch import Tensor, nn

import coc_cli
from coc_cli.data import sources
from coc_cli.data.settings import DataSettings
from coc_cli.errors import RunError, UserError
from coc_cli.learning.own_functions import OwnFunctions

DIGITS = load_digits()
IMAGES = (DIGITS.images * 255 / 16).astype(np.uint8)[:, None]
CLASSES = DIGITS.target
PARTS = {"train": slice(0, 600), "validation": slice(600, 800), "test": slice(800, 1100)}
DATA = {name: (IMAGES[part], CLASSES[part]) for name, part in PARTS.items()}
QUANTIZE = {"quantize": {"weights": 8, "activations": 8, "epochs": 1, "batch": 64}}
RECIPE: dict[str, Any] = {"name": "live", "device": "cpu", "data": {}, "chain": [QUANTIZE]}
MADE_HERE = {"arch": "cifar:resnet20", "depth": 8, "width": 4, "train": {"epochs": 2, "batch": 64}}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def small(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU()
    second = nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs))


def test_a_live_network_and_arrays_are_compressed_and_stay_as_they_were() -> None:
    network = small(10).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recipe = {**RECIPE, "model": {"mean": [0.25], "std": [0.5]}}
    result = coc_cli.compress(recipe, model=network, data={**DATA, "labels": list("0123456789")})
    assert [stage["name"] for stage in result.report["stages"]] == ["baseline", "quantize"]
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    x = (torch.from_numpy(IMAGES[PARTS["test"]]).float() / 255 - 0.25) / 0.5
    right = (network(x).argmax(1).numpy() == CLASSES[PARTS["test"]]).mean()
    assert result.report["stages"][0]["metric_value"] == pytest.approx(right, abs=1e-9)
    assert coc_cli.load("runs/live").predict(IMAGES[:5]).value.shape == (5,)
    for words in (["evaluate", "runs/live"], ["export", "runs/live"], ["report", "runs/live"]):
        coc(*words)
    assert "model.safetensors: module:Sequential, input 1x8x8, 10 labels\n" in coc("inspect", "runs/live").stdout
    again = coc_cli.compress(recipe, model=network, data={**DATA, "labels": list("0123456789")})
    assert again.report["stages"][1]["metric_value"] == result.report["stages"][1]["metric_value"]
    assert Path("runs/live/log.jsonl").read_text().count("from the cache") == 2


def test_numbers_are_in_their_own_units() -> None:
    angle = IMAGES.mean((1, 2, 3))[:, None] * 3 + 100.0
    network, optimizer = small(1), None
    mean, std = float(IMAGES[:600].mean() / 255), float(IMAGES[:600].std() / 255)
    x, y = (torch.from_numpy(IMAGES).float() / 255 - mean) / std, torch.from_numpy(angle).float()
    network[-1].bias.data.fill_(float(y.mean()))
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.l1_loss(network(x[:600]), y[:600]).backward()
        optimizer.step()
    network.eval()
    data = {name: (torch.from_numpy(IMAGES[part]), y[part]) for name, part in PARTS.items()}
    recipe = {**RECIPE, "model": {"mean": [mean], "std": [std]}}
    result = coc_cli.compress(recipe, model=network, data={**data, "labels": ["brightness"]})
    own = float((network(x[PARTS["test"]]) - y[PARTS["test"]]).detach().abs().mean())
    assert result.report["stages"][0]["metric_value"] == pytest.approx(own, rel=1e-4)
    assert list(result.report["stages"][0]["mae_by_target"]) == ["brightness"]


def test_a_path_stays_a_path_and_a_pair_is_split() -> None:
    text = json.dumps({**RECIPE, "data": {"source": "digits"}, "model": MADE_HERE, "chain": []})
    Path("recipe.yaml").write_text(text)
    result = coc_cli.compress("recipe.yaml", data=(IMAGES[:400], CLASSES[:400]), out="here")
    assert result.report["stages"][0]["n_test"] == 80
    assert result.directory == Path("here")


@pytest.mark.parametrize(
    ("recipe", "handed", "text"),
    [
        ({**RECIPE, "data": {"source": "digits"}, "model": MADE_HERE, "chain": [{"quantise": {}}]}, {},
         "recipe: chain[0]: no such stage 'quantise'; did you mean 'quantize'?"),
        ({**RECIPE, "data": {"source": "digits"}, "model": MADE_HERE, "seed": object()}, {},
         "recipe: holds what a recipe cannot: Object of type object is not JSON serializable"),
        ({**RECIPE, "name": 7}, {"data": DATA, "model": small(10)}, "recipe: name: "),
        (RECIPE, {"data": DATA, "model": small(9)}, "model: gives outputs [9] for 10 classes or targets"),
        ({**RECIPE, "model": {"width": 4}}, {"data": DATA, "model": small(10)},
         "recipe: model.width: the module says it; leave it out"),
        ({**RECIPE, "model": MADE_HERE}, {"data": {"tset": DATA["test"]}},
         "data: has no split 'tset'; it may have train, validation, test and labels"),
        ({**RECIPE, "model": MADE_HERE}, {"data": IMAGES}, "data: needs a pair: images uint8"),
        ({**RECIPE, "model": MADE_HERE}, {"data": (IMAGES / 255, CLASSES)},
         "recipe: data.source: 'images' must be uint8 [N, C, H, W] with C 1 or 3, is float64 [1797, 1, 8, 8]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_any_work(recipe: dict[str, Any], handed: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        coc_cli.compress(recipe, **handed)
    assert text in str(caught.value)
    assert not Path("runs/live/stages").exists()


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x.flatten(1))
        return y if y.sum() > 0 else -y


def test_a_network_that_cannot_be_traced_is_named() -> None:
    with pytest.raises(
        UserError, match=r"^model: cannot be traced: in the network's forward: bool decides by the values"
    ):
        coc_cli.compress(RECIPE, model=Branching(), data=DATA)


def near(answers: Tensor, targets: Tensor) -> Tensor:
    """Half a point for a neighbour."""
    return 1.0 - 0.5 * (answers - targets).abs().clamp(max=2)


def softened(output: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, targets, label_smoothing=0.1)


def noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randint(0, 16, images.shape, generator=generator, dtype=torch.uint8)
    return images.clamp(max=239) + noise


OWN: dict[str, Any] = {"loss": softened, "metric": near, "augment": noisy}
TRAINED = {**RECIPE, "data": {"source": "digits", "limit": 200}, "model": MADE_HERE}


def test_own_functions_take_the_place_of_the_tasks_and_are_part_of_the_key() -> None:
    plain = coc_cli.compress(TRAINED)
    result = coc_cli.compress(TRAINED, out="own", **OWN)
    report = result.report
    assert report["metric"] == "near"
    assert [stage["metric_value"] for stage in report["stages"]] != [s["metric_value"] for s in plain.report["stages"]]
    images, targets = split_of_test()
    scores = near(coc_cli.load("own").predict(images).value, targets).mean()
    assert report["stages"][-1]["metric_value"] == pytest.approx(float(scores), abs=1e-5)
    low, high = report["stages"][-1]["metric_ci95"]
    assert low < report["stages"][-1]["metric_value"] < high
    coc_cli.compress(TRAINED, out="own", **OWN)
    assert Path("own/log.jsonl").read_text().count("from the cache") == 2
    coc_cli.compress(TRAINED, out="own", **{**OWN, "augment": None})
    assert Path("own/log.jsonl").read_text().count("from the cache") == 2
    said = coc("report", "own").stdout
    assert "near measured on 200 test images" in said
    assert "change" in said


def split_of_test() -> tuple[Tensor, Tensor]:
    data = sources.read(DataSettings(source="digits", limit=200), 0, cache=Path("cache"))
    return data.test.take(torch.arange(200)), data.test.targets


def made(text: str) -> Any:
    """A function whose source is nowhere."""
    names: dict[str, Any] = {"torch": torch, "nn": nn}
    exec(text, names)
    return names["own"]


@pytest.mark.parametrize(
    ("handed", "text"),
    [
        ({"loss": lambda output, _: output}, "own loss: must give a scalar tensor, gave torch.float32 [64, 10]"),
        ({"metric": lambda _, __: 0.5}, "own metric: must give a finite score for each of 200 images, gave float"),
        ({"augment": lambda images, _: images[:, :, 1:]},
         "own augmentation: must give uint8 images [64, 1, 8, 8] as it was given"),
    ],
)  # fmt: skip
def test_what_an_own_function_must_give(handed: dict[str, Any], text: str) -> None:
    with pytest.raises(RunError) as caught:
        coc_cli.compress(TRAINED, **handed)
    assert text in str(caught.value)


def test_a_source_that_cannot_be_had_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    own = made("def own(output, targets):\n    return nn.functional.cross_entropy(output, targets)\n")
    coc_cli.compress({**TRAINED, "chain": []}, loss=own)
    said = "warning: own loss: its source cannot be had, so the stage cache does not notice when it changes"
    assert said in capsys.readouterr().err


def with_weight(weight: float) -> Any:
    def own(output: Tensor, targets: Tensor) -> Tensor:
        return weight * nn.functional.cross_entropy(output, targets)

    return own


def test_what_a_function_has_closed_over_is_part_of_the_key() -> None:
    prints = [OwnFunctions(loss=with_weight(weight)).fingerprint() for weight in (1.0, 1.0, 2.0)]
    assert prints[0] == prints[1] != prints[2]
    assert set(prints[0]) == {"loss"}
    assert OwnFunctions().fingerprint() == {}


class Weighted:
    """A callable that holds tensors."""

    def __init__(self, weight: float) -> None:
        self.weights = torch.full((10,), weight)

    def __call__(self, output: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, targets, self.weights)

    def method(self, output: Tensor, targets: Tensor) -> Tensor:
        return self(output, targets)


def keyword(weight: float) -> Any:
    def own(output: Tensor, targets: Tensor, *, by: float = weight) -> Tensor:
        return by * nn.functional.cross_entropy(output, targets)

    return own


@pytest.mark.parametrize(
    "make",
    [
        lambda x: functools.partial(softened, extra=x),
        Weighted,
        lambda x: Weighted(x).method,
        keyword,
        lambda x: nn.CrossEntropyLoss(label_smoothing=x),
        lambda x: with_weight([x]),
        lambda x: with_weight(np.array([x])),
    ],
    ids=["partial", "object", "method", "keyword", "torch", "list", "array"],
)
def test_whatever_a_function_holds_is_part_of_the_key(make: Any) -> None:
    prints = [OwnFunctions(loss=make(x)).fingerprint() for x in (0.25, 0.25, 0.5)]
    assert prints[0] == prints[1] != prints[2]
    assert list(OwnFunctions(loss=make(0.25)).warnings()) == []


def test_a_recipes_own_folder_stays_known(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    np.savez(tmp_path / "sub/set.npz", images=IMAGES[:300], targets=CLASSES[:300])
    text = json.dumps({**RECIPE, "data": {"source": "arrays:set.npz"}})
    Path("sub/recipe.yaml").write_text(text)
    assert coc_cli.compress("sub/recipe.yaml", model=small(10)).report["stages"][0]["n_test"] == 60


@pytest.mark.parametrize(
    ("handed", "text"),
    [
        ({"data": DATA, "model": nn.Linear}, "model: needs a live torch module, got Linear"),
        ({"data": DATA, "model": small(10), "loss": "ce"}, "loss: needs a function, got str"),
        ({"data": DATA, "model": small(10).to("meta")}, "model: is on the device 'meta', so it has no weights"),
        ({"data": ([object()], [object()]), "model": small(10)}, "data: needs images uint8 [N, C, H, W] and targets"),
        ({"data": DATA, "model": small(10), "overrides": ("data.source=digits",)},
         "--set data.source=digits: is what Python hands over as 'data'; leave one out"),
    ],
)  # fmt: skip
def test_what_is_handed_over_must_be_of_its_kind(handed: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        coc_cli.compress(RECIPE, **handed)
    assert str(caught.value).startswith(text)


def test_means_of_another_number_of_channels_are_refused() -> None:
    recipe = {**RECIPE, "model": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    with pytest.raises(UserError, match="has 3 numbers for images of 1 channel; give one for each"):
        coc_cli.compress(recipe, model=small(10), data=DATA)


def test_an_own_metric_may_have_any_scale() -> None:
    limits = {"min_metric": -50.0, "max_drop": 60.0}
    result = coc_cli.compress(
        {**TRAINED, "limits": limits}, metric=lambda answers, targets: -(answers - targets).abs() * 9.0
    )
    assert result.report["metric"] == "own_metric"
    assert result.ok
