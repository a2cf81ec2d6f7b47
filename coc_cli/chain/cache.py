"""The stage cache: results by a key of all their inputs, shared by all runs below one directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coc_cli.chain.baseline import BASELINE, baseline_settings, earlier_lineage
from coc_cli.chain.plan import Plan
from coc_cli.chain.verification import follows
from coc_cli.data.settings import DataSettings
from coc_cli.errors import UserError
from coc_cli.files import budget
from coc_cli.files.checksum import is_whole, sha256_of
from coc_cli.files.opening import parse_json, read_text
from coc_cli.files.run_directory import RESULT, STAGE_RESULT
from coc_cli.learning.own_functions import own_functions
from coc_cli.nets.architectures import fingerprint
from coc_cli.nets.arithmetic import Arithmetic
from coc_cli.nets.checkpoint_header import Ancestor, read_header
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.schema.run import StageResult
from coc_cli.version import __version__

if TYPE_CHECKING:
    from coc_cli.data.images import Data


def lineages(
    file: RecipeFile, plan: Plan, data: Data, device: str, arithmetics: Sequence[Arithmetic]
) -> Iterator[tuple[Ancestor, ...]]:
    """Yield the lineage of each step; its last key identifies the step's result by all inputs."""
    weights = file.recipe.model.weights
    weight_inputs = [sha256_of(Path(weights.path)), weights.keys] if weights else []
    weight_inputs += [weights.entry] if weights and weights.entry else []
    code = [fingerprint(step.spec.arch) for step in plan.steps]
    spec = plan.steps[0].spec
    settings = {**baseline_settings(file, spec), "data": data_key(data)}
    about = {name: value for name, value in asdict(data.info).items() if name not in ("images", "notes")}
    root: list[Any] = [__version__, torch.__version__, weight_inputs, device.partition(":")[0]]
    root += [file.recipe.data.augment.settings(), about, code[0], spec.mean, spec.std]
    root += [file.recipe.data.balance] if file.recipe.data.balance else []
    if own := own_functions().fingerprint():
        root.append(own)
    root += arithmetics[0].settings
    lineage = (*earlier_lineage(file), Ancestor(stage=BASELINE, settings=settings, key=cache_key(root, settings)))
    yield lineage
    for index, link in enumerate(file.recipe.chain, start=1):
        stage = link.stage
        settings = stage.model_dump(mode="json")
        inputs = [lineage[-1].key, plan.occurrence(index), code[index], *arithmetics[index].settings]
        inputs += _memory(file, data) if getattr(stage, "teacher_views", 0) else []
        key = cache_key(inputs, {stage.name: settings})
        lineage = (*lineage, Ancestor(stage=stage.name, settings=stage.recorded(), key=key))
        yield lineage


def _memory(file: RecipeFile, data: Data) -> list[Any]:
    """Return what of memory decides whether views and features are kept; empty where it is the default."""
    memory, usual = file.recipe.data.memory, DataSettings.model_fields["memory"].default
    return [memory, data.train.mapped] if data.train.mapped or memory != usual else []


def data_key(data: Data) -> str:
    """Return the data's key in lineages: a checksum of images, targets and split."""
    return data.fingerprint()[:32]


def cache_key(inputs: list[Any], settings: dict[str, Any]) -> str:
    """Return a hash of all that a result depends on."""
    text = json.dumps([inputs, settings], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def stored_result(folder: Path, arch: str, n_test: int, key: str) -> StageResult | None:
    """Return a finished stage's result, measured on so many test images; None if there is none that can be believed.

    That is one which is whole, follows from its own scores, and is of the checkpoint beside it, whose lineage ends with
    that key and which has that architecture.
    """
    try:
        content = parse_json(read_text(folder / STAGE_RESULT, budget.JSON_BYTES))
        result = StageResult.model_validate(content)
        is_right = is_whole(content) and sha256_of(folder / RESULT) == result.sha256
        header = read_header(folder / RESULT, trust_code=True) if is_right else None
        is_right = header is not None and header.spec.arch == arch and [one.key for one in header.lineage[-1:]] == [key]
        return result if header and is_right and follows(result, header.spec, n_test) else None
    except (OSError, ValueError, RecursionError, UserError):
        return None
