"""The paths in a recipe: found from its own folder first, then from where coc runs; those of `--set` in reverse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coc_cli.data.sources import SOURCES
from coc_cli.dvfs.profile import shipped
from coc_cli.files.places import from_folder, from_here
from coc_cli.files.yaml_source import SET, Loc, YamlSource

CODE = "file:"  # an architecture whose name begins so is FUNCTION of a file: file:PATH.py:FUNCTION


@dataclass(frozen=True)
class Place:
    """A path in a recipe."""

    loc: Loc
    path: str
    before: str = ""  # what stands before the path in its key
    behind: str = ""

    def put(self, content: Any, path: Path) -> None:
        """Write another path in its place."""
        for part in self.loc[:-1]:
            content = content[part]
        content[self.loc[-1]] = f"{self.before}{path}{self.behind}"


def find_paths(source: YamlSource, folder: Path) -> None:
    """Replace each path of a recipe in that folder by where it was found; note where was looked if it was not."""
    for place in _places(source.content):
        path, is_set = Path(place.path), source.where(place.loc).startswith(SET)
        candidates = [path] if path.is_absolute() else [path, folder / path] if is_set else [folder / path, path]
        found = next((each for each in candidates if os.path.exists(each)), None)  # noqa: PTH110  (it never raises)
        if found is None and len(candidates) > 1 and not os.path.samefile(folder, "."):  # noqa: PTH121
            source.remarks[place.loc] = f" (looked for in '{folder}', where the recipe is, and in '{Path.cwd()}')"
        elif found is not None and (found != path or place.before == CODE):
            place.put(source.content, from_here(found))


def relocate(content: Any, folder: Path) -> None:
    """Rewrite the relative paths of a recipe's content, which count from where coc runs, as of a recipe in a folder."""
    for place in list(_places(content)):
        path = Path(place.path)
        if not path.is_absolute():
            place.put(content, from_folder(path, folder))


def _places(content: Any) -> Iterator[Place]:
    """Yield the paths in a recipe's content, whatever else is wrong with it."""
    data, model, predict_exit = (_mapping(content, key) for key in ("data", "model", "predict_exit"))
    kind, colon, path = str(data.get("source", "")).partition(":")
    if kind in SOURCES and SOURCES[kind].place == "PATH" and path:
        yield Place(("data", "source"), path, kind + colon)
    profile = predict_exit.get("profile")
    named: dict[Loc, Any] = {
        ("data", "root"): data.get("root"),
        ("model", "checkpoint"): model.get("checkpoint"),
        ("model", "checkpoint", "path"): _mapping(model, "checkpoint").get("path"),
        ("predict_exit", "profile"): None if profile in shipped() else profile,
    }
    yield from (Place(loc, path) for loc, path in named.items() if path and isinstance(path, str))
    for loc, arch in _architectures(content, ()):
        path, _, function = arch.removeprefix(CODE).rpartition(":")
        if arch.startswith(CODE) and path:
            yield Place(loc, path, CODE, f":{function}")


def _mapping(content: Any, key: str) -> dict[str, Any]:
    part = content.get(key) if isinstance(content, dict) else None
    return part if isinstance(part, dict) else {}


def _architectures(content: Any, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """Yield every text under a key `arch`, with its place."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        if key == "arch" and isinstance(value, str):
            yield (*loc, key), value
        yield from _architectures(value, (*loc, key))
