"""How fast stages ran here, and how long a plan may take by that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import coc

from coc_cli.chain.plan import make_plan
from coc_cli.chain.speeds import MOST, Machine, estimated_seconds, note_speed
from coc_cli.learning.training import Epoch
from coc_cli.recipe.reading import read

HERE = Machine("a processor", "cpu", 2)
FILE = Path("runs/.cache/speeds.json")
EPOCHS = [Epoch(number, 10, 1.0, 0.5, 5.0) for number in (1, 2)]


def test_the_estimate_is_epochs_times_images_times_what_an_image_took(recipe: Callable[..., Path]) -> None:
    file = read(recipe())
    plan = make_plan(file)
    baseline, distill, quantize = plan.steps
    assert estimated_seconds(file, plan, HERE) is None
    note_speed(HERE, file, baseline, 1000, EPOCHS, 20.0)  # 0.01 s an image
    note_speed(HERE, file, distill, 1000, EPOCHS, 40.0)
    assert estimated_seconds(file, plan, HERE) is None, "a stage has not run here"
    note_speed(HERE, file, quantize, 1000, EPOCHS, 60.0)
    assert estimated_seconds(file, plan, HERE) == pytest.approx(20 + 40 + 60), "two epochs of 1,000 images each"
    assert estimated_seconds(file, plan, Machine("another", "cpu", 2)) is None
    assert estimated_seconds(file, plan, Machine("a processor", "cpu", 1)) is None
    other = read(Path("recipe.yaml"), ("model.train.epochs=6", "chain.1.quantize.epochs=0"))
    assert estimated_seconds(other, make_plan(other), HERE) == pytest.approx(60 + 40)
    wide = read(Path("recipe.yaml"), ("model.width=8", "chain.0.distill.student.width=2"))
    ratio = make_plan(wide).steps[0].cost.macs / baseline.cost.macs
    assert ratio > 3
    assert estimated_seconds(wide, make_plan(wide), HERE) == pytest.approx(20 * ratio + 40 + 60)


def test_a_recipe_for_another_machine_has_no_estimate(recipe: Callable[..., Path]) -> None:
    file = read(recipe(), ("device=cuda:99",))
    plan = make_plan(file)
    for step in plan.steps:
        note_speed(HERE, file, step, 1000, EPOCHS, 10.0)
    assert estimated_seconds(file, plan) is None


def test_of_equally_near_speeds_the_latest_counts(recipe: Callable[..., Path]) -> None:
    file = read(recipe())
    plan = make_plan(file)
    for step in plan.steps:
        for seconds in (50.0, 10.0):
            note_speed(HERE, file, step, 1000, EPOCHS, seconds)
    assert estimated_seconds(file, plan, HERE) == pytest.approx(30)


def test_nothing_is_noted_of_a_stage_that_did_not_train(recipe: Callable[..., Path]) -> None:
    file = read(recipe())
    note_speed(HERE, file, make_plan(file).steps[0], 1000, [], 1.0)
    assert not FILE.exists()


def test_only_the_latest_are_kept(recipe: Callable[..., Path]) -> None:
    file = read(recipe())
    [baseline, *_] = make_plan(file).steps
    note_speed(HERE, file, baseline, 1000, EPOCHS, 1.0)
    content = json.loads(FILE.read_text())
    FILE.write_text(json.dumps({"speeds": content["speeds"] * (MOST + 5)}))
    note_speed(HERE, file, baseline, 1000, EPOCHS, 2.0)
    assert len(json.loads(FILE.read_text())["speeds"]) == MOST


@pytest.mark.parametrize("content", ["", "{", "[]", '{"speeds": [{"stage": 3}]}', '{"speeds": 7}', "[" * 100_000])
def test_a_damaged_note_is_as_good_as_none(recipe: Callable[..., Path], content: str) -> None:
    file = read(recipe())
    plan = make_plan(file)
    FILE.parent.mkdir(parents=True)
    FILE.write_text(content)
    assert estimated_seconds(file, plan, HERE) is None
    note_speed(HERE, file, plan.steps[0], 1000, EPOCHS, 1.0)
    assert len(json.loads(FILE.read_text())["speeds"]) == 1


def test_a_plan_knows_after_a_run(workspace: Path) -> None:
    assert "time: about " in coc("plan", "recipe.yaml").stdout
    assert json.loads(coc("plan", "recipe.yaml", "--json").stdout)["seconds"] > 0
    assert "runs/.cache/speeds.json: how fast stages ran here" in coc("cache").stdout
    (workspace / FILE).unlink()
    assert "time: not known yet" in coc("plan", "recipe.yaml").stdout
    assert json.loads(coc("plan", "recipe.yaml", "--json").stdout)["seconds"] is None
