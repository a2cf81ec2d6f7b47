"""The files of a run as text, JSON and lines of JSON; what is absent or damaged is noted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coc_cli.files import budget, opening
from coc_cli.files.checksum import is_whole
from coc_cli.report.read.lenient import Lenient, MissingNotes
from coc_cli.report.schema.part import JsonPart


def read_text(path: Path, name: str, missing: MissingNotes) -> str | None:
    """Return a file's text; None, noted, where it cannot be read."""
    try:
        return opening.read_text(path, budget.JSON_BYTES)
    except FileNotFoundError:
        missing.say(f"{name} is not there")
    except (OSError, UnicodeDecodeError) as error:
        missing.say(f"{name} cannot be read ({type(error).__name__})")
    return None


def read_json(path: Path, model: type[JsonPart], name: str, missing: MissingNotes) -> Lenient | None:
    """Return a JSON file's mapping; None, noted, where it is absent or damaged."""
    text = read_text(path, name, missing)
    if text is None:
        return None
    if not text.strip():
        missing.say(f"{name} is empty")
        return None
    try:
        content = opening.parse_json(text)
    except (ValueError, RecursionError) as error:
        missing.say(f"{name} is damaged: {error}")
        return None
    if not isinstance(content, dict):
        missing.say(f"{name} is not a mapping")
        return None
    if not is_whole(content):
        missing.damage(name)
    return Lenient(model, content, name, missing)


def read_lines(
    path: Path, model: type[JsonPart], name: str, missing: MissingNotes, only: set[int] | None = None
) -> Iterator[Lenient]:
    """Return the mappings of a file of JSON lines, all or those at some places; damaged lines are counted and noted."""
    damaged = 0
    try:
        with opening.open_regular(path, budget.JSON_BYTES) as file:
            for index, line in enumerate(file):
                if only is not None and index not in only:
                    continue
                try:
                    content = opening.parse_json(line)
                except (ValueError, RecursionError):
                    damaged += 1
                else:
                    yield Lenient(model, content, f"{name}, line {index + 1}", missing)
    except FileNotFoundError:
        missing.say(f"{name} is not there")
    except OSError as error:
        missing.say(f"{name} cannot be read ({type(error).__name__})")
    if damaged:
        missing.say(f"{name}: {damaged} damaged line{'s' * (damaged > 1)} left out")
