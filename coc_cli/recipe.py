"""What the user wrote: YAML into a `Recipe`, with every fault at once, each with its line. No torch here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from coc_cli.data import sources
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.dvfs.profile import read_profile
from coc_cli.errors import Fault, StageError, UserError, did_you_mean, refuse
from coc_cli.nets.sources import Choice
from coc_cli.nets.spec import Frozen, Scalar
from coc_cli.stages.distill import Distill
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.prune import Prune
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Stage
from coc_cli.training import Training
from coc_cli.yaml_source import Loc, Source, dotted, written

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data

RUNS = Path("runs")  # below the current directory
CACHE = RUNS / ".cache"  # of stages and decoded images

Renaming = dict[str, str | None]


class Checkpoint(Frozen):
    """Weights from elsewhere whose names differ from the architecture's."""

    path: Annotated[str, Field(min_length=1, description=".safetensors, .pt or .pth; a path from where coc runs")]
    keys: Annotated[
        Renaming | tuple[Renaming, ...],
        Field(
            description="regular expressions for whole names, each with the name that its tensors get (\\1 is the first"
            " group), or nothing to drop them; the first that matches decides. A list: passes, one after another"
        ),
    ] = ()

    @field_validator("keys")
    @classmethod
    def _dropped(cls, keys: Renaming | tuple[Renaming, ...]) -> Renaming | tuple[Renaming, ...]:
        """Write nothing as an empty text, which a resolved recipe keeps."""
        passes: list[Renaming] = [{pattern: new or "" for pattern, new in each.items()} for each in _listed(keys)]
        return passes[0] if isinstance(keys, dict) else tuple(passes)

    @property
    def passes(self) -> dict[Loc, Renaming]:
        """The passes over the names in order, each by its place below `keys`."""
        places: list[Loc] = [()] if isinstance(self.keys, dict) else [(index,) for index in range(len(self.keys))]
        return dict(zip(places, _listed(self.keys), strict=True))


def _listed(keys: Renaming | tuple[Renaming, ...]) -> tuple[Renaming, ...]:
    return (keys,) if isinstance(keys, dict) else keys


class Model(Choice):
    """The baseline: an architecture with weights from a file, or trained here."""

    checkpoint: Annotated[
        str | Checkpoint | None,
        Field(description=".safetensors, .pt or .pth with the baseline's weights; a path from where coc runs"),
    ] = None
    mean: Annotated[
        tuple[Annotated[float, Field(ge=-1, le=1)], ...] | None,
        Field(description="with weights from elsewhere: what was subtracted from images scaled to 0..1, per channel"),
    ] = None
    std: Annotated[
        tuple[Annotated[float, Field(gt=0, le=2)], ...] | None, Field(description="and what they were divided by then")
    ] = None
    train: Annotated[Training | None, Field(description="how to train the baseline, if there is no checkpoint")] = None

    @property
    def weights(self) -> Checkpoint | None:
        """The checkpoint, however it was written."""
        return Checkpoint(path=self.checkpoint) if isinstance(self.checkpoint, str) else self.checkpoint


class Link(Frozen):
    """One item of the chain: exactly one of the stages."""

    distill: Distill | None = None
    prune: Prune | None = None
    quantize: Quantize | None = None
    early_exit: EarlyExit | None = None

    @property
    def stage(self) -> Stage:
        """The one that was written."""
        written: list[Stage | None] = [getattr(self, name) for name in type(self).model_fields]
        return next(stage for stage in written if stage is not None)


class Limits(Frozen):
    """What the result must keep; a run that misses one ends with exit code 3."""

    max_drop: Annotated[
        float | None, Field(description="greatest loss on test against the baseline, in the metric's unit")
    ] = None
    min_bitops_ratio: Annotated[float | None, Field(gt=0, description="baseline's BitOps over the result's")] = None
    max_bytes: Annotated[int | None, Field(gt=0, description="of the result's file")] = None


class PredictExit(Frozen):
    """How the finished run is looked at by `coc predict-exit`; the same keys as its options."""

    profile: Annotated[str, Field(description="a device by name (see coc profiles), or the path of a profile")] = (
        "jetson-tx2-gpu"
    )
    deadline: Annotated[
        str,
        Field(
            pattern=r"^([0-9]+\.?[0-9]*|\.[0-9]+)(x|ms)$",
            description="12ms, or 1.25x: times what the longest path takes at the highest frequency",
        ),
    ] = "1.0x"
    out: Annotated[str | None, Field(description="folder; by default predict-exit/PROFILE below the run's")] = None


