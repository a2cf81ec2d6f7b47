"""What the user wrote: YAML into a `Recipe`, with every fault at once, each with its line. No torch here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import yaml
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from coc_cli.data.source import DataSettings
from coc_cli.errors import Fault, StageError, UserError, did_you_mean, refuse
from coc_cli.nets.sources import resolve
from coc_cli.nets.spec import Frozen
from coc_cli.stages.distill import Distill
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Stage
from coc_cli.training import Training

Loc: TypeAlias = tuple[str | int, ...]


class Model(Frozen):
    """The baseline: an architecture with weights from a file, or trained here."""

    arch: Annotated[str | None, Field(description="architecture; not needed with a checkpoint of coc's own")] = None
    depth: Annotated[int | None, Field(ge=1)] = None
    width: Annotated[int | None, Field(ge=1)] = None
    checkpoint: Annotated[
        str | None, Field(description=".safetensors, .pt or .pth with the baseline's weights; a path from where coc runs")
    ] = None
    train: Annotated[Training | None, Field(description="how to train the baseline, if there is no checkpoint")] = None

    def arguments(self) -> dict[str, int]:
        """Give the architecture's arguments that were set."""
        return {key: value for key, value in (("depth", self.depth), ("width", self.width)) if value is not None}


class Link(Frozen):
    """One item of the chain: exactly one of the stages."""

    distill: Distill | None = None
    quantize: Quantize | None = None

    @property
    def stage(self) -> Stage:
        """The one that was written."""
        return next(value for name in type(self).model_fields if (value := getattr(self, name)) is not None)


class Limits(Frozen):
    """What the result must keep; a run that misses one ends with exit code 3."""

    max_drop: Annotated[
        float | None, Field(description="greatest loss on test against the baseline, in the metric's unit")
    ] = None
    min_bitops_ratio: Annotated[float | None, Field(gt=0, description="baseline's BitOps over the result's")] = None
    max_bytes: Annotated[int | None, Field(gt=0, description="of the result's file")] = None


class Recipe(Frozen):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the run directory")]
    seed: Annotated[int, Field(ge=0, description="of the split, the baseline and every stage")] = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")] = "auto"
    data: DataSettings
    model: Model
    chain: Annotated[tuple[Link, ...], Field(min_length=1, description="the stages, in the order in which they run")]
    limits: Limits = Limits()


@dataclass(frozen=True)
class RecipeFile:
    """A recipe that was read, and where each of its keys stands."""

    path: str
    recipe: Recipe
    lines: Mapping[Loc, str] = field(repr=False)

    def fault(self, loc: Loc, what: str) -> Fault:
        """Give a fault at a key, or at the nearest key above it that was written."""
        return _fault(self.lines, loc, what)


class _Resolver(yaml.SafeLoader):
    """YAML 1.2's plain scalars: `on` is text, `1e-3` is a number, a date is text."""


_Resolver.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$", "-+.0123456789"),
):
    _Resolver.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [*_first, ""])


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.rpartition(":")[2], node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Reading:
    """Plain values from YAML nodes; notes where each key stands and which faults there are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: dict[Loc, str] = {}
        self.faults: list[Fault] = []

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        where = f"{self.path}:{node.start_mark.line + 1}"
        self.lines.setdefault(loc, where)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        if not isinstance(node, yaml.MappingNode):
            assert isinstance(node, yaml.ScalarNode)
            return self._number(_scalar(node), where, loc)
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = f"{self.path}:{key_node.start_mark.line + 1}"
            if key in made:
                first = self.lines[(*loc, key)].rpartition(":")[2]
                self.faults.append(Fault(here, f"{_dotted(loc)}key '{key}' is given twice, first in line {first}"))
                continue
            self.lines[(*loc, key)] = here
            made[key] = self.value(value_node, (*loc, key))
        return made

    def _number(self, value: Any, where: str, loc: Loc) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.append(Fault(where, f"{_dotted(loc)}needs a finite number, got {value}"))
            return 0.0
        return value


def _dotted(loc: Loc) -> str:
    """Give 'chain[1].prune: ', or nothing for the top."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    return f"{text}: " if text else ""


