"""YAML as written: plain values, and for every key the line on which it stands."""

from __future__ import annotations

import math
import re
from typing import Any, TypeAlias

import yaml

from coc_cli.errors import Fault, user_error
from coc_cli.files import budget

SET = "--set "  # the place of what came from the command line begins so, and has no line number
TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
Loc: TypeAlias = tuple[str | int, ...]  # ("chain", 1, "quantize", "weights")


class _TooMany(yaml.MarkedYAMLError):
    """A document holds more than coc reads."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars: `on` is text, `1e-3` is a number, a date is text. Nodes are counted, and bounded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._sizes: dict[int, int] = {}  # of each node that is complete, by its id

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; an alias counts as all that it stands for."""
        before, is_alias = self._nodes, self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self._sizes:
            raise RecursionError
        self._nodes += self._sizes[id(node)] if is_alias else 1
        self._sizes[id(node)] = self._nodes - before
        if self._nodes > budget.YAML_NODES:
            mark = node.start_mark if node else None
            what = f"holds more than {budget.YAML_NODES:,} values, each alias counted as what it stands for"
            raise _TooMany(problem=what, problem_mark=mark)
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), [*_first, ""])


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read back as the same text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def written(content: Any, *, short: bool = False) -> str:
    """Return content as YAML that `YamlSource` reads back equal; `short` writes innermost lists on one line."""
    style = None if short else False
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=style)


def dotted(loc: Loc) -> str:
    """Format a place as messages name it: 'chain[1].prune'."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def _problem(error: yaml.MarkedYAMLError) -> str:
    return str(error.problem) if isinstance(error, _TooMany) else f"not YAML: {error.problem}"


class YamlSource:
    """A document's content, the line of each key, and what is wrong with the text itself."""

    def __init__(self, path: str, text: str) -> None:
        """Read the text; raises `UserError` if it is not YAML at all."""
        self.path = path
        self.lines: dict[Loc, str] = {}
        self.faults: list[Fault] = []
        self.remarks: dict[Loc, str] = {}  # at the end of every fault at that key
        try:
            self._read(text)
        except RecursionError as error:
            raise user_error(path, "is nested too deeply, or an alias holds itself") from error
        except ValueError as error:
            raise user_error(path, f"holds a value that cannot be read: {str(error).splitlines()[0]}") from error

    def _read(self, text: str) -> None:
        path = self.path
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise user_error(f"{path}:{mark.line + 1 if mark else 1}", _problem(error)) from error
        except yaml.YAMLError as error:
            raise user_error(path, f"not YAML: {str(error).splitlines()[0]}") from error
        self.lines[()] = path if path.startswith(SET) else f"{path}:1"
        self.content: Any = self._value(node, ()) if node is not None else None

    def fault(self, loc: Loc, what: str) -> Fault:
        """Return a fault at a key, or at the nearest key above it that was written."""
        what += self.remarks.get(loc, "")
        return Fault(self.where(loc), f"{dotted(loc)}: {what}" if loc else what)

    def where(self, loc: Loc) -> str:
        """Return where a key, or the nearest one above it that was written, stands: file and line, or `--set`."""
        nearest = loc
        while nearest not in self.lines:
            nearest = nearest[:-1]
        return self.lines[nearest]

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        self.lines.setdefault(loc, self._line(node))
        if (tag := node.tag.removeprefix("tag:yaml.org,2002:")) not in TAGS:
            self.faults.append(self.fault(loc, f"has the tag '{tag[:40]}', which means nothing here; leave it out"))
            return None
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*loc, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        value = _scalar(node)
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            self.faults.append(self.fault(loc, "holds characters that are no text"))
            return ""
        if isinstance(value, float) and not math.isfinite(value):
            self.faults.append(self.fault(loc, f"needs a finite number, got {node.value}"))
            return 0.0
        return value

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode) or key == "<<":
                what = "merge keys are not supported; write the keys out" if key == "<<" else "a key must be plain text"
                self.faults.append(self.fault(loc, what))
                continue
            if key in mapping:
                first = self.lines[(*loc, key)].rpartition(":")[2]
                what = f"key '{key}' is given twice, first in line {first}"
                self.faults.append(Fault(self._line(key_node), f"{dotted(loc)}: {what}" if loc else what))
                continue
            self.lines[(*loc, key)] = self._line(key_node)
            mapping[key] = self._value(value_node, (*loc, key))
        return mapping

    def _line(self, node: yaml.Node) -> str:
        return self.path if self.path.startswith(SET) else f"{self.path}:{node.start_mark.line + 1}"

    def override(self, text: str) -> None:
        """Apply one `--set a.b=c` to the content; raises `UserError` if there is no such place."""
        where = f"{SET}{text}"
        key, equals, value = text.partition("=")
        loc: Loc = tuple(
            int(part) if part.isascii() and part.isdigit() else part for part in re.split(r"[.\[\]]+", key) if part
        )
        if not equals or not loc:
            raise user_error(
                where, "needs the form key.key=value, as in --set seed=3 or --set chain.0.distill.epochs=5"
            )
        target = self.content
        for depth, part in enumerate(loc):
            _check_place(target, part, loc[:depth], where)
            if depth == len(loc) - 1:
                parsed = YamlSource(where, value)
                self.faults += parsed.faults
                target[part] = parsed.content
            elif isinstance(target, dict) and target.get(part) is None:
                target[part] = {}
            target = target[part]
        self.lines = {place: line for place, line in self.lines.items() if place[: len(loc)] != loc}
        for depth in range(1, len(loc) + 1):
            self.lines.setdefault(loc[:depth], where)


def _check_place(target: Any, part: str | int, above: Loc, where: str) -> None:
    name = dotted(above) or "the recipe"
    if isinstance(target, list) and not (isinstance(part, int) and part < len(target)):
        raise user_error(where, f"{name} has {len(target)} items, counted from 0; none is '{part}'")
    if not isinstance(target, list | dict) or (isinstance(target, dict) and not isinstance(part, str)):
        raise user_error(where, f"{name} has no place '{part}'")


def _scalar(node: yaml.Node) -> Any:
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text
