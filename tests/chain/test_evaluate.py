"""`coc evaluate`: the figures of the run itself, the wrong requests, and what a network that is read wrongly shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import coc
from PIL import Image
from pydantic import ValidationError

import coc_cli
from coc_cli.chain.class_order import renamed
from coc_cli.learning.breakdown import MOST_POINTS, breakdown
from coc_cli.report.schema.answers import AnswersEntry, TargetEntry
from coc_cli.report.schema.evaluate import EvaluationReport

RECIPE = """\
name: tiny
device: cpu
data: {source: digits, limit: {train: 400}}
model: {arch: cifar:resnet20, depth: 8, width: 4, train: {epochs: 6, batch: 64, lr: 0.1}}
chain: []
"""
NUMBERS = RECIPE.replace("source: digits", "source: digits-rotation").replace("tiny", "numbers")


pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for text, name in ((RECIPE, "tiny"), (NUMBERS, "numbers")):
            Path(f"{name}.yaml").write_text(text)
            coc("compress", f"{name}.yaml")
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def test_an_empty_chain_reports_the_baseline() -> None:
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["baseline"]
    assert report["stages"][0]["bitops_ratio"] == 1
    assert "0 baseline" in coc("plan", "tiny.yaml").stdout
    assert "0 baseline" in coc("report", "runs/tiny").stdout
    assert "Answers by class, 0 baseline" in Path("runs/tiny/report.html").read_text()
    assert "angle: predicted against true, 0 baseline" in Path("runs/numbers/report.html").read_text()


@pytest.mark.parametrize("name", ["tiny", "numbers"])
def test_the_figures_are_those_of_the_run(name: str) -> None:
    stage = json.loads(Path(f"runs/{name}/report.json").read_text())["stages"][0]
    found = json.loads(coc("evaluate", f"runs/{name}", "--json").stdout)
    EvaluationReport.model_validate(found)
    validation, test = found["splits"]
    assert (test["metric_value"], test["metric_ci95"], test["n"]) == (
        stage["metric_value"], stage["metric_ci95"], stage["n_test"],
    )  # fmt: skip
    assert validation["metric_value"] == stage["validation_value"]
    assert (found["macs"], found["bitops"], found["params"]) == (stage["macs"], stage["bitops"], stage["params"])
    assert test["details"]["trivial_value"] == stage["trivial_value"]
    same = json.loads(coc("evaluate", f"runs/{name}/model.safetensors", "--data", f"{name}.yaml", "--json").stdout)
    assert same["splits"] == found["splits"]


def test_every_class_and_confusion_stands_in_the_terminal() -> None:
    found = json.loads(coc("evaluate", "runs/tiny", "--json").stdout)
    answers = found["splits"][1]["answers"]
    right = sum(row[place] for place, row in enumerate(answers["confusion"]))
    assert right / sum(map(sum, answers["confusion"])) == found["splits"][1]["metric_value"]
    text = coc("evaluate", "runs/tiny").stdout
    for place, (one, row) in enumerate(zip(answers["classes"], answers["confusion"], strict=True)):
        (line,) = [line for line in text.splitlines() if line.startswith(f"│ {place} {one['label']} ")]
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells[1:] == [f"{one['accuracy']:.1%}", *(str(n) if n else "" for n in row)]


def test_what_is_being_done_is_said() -> None:
    said = coc("evaluate", "runs/tiny").stderr.splitlines()
    assert said == ["images are read", "measured on 360 validation images", "measured on 360 test images"]
    assert coc("evaluate", "runs/tiny", "--quiet").stderr == ""


def test_numbers_have_r2_and_a_scatter() -> None:
    text = coc("evaluate", "runs/numbers").stdout
    assert "R2" in text
    assert "predicted (up) against true (across)" in text


def test_a_recipe_with_a_checkpoint_is_evaluated_and_wrong_classes_are_noticed() -> None:
    network = coc_cli.load("runs/tiny/model.safetensors")
    torch.save(network.backbone.state_dict(), "weights.pt")
    mean, std = list(network.spec.mean), list(network.spec.std)
    model = f"{{arch: cifar:resnet20, depth: 8, width: 4, checkpoint: weights.pt, mean: {mean}, std: {std}}}"
    lines = [f"model: {model}" if line.startswith("model") else line for line in RECIPE.splitlines()]
    Path("given.yaml").write_text("\n".join(lines) + "\n")
    given = json.loads(coc("evaluate", "given.yaml", "--json").stdout)
    own = json.loads(coc("evaluate", "runs/tiny", "--json").stdout)
    said = coc("compress", "given.yaml", "--out", "runs/given").stderr
    assert said.count("note: the weights come from elsewhere; if they were trained on images that are validation") == 1
    assert given["splits"][1]["metric_value"] == own["splits"][1]["metric_value"]
    state = network.backbone.state_dict()
    turned = {name: value.roll(1, 0) if name.startswith("linear") else value for name, value in state.items()}
    torch.save(turned, "turned.pt")
    Path("turned.yaml").write_text(Path("given.yaml").read_text().replace("weights.pt", "turned.pt"))
    said = coc("evaluate", "turned.yaml").stdout
    value = f"{own['splits'][1]['metric_value']:.2%}"
    assert f"warning: in another order of its classes it would have {value} on test ('0' is answered '1'," in said
    assert "'2' is answered '3' and 7 more); is the order" in said
    assert "is the order of the classes that of its training? If not, name its classes (or their folders) so" in said
    assert "warning: test: its accuracy of" in said


def test_a_network_of_the_user_s_that_cannot_run_is_a_fault_of_the_recipe() -> None:
    """As `coc plan` says it, and not as a failure of coc."""
    torch.save({}, "weights.pt")
    Path("nets.py").write_text(
        "from torch import nn\n\ndef net(outputs, channels):\n    return nn.Sequential(nn.Flatten(), nn.Linear(63, outputs))\n"
    )
    model = "model: {arch: 'file:nets.py:net', checkpoint: weights.pt, mean: [0.5], std: [0.5]}"
    lines = [model if line.startswith("model") else line for line in RECIPE.splitlines()]
    Path("wrong.yaml").write_text("\n".join(lines) + "\n")
    said = coc("evaluate", "wrong.yaml", code=2).stderr
    assert said.startswith("wrong.yaml:")
    assert "model.arch: nets.py:3: cannot run on images of 1x8x8" in said
    assert said == coc("plan", "wrong.yaml", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["tiny.yaml"],
         "tiny.yaml:4: model: needs 'checkpoint', the weights to evaluate; coc compress trains a baseline that has none"),
        (["tiny.yaml", "--data", "tiny.yaml"], "--data: tiny.yaml is a recipe and names its images itself; leave --data out"),
        (["runs/tiny/model.safetensors"],
         "runs/tiny/model.safetensors: is a checkpoint by itself; name a recipe with its images: --data RECIPE"),
        (["runs/none"], "runs/none: no such run directory or checkpoint"),
        (["none.yaml"], "none.yaml: cannot be read: No such file or directory; did you mean 'tiny.yaml'?"),
        (["runs/tiny/model.safetensors", "--data", "numbers.yaml"],
         "numbers.yaml:3: data: is regression of (1, 8, 8) images with 1 labels;"
         " the checkpoint is for classification of (1, 8, 8) with 10"),
        (["a.png"], "a.png: is an image; name a run directory or a checkpoint"),
        (["foreign.pt"],
         "foreign.pt: holds weights of PyTorch, but is no checkpoint of coc; name it as model.checkpoint in a recipe,"
         " which coc init --checkpoint writes"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line(arguments: list[str], text: str) -> None:
    torch.save({}, "foreign.pt")
    Image.new("L", (8, 8)).save("a.png")
    done = coc("evaluate", *arguments, code=2)
    assert (done.stdout, done.stderr) == ("", text + "\n")


def test_another_order_of_classes_is_said_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for place, name in enumerate("ab"):
            folder = Path(f"set/{split}/{name}")
            folder.mkdir(parents=True)
            for number in range(12):
                Image.new("L", (8, 8), 200 * place + number).save(folder / f"{number}.png")
    text = RECIPE.replace("source: digits, limit: {train: 400}", "source: folder:set").replace("64", "4")
    Path("tiny.yaml").write_text(text)
    coc("compress", "tiny.yaml")
    for split in ("train", "test"):
        Path(f"set/{split}/b").rename(f"set/{split}/0")
    done = coc("evaluate", "runs/tiny", code=2)
    where = "number 0 of its classes or targets is '0', of the checkpoint's 'a'"
    assert done.stderr == f"runs/tiny/recipe.yaml:4: data: {where}; they must be the same, in the same order\n"


def test_a_breakdown_by_hand() -> None:
    found = breakdown(torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 1, 2]), ("a", "b", "c", "d"))
    assert [(one.label, one.n, one.accuracy) for one in found.classes] == [
        ("a", 1, 1.0), ("b", 3, 1 / 3), ("c", 1, 1.0), ("d", 0, None),
    ]  # fmt: skip
    assert found.confusion == ((1, 0, 0, 0), (1, 1, 1, 0), (0, 0, 1, 0), (0, 0, 0, 0))
    assert {(pair.label, pair.answer, pair.n) for pair in found.confused} == {("b", "a", 1), ("b", "c", 1)}
    numbers = torch.arange(1000.0)[:, None]
    (target,) = breakdown(numbers + 1, numbers, ("x",)).targets
    assert len(target.points) == MOST_POINTS
    assert target.points[0] == (0.0, 1.0)
    assert target.points[-1] == (999.0, 1000.0)


def entry(confusion: list[list[int]]) -> AnswersEntry:
    classes = [{"label": name, "n": 1, "accuracy": 0.0} for name, _ in zip("abcdef", confusion, strict=False)]
    return AnswersEntry(classes=classes, confused=[], confusion=confusion, targets=[])


def test_a_file_may_not_hold_points_that_no_chart_can_show() -> None:
    assert TargetEntry(label="x", points=[(1e38, -1.0)]).points == [(1e38, -1.0)]
    with pytest.raises(ValidationError):
        TargetEntry(label="x", points=[(1e308, -1.0)])


def test_an_order_is_another_only_where_each_class_is_mostly_one_other() -> None:
    found = renamed(entry([[1, 9, 0], [0, 1, 9], [8, 1, 1]]))
    assert found is not None
    assert (found.accuracy, found.renamed) == (26 / 30, (("a", "b"), ("b", "c"), ("c", "a")))
    assert renamed(entry([[9, 1], [2, 8]])) is None  # as it should be
    assert renamed(entry([[1, 9], [1, 9]])) is None  # always the same answer
    assert renamed(entry([[0, 0], [0, 0]])) is None