def _fault(lines: Mapping[Loc, str], loc: Loc, what: str) -> Fault:
    known = loc
    while known not in lines and known:
        known = known[:-1]
    return Fault(lines[known], f"{_dotted(loc)}{what}")


def _line_number(fault: Fault) -> tuple[bool, int]:
    number = fault.where.rpartition(":")[2]
    return (False, int(number)) if number.isdigit() else (True, 0)


def _parse(path: str, text: str, reading: _Reading) -> Any:
    try:
        node = yaml.compose(text, Loader=_Resolver)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise refuse(f"{path}:{line}", f"not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise refuse(path, f"not YAML: {str(error).splitlines()[0]}") from error
    if node is None:
        raise refuse(path, "is empty; a recipe has name, data, model and chain")
    return reading.value(node, ())


def _override(content: Any, text: str, reading: _Reading) -> None:
    """Put one `--set a.b=c` into the content; what was written below that key is forgotten."""
    where = f"--set {text}"
    key, equals, value = text.partition("=")
    loc: Loc = tuple(int(p) if p.isdigit() else p for p in re.split(r"\.|\[|\]\.?", key) if p)
    if not equals or not loc:
        raise refuse(where, "needs the form key.key=value, as in --set seed=3 or --set chain.0.distill.epochs=5")
    parsed = _Reading(where)
    new = _parse(where, value, parsed) if value.strip() else None
    target = content
    for depth, part in enumerate(loc[:-1]):
        if isinstance(target, list):
            if not isinstance(part, int) or part >= len(target):
                raise refuse(where, f"{_dotted(loc[:depth])}has {len(target)} items, counted from 0; none is '{part}'")
            target = target[part]
        elif isinstance(target, dict):
            if target.get(str(part)) is None:
                target[str(part)] = {}
            target = target[str(part)]
        else:
            raise refuse(where, f"{_dotted(loc[:depth])}is not a mapping; it holds {target!r}")
    last = loc[-1]
    if isinstance(target, list) and isinstance(last, int) and last < len(target):
        target[last] = new
    elif isinstance(target, dict):
        target[str(last)] = new
    else:
        raise refuse(where, f"{_dotted(loc[:-1])}has no place '{last}'")
    for known in [known for known in reading.lines if known[: len(loc)] == loc]:
        del reading.lines[known]
    for depth in range(len(loc) + 1):
        reading.lines.setdefault(loc[:depth], where)


def read(path: Path, overrides: tuple[str, ...] = ()) -> RecipeFile:
    """Read a recipe; raises `UserError` with every fault in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise refuse(path, "is not a text file") from error
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    reading = _Reading(str(path))
    content = _parse(str(path), text, reading)
    if not isinstance(content, dict):
        raise refuse(f"{path}:1", "is not a recipe: it needs keys such as name, data, model and chain")
    for override in overrides:
        _override(content, override, reading)
    faults = list(reading.faults)
    recipe = None
    try:
        recipe = Recipe.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        faults += _readable(error, content, reading.lines)
    if isinstance(content.get("chain"), list):
        faults += _chain_faults(content["chain"], reading.lines)
    if recipe is not None and not faults:
        faults += [_fault(reading.lines, loc, what) for loc, what in _sense(recipe)]
    if faults or recipe is None:
        raise UserError(sorted(dict.fromkeys(faults), key=_line_number))
    return RecipeFile(str(path), recipe, reading.lines)


def _chain_faults(chain: list[Any], lines: Mapping[Loc, str]) -> Iterator[Fault]:
    for index, link in enumerate(chain):
        named = [key for key in link if key in Link.model_fields] if isinstance(link, dict) else []
        if isinstance(link, str) and link in Link.model_fields:
            yield _fault(lines, ("chain", index), f"needs its keys: '- {link}: {{}}'")
        elif isinstance(link, dict) and (len(link) > 1 or (not link)):
            yield _fault(lines, ("chain", index), "needs exactly one stage; begin each with its own '-'")
        elif len(named) == 1 and link[named[0]] is None:
            yield _fault(lines, ("chain", index, named[0]), "needs its keys, or {} for all defaults")


def _sense(recipe: Recipe) -> Iterator[tuple[Loc, str]]:
    """Give the faults that need no network: each key is right, but they do not go together."""
    model = recipe.model
    if model.checkpoint is not None and not Path(model.checkpoint).is_file():
        yield ("model", "checkpoint"), f"no such file '{model.checkpoint}'"
    if model.checkpoint is not None and model.train is not None:
        yield ("model", "train"), "there is a checkpoint as well; give one of them"
    if model.checkpoint is None and model.train is None:
        yield ("model",), "needs a 'checkpoint' with weights, or 'train' to make them"
    if model.arch is None and (model.checkpoint is None or not model.checkpoint.endswith(".safetensors")):
        yield ("model",), "needs 'arch', the architecture of the weights"
    if model.arch is not None:
        try:
            resolve(model.arch, model.arguments())
        except StageError as error:
            yield ("model", error.key or "arch"), error.what
    for index, link in enumerate(recipe.chain):
        stage = link.stage
        if isinstance(stage, Distill):
            yield from (((*("chain", index, "distill"), *loc), what) for loc, what in _student_faults(stage, index, model))


def _student_faults(stage: Distill, index: int, model: Model) -> Iterator[tuple[Loc, str]]:
    if stage.student == "same":
        if index == 0 and "student" not in stage.model_fields_set:
            yield (), "needs a 'student' when it comes first: {arch, depth, width}, or 'same' to train the same network"
        return
    arch = stage.student.arch or model.arch
    if arch is not None and (stage.student.arch or index == 0):
        incoming = model.arguments() if arch == model.arch else {}
        try:
            resolve(arch, {**incoming, **stage.student.arguments()})
        except StageError as error:
            yield ("student", error.key or "arch"), error.what


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


def _readable(error: ValidationError, content: Any, lines: Mapping[Loc, str]) -> Iterator[Fault]:
    for details in error.errors():
        loc = tuple(part for part in details["loc"] if part not in _BRANCHES)
        if _written_as_stage_name(content, loc, details):
            continue
        if details["type"] == "extra_forbidden":
            yield Fault(lines.get(loc, lines[()]), f"{_dotted(loc[:-1])}{_unknown(loc, details)}")
        elif details["type"] == "missing":
            yield _fault(lines, loc[:-1], f"key '{loc[-1]}' is missing")
        else:
            yield _fault(lines, loc, _what(details))


# A union's tried branches turn up in pydantic's locations; they are no keys of the recipe.
_BRANCHES = frozenset({"literal['same']", "Student", "constrained-int", "literal[32]", "int"})


def _written_as_stage_name(content: Any, loc: Loc, details: ErrorDetails) -> bool:
    """Tell whether `_chain_faults` says it better, or it is the branch of a union that was not meant."""
    if len(loc) == 2 and loc[0] == "chain" and isinstance(details["input"], str) and details["input"] in Link.model_fields:  # noqa: PLR2004
        return True
    is_mapping = isinstance(details["input"], dict)
    tried_same = details["type"] == "literal_error" and "literal['same']" in details["loc"]
    return (tried_same and (is_mapping or not isinstance(details["input"], str))) or (
        details["type"] == "literal_error" and "literal[32]" in details["loc"]
    )


def _unknown(loc: Loc, details: ErrorDetails) -> str:
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
    kind, context, given = details["type"], details.get("ctx", {}), details["input"]
    shown = "a mapping" if isinstance(given, dict) else "a list" if isinstance(given, list) else repr(given)
    if given is None:
        shown = "nothing"
    if kind in _NEEDS:
        return f"needs {_NEEDS[kind]}, got {shown}"
    if kind == "literal_error":
        return f"needs {context['expected']}, got {shown}"
    for bound, words in (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than")):
        if bound in context:
            return f"needs {words} {context[bound]}, got {shown}"
    if kind == "string_pattern_mismatch":
        return f"{shown} does not fit; it needs the form {context['pattern']}"
    if kind == "too_short":
        return "needs at least one item"
    return f"{details['msg'][0].lower()}{details['msg'][1:]}, got {shown}"


def resolved(recipe: Recipe) -> str:
    """Give the recipe as YAML with every default written out."""
    content = recipe.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


def schema() -> dict[str, Any]:
    """Give the JSON Schema of recipes, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}
