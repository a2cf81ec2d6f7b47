"""Reading a recipe: YAML into a `Recipe`, or every fault at once, each with its line. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from coc_cli.data import sources
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.errors import Fault, StageError, UserError, did_you_mean, user_error
from coc_cli.files import budget
from coc_cli.files.opening import read_text
from coc_cli.files.run_directory import CACHE
from coc_cli.files.yaml_source import Loc, YamlSource, written
from coc_cli.nets.spec import Spec
from coc_cli.recipe.checks import cross_key_faults, parse_section
from coc_cli.recipe.messages import readable
from coc_cli.recipe.model import Recipe
from coc_cli.recipe.places import find_paths

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data


IN_PYTHON = "recipe"  # where a fault is of content that was handed over


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that was read, the text it was read from, and what is known of its data."""

    recipe: Recipe
    source: YamlSource
    info: DataInfo
    trust_code: bool = False  # run code that a checkpoint names, not only what the recipe names
    is_data_absent: bool = False  # `info` is what the recipe declares
    stage_notes: Mapping[int, str] = field(default_factory=dict)  # of stages whose defaults follow from the data

    def fault(self, loc: Loc, what: str) -> Fault:
        """Return a fault at a key of the recipe."""
        return self.source.fault(loc, what)

    def check_fits(self, spec: Spec) -> None:
        """Raise `UserError` unless the recipe's images and labels are of the kind that a network is for."""
        info = self.info
        if (info.task, info.shape, len(info.labels)) != (spec.task, spec.input_shape, len(spec.labels)):
            what = f"{info.task} of {info.shape} images with {len(info.labels)} labels"
            needs = f"{spec.task} of {spec.input_shape} with {len(spec.labels)}"
            raise UserError([self.fault(("data",), f"is {what}; the checkpoint is for {needs}")])

    @property
    def code_files(self) -> list[str]:
        """The Python files of the user's that are run for this recipe."""
        texts: list[Any] = [self.recipe.model_dump(mode="json", exclude={"data"})]
        found: set[str] = set()
        while texts:
            part = texts.pop()
            if isinstance(part, dict | list):
                texts += part.values() if isinstance(part, dict) else part
            elif isinstance(part, str) and part.startswith("file:"):
                found.add(part.split(":")[1])
        return sorted(found)

    def images(self, progress: Progress | None = None) -> Data:
        """Read the images, decoded once; raises `UserError` with their problems as faults of the recipe."""
        try:
            return sources.read(self.recipe.data, self.recipe.seed, cache=CACHE, progress=progress)
        except StageError as error:
            raise UserError(_data_faults(self.source, error)) from error


def _data_faults(source: YamlSource, error: StageError) -> list[Fault]:
    return [source.fault(("data", key) if key else ("data",), what) for key, what in error.parts]


def read(
    recipe: Path | Mapping[str, Any],
    overrides: tuple[str, ...] = (),
    *,
    trust_code: bool = False,
    data_may_be_absent: bool = False,
) -> RecipeFile:
    """Read a recipe, a file or its content; raises `UserError` with every fault in it.

    With `data_may_be_absent` a recipe that declares its data can be read, and planned, without them.
    """
    source = _source(recipe, overrides) if isinstance(recipe, Path) else _given(recipe, overrides)
    find_paths(source, recipe.parent if isinstance(recipe, Path) else Path())
    faults = list(source.faults)
    parsed = None
    try:
        parsed = Recipe.model_validate_json(json.dumps(source.content), strict=True)
    except ValidationError as error:
        faults += readable(error, source)
    info, declared, about_data = _described(source, may_be_absent=data_may_be_absent)
    info = info or declared
    faults += [*about_data, *cross_key_faults(source, info)]
    if faults or parsed is None or info is None:
        raise UserError(sorted(dict.fromkeys(faults), key=_line_number))
    settled, notes = _settled(parsed, info)
    return RecipeFile(settled, source, info, trust_code, is_data_absent=declared is not None, stage_notes=notes)


def _settled(recipe: Recipe, info: DataInfo) -> tuple[Recipe, dict[int, str]]:
    """Return a recipe with the stages' defaults that follow from the data, and notes of these by index in the chain."""
    settled = [(link, *link.stage.settled(info)) for link in recipe.chain]
    links = tuple(link.model_copy(update={stage.name: stage}) for link, stage, _ in settled)
    notes = {index: note for index, (_, _, note) in enumerate(settled) if note}
    return recipe.model_copy(update={"chain": links}), notes


def _source(path: Path, overrides: tuple[str, ...]) -> YamlSource:
    try:
        text = read_text(path, budget.RECIPE_BYTES)
    except UnicodeDecodeError as error:
        raise user_error(path, "is not a text file") from error
    except OSError as error:
        others = [other.name for end in ("yaml", "yml") for other in path.parent.glob(f"*.{end}")]
        near = f"; {did_you_mean(path.name, others, otherwise='there are')}" if others and not path.exists() else ""
        raise user_error(path, f"cannot be read: {error.strerror}{near}") from error
    source = YamlSource(str(path), text)
    if not isinstance(source.content, dict):
        raise user_error(f"{path}:1", "is not a recipe: it needs the keys name, data, model and chain")
    return _overridden(source, overrides)


def recipe_content(path: Path) -> Mapping[str, Any]:
    """Return what a recipe's file holds, of which nothing is checked yet; raises `UserError`."""
    source = _source(path, ())
    find_paths(source, path.parent)
    if source.faults:
        raise UserError(source.faults)
    return source.content  # type: ignore[no-any-return]


def _given(content: Mapping[str, Any], overrides: tuple[str, ...]) -> YamlSource:
    """Return content that was handed over as a source without lines."""
    try:
        text = written(json.loads(json.dumps(content)))
    except (TypeError, ValueError) as error:
        raise user_error(IN_PYTHON, f"holds what a recipe cannot: {error}") from error
    source = YamlSource(IN_PYTHON, text)
    source.lines = dict.fromkeys(source.lines, IN_PYTHON)
    return _overridden(source, overrides)


def _overridden(source: YamlSource, overrides: tuple[str, ...]) -> YamlSource:
    for override in overrides:
        source.override(override)
    return source


def _line_number(fault: Fault) -> tuple[bool, int]:
    number = fault.where.rpartition(":")[2]
    return (False, int(number)) if number.isdigit() else (True, 0)


def _described(source: YamlSource, *, may_be_absent: bool) -> tuple[DataInfo | None, DataInfo | None, list[Fault]]:
    """Return what is known of the data, what is only declared as they are not there, and the faults of that section."""
    data, seed = parse_section(DataSettings, source.content.get("data")), source.content.get("seed")
    if data is None:
        return None, None, []
    faults = [source.fault(("data", *loc), what) for loc, what in sources.faults(data, may_be_absent=may_be_absent)]
    if faults:
        return None, None, faults
    if declared := sources.declared(data):
        return None, declared, []
    try:
        return sources.describe(data, seed if isinstance(seed, int) and seed >= 0 else 0), None, []
    except StageError as error:
        return None, None, _data_faults(source, error)
