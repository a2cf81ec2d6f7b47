"""Run directories, made by hand or by coc: files damaged or saying other things, replaced by links, pipes and folders."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import fake_runs
import torch
from mutations import HOSTILE, at, places

from coc_cli.files.checksum import CHECKSUM, sealed
from coc_cli.learning.training_state import MAGIC
from hostile_cases.case import FOLDER, PIPE, Case, Entry, Link, Sparse, Stock, dice_of, draw
from hostile_cases.damage import as_json, changed_json, damaged, values

RUN = "runs/tiny"
FORMS = ("terminal", "html", "md", "csv", "json")
EVENTS = (
    {"event": "begin", "key": "../../canary", "index": 0},
    {"event": "epoch", "index": 1, "epoch": 1, "loss": 1.0},
)
STRAYS = (
    *(
        "stages/99-x/result.json",
        "stages/00-baseline",
        "stages/-1-y/result.json",
        "predict-exit/\x1b[2J/predict-exit.json",
    ),
    *("stages/01-\u202e/result.json", ".report.json.1", "log.jsonl", "predict-exit/it/predict-exit.json", "stages/x"),
)


def case(number: int, by: int, stock: Stock) -> Case:
    """Return a case of the group."""
    dice = dice_of("runs", number, by)
    kind = dice.random()
    if kind < 0.1:
        return _resumed(dice, number, by, stock)
    whole = _by_hand() if kind < 0.55 else stock.predicted if kind > 0.8 else _without_cache(stock.finished)
    files: dict[str, Entry] = dict(whole)
    for _ in range(dice.choice((1, 1, 2, 4))):
        _spoil(files, dice.choice(_spoilable(files)), dice, number, by)
    if dice.random() < 0.1:
        _stray(files, dice, number, by)
    verb = dice.random()
    if verb < 0.08:
        return Case(files, ("cache", *dice.choice(((), ("--max-bytes", "0", "--delete")))))
    if verb < 0.1 and kind > 0.55:
        return Case(files, ("predict-exit", RUN, "--profile", dice.choice(("cortex-m7", "nowhere"))))
    if verb < 0.2:
        return Case(files, ("report", RUN, "runs", "--format", dice.choice(FORMS), "--out", "report.html"))
    return Case(files, ("report", RUN, "--format", dice.choice(FORMS)))


def _without_cache(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if "/.cache/" not in name}


@cache
def _by_hand() -> dict[str, bytes]:
    """Return the files of a run directory with a prediction, small, its figures round."""
    with tempfile.TemporaryDirectory() as folder:
        run = fake_runs.run(Path(folder) / RUN)
        fake_runs.forecast(run / "predict-exit/cortex-m7")
        found = {path.relative_to(folder): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    return {str(name): content for name, content in found.items()}


def _resumed(dice: random.Random, number: int, by: int, stock: Stock) -> Case:
    """Compress, where a file of the run, of the cache, or a state of training is spoiled."""
    files: dict[str, Entry] = dict(stock.half if dice.random() < 0.5 else stock.finished)
    kinds = ("training.", "result.json", "model.safetensors", "log.jsonl")
    for _ in range(dice.choice((1, 1, 2))):
        names = [name for name in _spoilable(files) if dice.choice(kinds) in name and name.startswith("runs/")]
        if names:
            _spoil(files, dice.choice(names), dice, number, by)
    if dice.random() < 0.5:
        return Case(files, ("cache", *dice.choice(((), ("--max-bytes", "0", "--delete"), ("--keep-days", "0")))))
    return Case(files, ("compress", "recipe.yaml"))


def _spoilable(files: dict[str, Entry]) -> list[str]:
    return sorted(name for name, content in files.items() if isinstance(content, bytes) and name != "recipe.yaml")


def _spoil(files: dict[str, Entry], name: str, dice: random.Random, number: int, by: int) -> None:
    """Damage a file, have it say another thing, or put something else where it was."""
    content, kind = files[name], dice.random()
    assert isinstance(content, bytes)
    if kind < 0.1:
        files[name] = _another(name, dice)
    elif "training." in name and kind < 0.7:
        files[name] = _another_state(content, dice, draw(values, "states", number, by))
    elif kind < 0.4 or not name.endswith((".json", ".jsonl")):
        files[name] = damaged(content, dice)
    elif name.endswith(".jsonl"):
        files[name] = _other_lines(content, dice, draw(values, "runs", number, by))
    else:
        files[name] = _saying_otherwise(content, dice, draw(values, "runs", number, by))


def _another(name: str, dice: random.Random) -> Entry:
    """Return what is no such file: a link out of the run, a pipe, a folder, or one of a size that nobody reads."""
    up = "../" * (name.count("/") + 1)
    target = dice.choice((f"{up}canary/inner/report.json", f"{up}canary", "/dev/zero", "nowhere", Path(name).name))
    return dice.choice((Link(target), Link(target), PIPE, FOLDER, Sparse(300_000_000), Sparse(1 << 40)))


def _another_state(content: bytes, dice: random.Random, value: Any) -> bytes:
    """Return a state of training that says another thing, with a right checksum."""
    saved = torch.load(io.BytesIO(content[len(MAGIC) + 32 :]), weights_only=True)
    plain = {key: one for key, one in saved.items() if key != "key" or dice.random() < 0.1}
    place, buffer = dice.choice([one for one in places(plain) if len(one) < 4]), io.BytesIO()
    parent = at(plain, place[:-1])
    if isinstance(parent, dict) and dice.random() < 0.3:
        del parent[place[-1]]
    elif isinstance(parent, dict | list):
        parent[place[-1]] = dice.choice((value, *HOSTILE, torch.zeros(3), torch.full((4, 4), float("nan"))))
    torch.save(saved | plain if isinstance(plain, dict) else plain, buffer)
    body = buffer.getvalue()
    return MAGIC + hashlib.sha256(body).digest() + body


def _saying_otherwise(content: bytes, dice: random.Random, value: Any) -> bytes:
    """Change a JSON file; mostly it gets a right checksum, where it has one."""
    try:
        changed = changed_json(json.loads(content), dice, value)
    except (ValueError, RecursionError):
        return damaged(content, dice)
    if isinstance(changed, dict) and CHECKSUM in changed and dice.random() < 0.8:
        changed = sealed({key: one for key, one in changed.items() if key != CHECKSUM})
    return as_json(changed)


def _other_lines(content: bytes, dice: random.Random, value: Any) -> bytes:
    lines = content.splitlines()
    for _ in range(dice.choice((1, 2))):
        at = dice.randrange(len(lines) + 1)
        odd = (as_json(value), b"[" * 5000, b"", b"\0", b"9" * 5000, b"{}", *map(as_json, EVENTS))
        if at < len(lines) and dice.random() < 0.6:
            lines[at] = _saying_otherwise(lines[at], dice, value)
        else:
            lines.insert(at, dice.choice(odd))
    return b"\n".join(lines) + b"\n"


def _stray(files: dict[str, Entry], dice: random.Random, number: int, by: int) -> None:
    """Put a file, or something else, where coc does not put one."""
    name = f"{RUN}/{dice.choice(STRAYS)}"
    is_free = not any(one == name or one.startswith(f"{name}/") or name.startswith(f"{one}/") for one in files)
    if is_free:
        plain = as_json(draw(values, "strays", number, by))
        files[name] = dice.choice((plain, plain, b"", Link("../../../../canary"), PIPE, FOLDER))
