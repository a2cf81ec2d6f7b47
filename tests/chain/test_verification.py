"""A stage's result is used again only if it is whole and follows from its own scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import coc

from coc_cli.chain.verification import follows
from coc_cli.files.checksum import is_whole, sealed
from coc_cli.nets.checkpoint_header import read_header
from coc_cli.report.schema.run import StageResult

RESULT = Path("runs/tiny/stages/02-quantize/result.json")
CHECKPOINT = RESULT.with_name("model.safetensors")


def test_a_seal_finds_every_change() -> None:
    content = sealed({"a": 1, "b": [1.5, None]})
    assert is_whole(content)
    assert is_whole(json.loads(json.dumps(content)))
    assert not is_whole({**content, "a": 2})
    assert not is_whole({**content, "c": 0})
    assert is_whole({"a": 1}), "files from before have none"


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(metric_value=0.9999),
        lambda content: content.update(n_test=1_000_000),
        lambda content: content.update(metric_ci95=[0.99, 1.0]),
        lambda content: content.update(scores=content["scores"][:-2]),
        lambda content: content.update(scores="f" * len(content["scores"])),
        lambda content: content["exits"][0].update(share=0.5),
        lambda content: content.update(exits=[]),
    ],
)
def test_what_an_editor_changed_does_not_follow(edit: Callable[[dict[str, Any]], None]) -> None:
    content, spec = json.loads(RESULT.read_text()), read_header(CHECKPOINT).spec
    before = StageResult.model_validate(content)
    assert follows(before, spec, before.n_test)
    edit(content)
    assert not follows(StageResult.model_validate(content), spec, before.n_test)


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("is_sealed", [True, False])
def test_an_edited_result_is_made_again(is_sealed: bool) -> None:
    before = RESULT.read_bytes()
    for path in Path("runs/.cache").glob("*/result.json"):
        content = json.loads(path.read_text()) | {"metric_value": 0.9999, "n_test": 1_000_000}
        path.write_text(json.dumps(sealed(content) if is_sealed else content))
    coc("compress", "recipe.yaml")
    now = json.loads(RESULT.read_text())
    same = ("metric_value", "n_test", "scores", "sha256")
    assert {key: now[key] for key in same} == {key: json.loads(before)[key] for key in same}
