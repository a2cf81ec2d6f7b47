"""The generated parts of the documentation, from the models, the registries and `--help`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`, where NAME is a key of `PARTS`.

    python docs/generate.py            rewrites every part
    python docs/generate.py --check    fails, with one line for each file in which a part is stale
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # the package beside this file, whichever is installed

import figures  # noqa: E402
import typer  # noqa: E402
from figures import NONE, table  # noqa: E402
from pydantic import BaseModel, TypeAdapter  # noqa: E402

from coc_cli.cli import app  # noqa: E402
from coc_cli.data import sources  # noqa: E402
from coc_cli.data.settings import DataSettings  # noqa: E402
from coc_cli.data.sources.source import COMMON_KEYS  # noqa: E402
from coc_cli.dvfs.governors import GOVERNORS  # noqa: E402
from coc_cli.exits.policies import POLICIES  # noqa: E402
from coc_cli.learning.training import Training  # noqa: E402
from coc_cli.loggers import LOGGERS  # noqa: E402
from coc_cli.nets.architectures import ARCHITECTURES  # noqa: E402
from coc_cli.recipe.limits import LIMITS  # noqa: E402
from coc_cli.recipe.model import Measure, Model, PredictExit, Recipe  # noqa: E402
from coc_cli.stages import STAGES  # noqa: E402
from coc_cli.stages.taught_stage import TaughtStage  # noqa: E402

Schema = dict[str, Any]
WIDTH = 118  # columns of a help text
PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def code(value: Any) -> str:
    """Return a value as a recipe has it."""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def summary(documented: Any) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


# Keys: what a JSON Schema says of them, in words


def bounds(schema: Schema) -> str:
    """Return ' (1 to 8)', ' (more than 0, at most 0.5)', or nothing."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if None not in (low, high):
        return f" ({low:.12g} to {high:.12g})"
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
    }
    given = [f"{word} {schema[key]:.12g}" for key, word in words.items() if key in schema]
    return f" ({', '.join(given)})" if given else ""


def kind(schema: Schema) -> str:
    """Return the type of a key and its bounds."""
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(kind(member) for member in schema[union] if member.get("type") != "null")
    if "const" in schema or "enum" in schema:
        return " or ".join(map(code, schema.get("enum", [schema.get("const")])))
    if schema.get("type") == "array":
        return _list(schema)
    if schema.get("type") == "string" and "pattern" in schema:
        return f"text of the form {code(schema['pattern'])}"
    if schema.get("type") == "object" and schema.get("additionalProperties"):
        return f"mapping: name to {kind(schema['additionalProperties'])}"
    words = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}
    return words.get(schema.get("type", ""), "mapping of keys") + bounds(schema)


def _list(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(map(kind, schema['prefixItems']))}]"
    length = f" of {schema['maxItems']}" if "maxItems" in schema else ""
    return f"list{length}: {kind(schema['items'])}"


def default(schema: Schema, *, is_required: bool) -> str:
    """Return the default of a key; a dash where there is none."""
    if is_required:
        return "required"
    value = schema.get("default")
    return NONE if value is None or value == [] or isinstance(value, dict) else code(value)


def keys(model: type[BaseModel], *, without: Iterable[str] = (), notes: dict[str, str] | None = None) -> str:
    """Return the table of a model's keys, with a note behind some descriptions."""
    schema, rows = model.model_json_schema(), []
    for key, given in schema["properties"].items():
        if key not in without:
            is_required = key in schema.get("required", ())
            about = f"{meaning(model, key)} {(notes or {}).get(key, '')}".strip()
            rows.append([code(key), kind(given), default(given, is_required=is_required), about])
    return table(("key", "type (bounds)", "default", "is"), rows)


def meaning(model: type[BaseModel], key: str) -> str:
    """Return the description of a key, or of the key that it overrides, or of the model that it holds."""
    fields = [parent.model_fields[key] for parent in model.__mro__ if key in getattr(parent, "model_fields", ())]
    own = [field.description for field in fields if field.description]
    return (own + [summary(found) for _, found in inner(fields[0].annotation)] + [""])[0]


