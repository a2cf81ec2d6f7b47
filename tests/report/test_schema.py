"""The schema of the JSON files: complete, told by `coc schema`, and what readers go by."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from command_line import coc
from pydantic import ValidationError

from coc_cli.recipe.model import schema as recipe_schema
from coc_cli.report import model
from coc_cli.report.read.lenient import Lenient, MissingNotes
from coc_cli.report.read.run import read_runs
from coc_cli.report.schema import FILES
from coc_cli.report.schema.part import as_data, as_json, json_schema
from coc_cli.report.schema.run import Environment, ExitEntry, LimitEntry, StageEntry


def mappings(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema.get("$defs", {}).values()


@pytest.mark.parametrize(
    ("name", "models"), [("report", 8), ("predict-exit", 16), ("schedule", 2), ("plan", 3), ("inspect", 4)]
)
def test_every_key_of_every_file_is_described(name: str, models: int) -> None:
    schema = json.loads(coc("schema", "--of", name).stdout)
    assert schema == json_schema(FILES[name])
    found = list(mappings(schema))
    assert len(found) == models
    for mapping in found:
        assert mapping["additionalProperties"] is False
        assert mapping["description"]
        for key, value in mapping["properties"].items():
            assert value.get("description"), f"{mapping['title']}.{key}"


def test_keys_are_named_as_they_stand_in_the_files() -> None:
    schema = json_schema(FILES["schedule"])
    assert list(schema["$defs"]["SegmentEntry"]["properties"])[:2] == ["from", "to"]
    assert next(iter(json_schema(FILES["report"])["properties"])) == "schema"


def test_recipes_are_the_default() -> None:
    assert (
        coc("schema").stdout == coc("schema", "--of", "recipe").stdout == json.dumps(recipe_schema(), indent=2) + "\n"
    )


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("reprot", "did you mean 'report'?"),
        ("x", "known: evaluate, inspect, order, plan, predict-exit, recipe, report, schedule"),
    ],
)
def test_a_schema_that_is_none_is_said(name: str, instead: str) -> None:
    done = coc("schema", "--of", name, code=2)
    assert (done.stdout, done.stderr) == ("", f"--of: no such schema '{name}'; {instead}\n")


def test_what_was_never_given_is_absent_and_none_is_null() -> None:
    one = ExitEntry(index=0, share=0.0, metric_value=None, metric_all=0.5)
    assert as_json(one) == '{"index": 0, "share": 0.0, "metric_value": null, "metric_all": 0.5}'
    assert as_data(StageEntry.model_construct(name="prune")) == {"name": "prune"}
    assert as_json(LimitEntry(name="max_bytes", limit=100, value=99.5, ok=True), indent=None).endswith(
        '"limit": 100, "value": 99.5, "ok": true}'
    )


@pytest.mark.parametrize("changes", [{"threads": "many"}, {"unknown": 1}, {"coc": None}])
def test_writers_are_held_to_it(changes: dict[str, object]) -> None:
    content = {
        **dict.fromkeys(("coc", "python", "torch", "platform", "processor", "device", "date"), "x"),
        "cores": None,
        "threads": 2,
    }
    assert as_data(Environment.model_validate(content)) == content
    with pytest.raises(ValidationError):
        Environment.model_validate({**content, **changes})


def test_a_view_whose_key_is_not_in_the_schema_is_our_mistake() -> None:
    with pytest.raises(KeyError, match="policy"):
        Lenient(ExitEntry, {}, "there", MissingNotes()).view(model.CurveView)


def test_what_is_damaged_is_none_and_noted() -> None:
    missing = MissingNotes()
    stage = {
        "name": 3,
        "metric_value": True,
        "n_test": 8,
        "macs": float("inf"),
        "exits": [{"share": 1}, 7],
        "index": "x",
    }
    view = Lenient(StageEntry, stage, "stage", missing, 4).view(model.StageView, factor=None, change=None, epochs=())
    assert (view.index, view.name, view.metric_value, view.n_test, view.macs) == (4, "?", None, 8, None)
    assert view.exits == (model.ExitView(0, 1, None, None), model.ExitView(1, None, None, None))
    assert view.layers == (), "older files have none"
    assert missing.sentences == (
        "stage lacks name, metric_value, metric_ci95, macs, bitops, bitops_ratio, bitops_ratio_nominal, params,"
        " checkpoint_bytes, bytes_ratio, seconds",
        "stage, exit 1 is not a mapping",
        "stage, exit 1 lacks share",
    )
    assert {field.name for field in fields(model.StageView)} - set(StageEntry.model_fields) == {
        "factor",
        "change",
        "epochs",
    }


def test_a_recipe_is_read_as_it_was_written(small: Path) -> None:
    (small / "report.json").unlink()
    recipe = small / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace('"small"', "on").replace("seed: 3", "seed: 1e-3"))
    [run] = read_runs([small])
    assert run.name == "on", "text in YAML 1.2, True in 1.1"
    assert run.settings["seed"] == 0.001
