"""One job of an experiment on order, as a worker runs it: a stage behind others, and what it measured on validation."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coc_cli.chain.compress import compress
from coc_cli.files.atomic import write_atomically
from coc_cli.files.run_directory import CACHE, RESULT, STAGE_RESULT
from coc_cli.learning.evaluation import evaluate
from coc_cli.learning.tasks import task_of
from coc_cli.nets.checkpoint import load
from coc_cli.nets.checkpoint_header import read_header
from coc_cli.nets.cost import cost
from coc_cli.recipe.reading import read
from coc_cli.report.schema.run import StageResult


@dataclass(frozen=True)
class StageFiles:
    """A finished stage, as it travels between machines."""

    key: str
    checkpoint: bytes
    result: bytes


@dataclass(frozen=True)
class Outcome:
    """What a chain measured on validation."""

    key: str  # of its last stage in the cache
    data: str  # the key of the data
    score: float  # on validation: accuracy, or minus the error
    bitops: float  # strict, at the exit rates on validation
    seconds: float  # of training its last stage, whenever that was


def run_job(
    content: Mapping[str, Any], place: str, directory: str, given: Sequence[StageFiles], *, returns_files: bool
) -> tuple[Outcome, StageFiles | None]:
    """Run a chain whose stages but the last are in the cache or given; return what it measured, and its last stage.

    Args:
        content: Of the recipe.
        place: Where coc runs, with its cache below; another folder of that name where this is another machine.
        directory: Of the run, which is removed in the end.
        given: Earlier stages, for a machine that has not made them.
        returns_files: Whether the last stage is to be returned.
    """
    Path(place).mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    for stage in given:
        if not (CACHE / stage.key / STAGE_RESULT).is_file():
            write_stage(stage)
    with contextlib.redirect_stderr(io.StringIO()):
        compress(content, out=Path(directory), quiet=True)
    (last,) = sorted((Path(directory) / "stages").iterdir())[-1:]
    outcome = _outcome(content, last)
    files = None
    if returns_files:
        files = StageFiles(outcome.key, (last / RESULT).read_bytes(), (last / STAGE_RESULT).read_bytes())
    shutil.rmtree(directory)
    return outcome, files


def write_stage(stage: StageFiles) -> None:
    """Put a finished stage into the cache."""
    folder = CACHE / stage.key
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RESULT, stage.checkpoint)
    write_atomically(folder / STAGE_RESULT, stage.result)


def _outcome(content: Mapping[str, Any], stage: Path) -> Outcome:
    """Return what a finished stage measured on validation, with the exit rates there."""
    network = load(stage / RESULT, trust_code=True)
    result = StageResult.model_validate_json((stage / STAGE_RESULT).read_bytes())
    task, rates = task_of(network.spec), [1.0]
    if network.spec.exits:
        found = evaluate(network, read(content).images().validation)
        rates = [exit_.share for exit_ in found.exits]
    lineage = read_header(stage / RESULT, trust_code=True).lineage
    data = next(str(one.settings["data"]) for one in reversed(lineage) if "data" in one.settings)
    score, bitops = task.sign * result.validation_value, cost(network.spec).leaving(rates).bitops
    return Outcome(lineage[-1].key, data, score, bitops, result.seconds)