class Recipe(Frozen):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run directory")]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="of the split, the baseline and every stage")] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")] = "auto"
    data: DataSettings
    model: Model
    chain: Annotated[tuple[Link, ...], Field(min_length=1, description="the stages, in the order in which they run")]
    limits: Limits = Limits()
    predict_exit: Annotated[
        PredictExit | None, Field(description="forecast exits and plan frequencies when the chain is done")
    ] = None


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that was read, the text it was read from, and what is known of its data."""

    recipe: Recipe
    source: Source
    info: DataInfo
    trust_code: bool = False  # run code that a checkpoint names, not only what the recipe names

    def fault(self, loc: Loc, what: str) -> Fault:
        """Give a fault at a key of the recipe."""
        return self.source.fault(loc, what)

    def images(self, progress: Progress | None = None) -> Data:
        """Read the images, decoded once; raises `UserError` with what is wrong with them, as the recipe's fault."""
        try:
            return sources.read(self.recipe.data, self.recipe.seed, cache=CACHE, progress=progress)
        except StageError as error:
            raise UserError(_faults_of_data(self.source, error)) from error


def _faults_of_data(source: Source, error: StageError) -> list[Fault]:
    return [source.fault(("data", key) if key else ("data",), what) for key, what in error.parts]


def read(path: Path, overrides: tuple[str, ...] = (), *, trust_code: bool = False) -> RecipeFile:
    """Read a recipe; raises `UserError` with every fault in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise refuse(path, "is not a text file") from error
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    source = Source(str(path), text)
    if not isinstance(source.content, dict):
        raise refuse(f"{path}:1", "is not a recipe: it needs the keys name, data, model and chain")
    for override in overrides:
        source.override(override)
    faults = list(source.faults)
    recipe = None
    try:
        recipe = Recipe.model_validate_json(json.dumps(source.content), strict=True)
    except ValidationError as error:
        faults += _readable(error, source)
    info, about_data = _described(source)
    faults += [*about_data, *_sense(source, info)]
    if faults or recipe is None or info is None:
        raise UserError(sorted(dict.fromkeys(faults), key=_line_number))
    return RecipeFile(recipe, source, info, trust_code)


def _line_number(fault: Fault) -> tuple[bool, int]:
    number = fault.where.rpartition(":")[2]
    return (False, int(number)) if number.isdigit() else (True, 0)


Section = TypeVar("Section", bound=Frozen)


def _whole(kind: type[Section], content: Any) -> Section | None:
    """Give a section that is right by itself, so that what it says can be checked though others are wrong."""
    try:
        return kind.model_validate_json(json.dumps(content), strict=True)
    except ValidationError:
        return None


def _described(source: Source) -> tuple[DataInfo | None, list[Fault]]:
    """Give what is known of the data, or what is wrong with that section."""
    data = _whole(DataSettings, source.content.get("data"))
    if data is None:
        return None, []
    faults = [source.fault(("data", *loc), what) for loc, what in sources.faults(data)]
    if faults:
        return None, faults
    try:
        return sources.describe(data), []
    except StageError as error:
        return None, _faults_of_data(source, error)


def _sense(source: Source, info: DataInfo | None) -> Iterator[Fault]:
    """Give the faults that need no network: each key is right, but they do not go together."""
    model = _whole(Model, source.content.get("model"))
    if model is not None:
        yield from (source.fault(("model", *loc), what) for loc, what in _model_faults(model))
    wanted = _whole(PredictExit, source.content.get("predict_exit"))
    if wanted is not None:
        yield from _profile_faults(wanted, source)
    chain = source.content.get("chain")
    for index, content in enumerate(chain if isinstance(chain, list) else []):
        link = _whole(Link, content)
        if link is not None:
            yield from (source.fault(("chain", index, *loc), what) for loc, what in _link_faults(link, index, model))
        if link is not None and link.early_exit is not None:
            yield from (source.fault(("chain", index, *loc), what) for loc, what in _exit_faults(link.early_exit, info))


def _profile_faults(wanted: PredictExit, source: Source) -> Iterator[Fault]:
    try:
        read_profile(wanted.profile)
    except UserError as error:
        for fault in error.faults:
            where = "" if fault.where == "--profile" else f"{fault.where}: "
            yield source.fault(("predict_exit", "profile"), f"{where}{fault.what}")


def _model_faults(model: Model) -> Iterator[tuple[Loc, str]]:
    weights = model.weights
    if weights is not None:
        yield from _weights_faults(weights, () if isinstance(model.checkpoint, str) else ("path",))
    if weights is not None and model.train is not None:
        yield ("train",), "there is a checkpoint as well; give one of them"
    if weights is None and model.train is None:
        yield (), "needs a 'checkpoint' with weights, or 'train' to make them"
    if model.arch is None and (weights is None or not weights.path.endswith(".safetensors")):
        yield (), "needs 'arch', the architecture of the weights"
    if (model.mean is None) != (model.std is None):
        yield ("mean" if model.std is None else "std",), "needs the other of 'mean' and 'std' beside it"
    if model.arch is not None:
        yield from _arch_faults(model, model.arch, {})


def _weights_faults(weights: Checkpoint, here: Loc) -> Iterator[tuple[Loc, str]]:
    if not Path(weights.path).is_file():
        yield ("checkpoint", *here), f"no such file '{weights.path}'"
    for place, renaming in weights.passes.items():
        for pattern in renaming:
            if what := _no_pattern(pattern):
                yield ("checkpoint", "keys", *place, pattern), what


def _no_pattern(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is not a regular expression: {error}"
    return None


def _arch_faults(choice: Choice, arch: str, incoming: dict[str, Scalar]) -> Iterator[tuple[Loc, str]]:
    try:
        choice.arguments(arch, incoming)
    except StageError as error:
        key = error.key or "arch"
        yield ("args", key) if key in choice.args else (key,), error.what


def _link_faults(link: Link, index: int, model: Model | None) -> Iterator[tuple[Loc, str]]:
    written = sorted(link.model_fields_set)
    if len(written) != 1:
        yield (), "needs exactly one stage; begin each with its own '-'"
    elif getattr(link, written[0]) is None:
        yield (written[0],), "needs its keys, or {} for all defaults"
    elif isinstance(link.stage, Distill):
        yield from _student_faults(link.stage, index, model)


def _exit_faults(stage: EarlyExit, info: DataInfo | None) -> Iterator[tuple[Loc, str]]:
    if (stage.exits is None) == (stage.every is None):
        yield ("early_exit",), "needs exactly one of 'exits' and 'every'"
    if stage.exits == ():
        yield ("early_exit", "exits"), "needs at least one item"
    if info is None:
        return
    try:
        _, max_drop = stage.rule_for(info.task)
    except StageError as error:
        yield ("early_exit", *([error.key] if error.key else [])), error.what
        return
    images = info.validation_images
    if info.task == "classification" and max_drop > 1:
        yield ("early_exit", "max_drop"), f"{max_drop:g} is more than all of the accuracy, which is 0 to 1"
    elif info.task == "classification" and max_drop < 1 / images:
        least = math.ceil(1e5 / images) / 1e5
        what = f"{max_drop:g} is less than one of the {images} validation images; the smallest usable is {least:g}"
        yield ("early_exit", "max_drop"), what


def _student_faults(stage: Distill, index: int, model: Model | None) -> Iterator[tuple[Loc, str]]:
    if stage.student == "same":
        if index == 0 and "student" not in stage.model_fields_set:
            what = "needs a 'student' when it comes first: {arch, depth, width}, or 'same' to train the same network"
            yield ("distill",), what
        return
    before = model.arch if model else None
    arch = stage.student.arch or before
    if arch is not None and (stage.student.arch or index == 0):
        for loc, what in _arch_faults(stage.student, arch, _incoming(model) if arch == before else {}):
            if stage.student.arch or loc != ("arch",):  # else the model's own fault, said there
                yield ("distill", "student", *loc), what


def _incoming(model: Model | None) -> dict[str, Scalar]:
    """Give the arguments of the model, as far as they are right."""
    try:
        return model.arguments(model.arch, {}) if model and model.arch else {}
    except StageError:
        return {}


_NEEDS: dict[str, str] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}


# Where a value may be of several kinds, pydantic complains once a kind and puts the kind into the place. What a user
# should read instead, by one of the kinds' names; a kind without text here always stands beside one that has it.
_KINDS: dict[str, str] = {
    "literal['same']": "'same' or a mapping of keys",
    "Student": "",
    "tuple[constrained-str, ...]": "a whole number or a list of names",
    "constrained-int": "",
    "tuple[constrained-int, ...]": "a whole number or [height, width]",
    "tuple[str, ...]": "the name of a column or a list of them",
    "constrained-str": "",
    "literal[32]": "a whole number",
    "literal['equal','depth']": "'equal', 'depth' or a list of numbers",
    "tuple[constrained-float, ...]": "",
    "str": "",
    "Checkpoint": "a path or a mapping of 'path' and 'keys'",
    "dict[str,nullable[str]]": "a mapping of patterns to names, or a list of them",
    "tuple[dict[str,nullable[str]], ...]": "",
    "bool": "a number, a text, true or false",
    "int": "",
    "float": "",
}
_WRONG_KIND = frozenset(
    ("int_type", "int_from_float", "tuple_type", "literal_error", "model_type", "model_attributes_type", "string_type")
    + ("bool_type", "float_type", "dict_type", "too_short", "too_long")
)


def _readable(error: ValidationError, source: Source) -> Iterator[Fault]:
    every = error.errors()
    meant = {_place(details) for details in every if not _is_wrong_kind(details)}
    for details in every:
        loc = _place(details)
        if _is_wrong_kind(details):
            deeper = {place for place in map(_place, every) if len(place) > len(loc)}
            if not any(place[: len(loc)] == loc for place in meant | deeper):
                kinds = [str(other["loc"][-1]) for other in every if _place(other) == loc]
                needs = next(text for kind in kinds if (text := _KINDS.get(kind)))
                yield source.fault(loc, f"needs {needs}, got {_shown(details['input'])}")
        elif details["type"] == "extra_forbidden":
            yield Fault(source.fault(loc, "").where, f"{dotted(loc[:-1])}: {_unknown(loc)}".removeprefix(": "))
        elif details["type"] == "missing":
            yield source.fault(loc[:-1], f"key '{loc[-1]}' is missing")
        elif not (details["type"] == "too_short" and details["input"]):  # that counts only the items that are right
            yield source.fault(loc, _what(details))


def _place(details: ErrorDetails) -> Loc:
    return tuple(part for part in details["loc"] if part not in _KINDS)


def _is_wrong_kind(details: ErrorDetails) -> bool:
    return bool(details["loc"]) and details["loc"][-1] in _KINDS and details["type"] in _WRONG_KIND


def _shown(given: Any) -> str:
    if given is None:
        return "nothing"
    return "a mapping" if isinstance(given, dict) else "a list" if isinstance(given, list) else repr(given)


def _unknown(loc: Loc) -> str:
    known = _known_keys(Recipe, loc[:-1])
    word = "stage" if len(loc) == 3 and loc[0] == "chain" else "key"  # noqa: PLR2004  (chain, index, stage)
    return f"no such {word} '{loc[-1]}'; {did_you_mean(str(loc[-1]), known)}"


def _known_keys(model: Any, loc: Loc) -> list[str]:
    """Give the keys that may stand at a place of a recipe."""
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        model = _model_in(fields[part].annotation) if part in fields else model
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """Find the model in `X | None`, `tuple[X, ...]`, `dict[str, X]` or `Annotated[X, ...]`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    found = (_model_in(inner) for inner in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)