def inner(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models in an annotation, each with how its place is written below the key: '' or '.PATTERN'."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
    below = ".PATTERN" if get_origin(annotation) is dict else ""
    yield from ((below + place, model) for part in get_args(annotation) for place, model in inner(part))


def nested(model: type[BaseModel], place: str, *, without: Iterable[str] = ()) -> str:
    """Return the tables of the models below a model's keys."""
    parts = []
    for name, field in model.model_fields.items():
        for below, found in inner(field.annotation) if name not in without else ():
            here = f"{place}.{name}{below}"
            parts.append(f"\n\n`{here}`: {summary(found)}\n\n{keys(found)}{nested(found, here)}")
    return "".join(parts)


# Parts


def recipe() -> str:
    """Return the keys at the top of a recipe."""
    return keys(Recipe)


def data() -> str:
    """Return the keys of `data`, with the sources that have them where not all do."""
    notes = {"source": f"(registered: {sources.described()})"}
    for key in DataSettings.model_fields:
        takers = [code(name) for name, source in sources.SOURCES.items() if key in source.takes]
        if takers and key not in COMMON_KEYS:
            notes[key] = f"({', '.join(takers)} only)"
    return keys(DataSettings, notes=notes) + nested(DataSettings, "data")


def source_kinds() -> str:
    """Return the kinds of data sources."""
    rows = []
    for name, source in sources.SOURCES.items():
        own = [code(key) for key in source.takes if key not in COMMON_KEYS]
        rows.append([code(sources.form(name)), source.summary, ", ".join(own) or NONE])
    return table(("`data.source`", "is", "keys of its own"), rows)


def model() -> str:
    """Return the keys of `model`; those of `train` are those of every stage."""
    return keys(Model) + nested(Model, "model", without=["train"])


def architectures() -> str:
    """Return the architectures that come with coc."""
    rows = []
    for name, architecture in ARCHITECTURES.items():
        depths = architecture.allowed_depths
        few = ", ".join(map(str, depths)) if len(depths) <= 4 else f"{depths[0]}, {depths[1]}, .. {depths[-1]}"  # noqa: PLR2004
        given = architecture.defaults
        rows.append([code(name), str(given.get("depth", NONE)), few or NONE, str(given.get("width", NONE))])
    return table(("`arch`", "depth", "other depths", "width"), rows)


def shared() -> str:
    """Return the keys that stages share, and which stages have a teacher."""
    taught = [code(name) for name, stage in STAGES.items() if issubclass(stage, TaughtStage)]
    own = keys(TaughtStage, without=Training.model_fields)
    return f"{keys(Training)}\n\nStages with a teacher ({', '.join(taught)}) also have:\n\n{own}"


def stages() -> str:
    """Return every stage with the keys of its own."""
    return "\n\n".join(_stage(name, stage) for name, stage in STAGES.items())


def _stage(name: str, stage: type[BaseModel]) -> str:
    about = inspect.getdoc(sys.modules[stage.__module__]) or ""
    sample = [line.strip() for line in about.splitlines() if line.strip().startswith(f"- {name}:")]
    parents = TaughtStage.model_fields if issubclass(stage, TaughtStage) else Training.model_fields
    same = [key for key, field in parents.items() if stage.model_fields[key].annotation == field.annotation]
    text = f"### `{name}`\n\n{summary(sys.modules[stage.__module__])} {summary(stage)}"
    text += f" Example: `{sample[0]}`" if sample else ""
    return f"{text}\n\n{keys(stage, without=same)}{nested(stage, name)}"


def limits() -> str:
    """Return the limits."""
    rows = []
    for name, limit in LIMITS.items():
        schema = TypeAdapter(limit.annotation).json_schema()
        rows.append([code(name), kind(schema), schema.get("description") or summary(type(limit))])
    return table(("key", "type (bounds)", "is"), rows)


def measure() -> str:
    """Return the keys of `measure`."""
    return keys(Measure)


def loggers() -> str:
    """Return the loggers."""
    rows = [[code(name), summary(one), code(one.place) if one.place else NONE] for name, one in LOGGERS.items()]
    return table(("`logger`", "writes", "below the run directory"), rows)


def predict_exit() -> str:
    """Return the keys of `predict_exit`."""
    return keys(PredictExit)


def policies() -> str:
    """Return the exit policies."""
    rows = []
    for name, policy in POLICIES.items():
        classes = " Classes only." if policy.needs_classes else ""
        rows.append([code(name), policy.family, summary(sys.modules[policy.__module__]) + classes])
    return table(("policy", "family", "rule"), rows)


def governors() -> str:
    """Return the governors."""
    return table(("governor", "level"), ([code(one.name), summary(type(one))] for one in GOVERNORS))


def commands() -> str:
    """Return the help of every command."""
    return "\n\n".join(f"## `{name}`\n\n```text\n{help_text(command, name)}\n```" for name, command in named_commands())


def named_commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its words: 'coc', 'coc plan', 'coc profiles measure'."""
    left = [("coc", typer.main.get_command(app))]
    while left:
        name, command = left.pop(0)
        yield name, command
        left[:0] = [(f"{name} {word}", below) for word, below in getattr(command, "commands", {}).items()]


def help_text(command: Any, name: str) -> str:
    """Return what `--help` says, without the frames of a terminal."""
    command.rich_markup_mode = None
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "color": False}
    context = typer.Context(command, info_name=name, help_option_names=["-h", "--help"], **settings)
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


PARTS: dict[str, Callable[[], str]] = {
    "recipe": recipe,
    "data": data,
    "sources": source_kinds,
    "model": model,
    "architectures": architectures,
    "shared": shared,
    "stages": stages,
    "limits": limits,
    "measure": measure,
    "loggers": loggers,
    "predict_exit": predict_exit,
    "policies": policies,
    "governors": governors,
    "commands": commands,
    "results": figures.results,
    "figures": figures.figures,
    "predict_exit_figures": figures.predict_exit,
    "orders": figures.orders,
}


# Files


def documents() -> list[Path]:
    """Return the Markdown files that may hold parts."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def generated(text: str) -> str:
    """Return a document with every part as it is to be; raises `KeyError` for a part of another name."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n\n{found[3]}", text)


def stale() -> dict[Path, str]:
    """Return the documents in which a part is stale, with their new text."""
    texts = {path: path.read_text(encoding="utf-8") for path in documents()}
    new = {path: generated(text) for path, text in texts.items()}
    return {path: new[path] for path in texts if new[path] != texts[path]}


def main() -> int:
    """Write what is stale, or only name it."""
    is_check = sys.argv[1:] == ["--check"]
    found = stale()
    for path, text in found.items():
        if not is_check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'stale; run python docs/generate.py' if is_check else 'written'}")
    return int(is_check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