def _what(details: ErrorDetails) -> str:
    kind, context, shown = details["type"], details.get("ctx", {}), _shown(details["input"])
    if kind in _NEEDS:
        return f"needs {_NEEDS[kind]}, got {shown}"
    if kind == "literal_error":
        return f"needs {context['expected']}, got {shown}"
    for bound, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than")):
        if bound in context:
            return f"needs {words} {context[bound]:.12g}, got {shown}"
    if kind == "string_pattern_mismatch":
        return f"{shown} does not fit; it needs the form {context['pattern']}"
    if kind == "too_short":
        return "needs at least one item"
    return f"{details['msg'][0].lower()}{details['msg'][1:]}, got {shown}"


def resolved(recipe: Recipe) -> str:
    """Give the recipe as YAML with every default written out."""
    return written(recipe.model_dump(mode="json", exclude_none=True))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes, for editors; `data.source` names every source that is registered."""
    recipe = Recipe.model_json_schema()
    recipe["$defs"][DataSettings.__name__]["properties"]["source"]["description"] = sources.described()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **recipe}


def torch_device(file: RecipeFile, asked: str | None) -> str:
    """Give the device to use; raises `UserError` for one that is not there."""
    return device_named(asked or file.recipe.device, "--device" if asked else file.fault(("device",), "").where)


def device_named(name: str, where: str) -> str:
    """Give torch's name of a device; raises `UserError` that names `where` it was asked for if it is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name)
    except RuntimeError as error:
        raise refuse(where, f"no such device '{name}'; use auto, cpu, cuda or cuda:N") from error
    if kind.type not in ("cpu", "cuda"):
        raise refuse(where, f"device '{name}' is not supported; use auto, cpu, cuda or cuda:N")
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise refuse(where, f"there is no {name} here; use cpu, or auto")
    return name
