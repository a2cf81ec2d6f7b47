"""Checkpoints of both formats, and weights from elsewhere: bytes, the file's own header, what it says, pickles, zips."""

from __future__ import annotations

import io
import json
import random
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mutations import HOSTILE, content_of, mutated, write
from safetensors.torch import save as to_safetensors

from hostile_cases.case import Case, Entry, Stock, dice_of, draw
from hostile_cases.damage import as_json, changed_json, damaged, values

FIXTURES = Path(__file__).parents[2] / "fixtures"
NET = """\
from torch import nn

def net(**_):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
"""
RECIPE = """\
name: elsewhere
device: cpu
data: {source: digits, limit: 64}
model: {arch: "file:net.py:net", checkpoint: PATH}
chain: [{quantize: {weights: 8, activations: 8, epochs: 1}}]
"""
OWN = """\
name: own
device: cpu
data: {source: digits, limit: 64}
model: {checkpoint: it.safetensors}
chain: [{prune: {ratio: 0.3, epochs: 1, batch: 32}}, {quantize: {weights: 2, activations: 2, epochs: 1, batch: 32}}]
"""
WEIGHTS = ("it.pt", "it.safetensors", "it.pth")


def case(number: int, by: int, stock: Stock) -> Case:
    """Return a case of the group."""
    dice = dice_of("checkpoints", number, by)
    kind = dice.random()
    if kind < 0.4:
        return _elsewhere(dice, number, by)
    content = _checkpoint(dice, number, by, stock)
    if kind < 0.45:
        files: dict[str, Entry] = {"it.safetensors": content, "recipe.yaml": stock.finished["recipe.yaml"]}
        return Case(files, ("predict-exit", "it.safetensors", "--data", "recipe.yaml", "--profile", "cortex-m7"))
    if kind < 0.6:
        return Case({"it.safetensors": content}, ("it.safetensors",), "answers")
    if kind < 0.65:
        path = "runs/tiny/model.safetensors"
        return Case(
            {**_run(stock), path: content}, dice.choice((("inspect", path), ("report", "runs/tiny"), ("cache",)))
        )
    if kind < 0.8:
        recipe = OWN.replace("1, batch", f"1{dice.choice(('', ', layers: {a: {bits: 2}}'))}, batch").encode()
        return Case({"it.safetensors": content, "recipe.yaml": recipe}, ("plan", "recipe.yaml"))
    return Case({"it.safetensors": content}, ("inspect", "it.safetensors"))


def _run(stock: Stock) -> dict[str, Entry]:
    return {name: content for name, content in stock.finished.items() if "/.cache/" not in name}


@cache
def _formats() -> list[Path]:
    return sorted(FIXTURES.glob("*/resnet20-*.safetensors"))


def _checkpoint(dice: random.Random, number: int, by: int, stock: Stock) -> bytes:
    kind = dice.random()
    source = stock.checkpoint if dice.random() < 0.7 else dice.choice(_formats())
    if kind < 0.4:
        return damaged(source.read_bytes(), dice)
    if kind < 0.7:
        return _other_header(source.read_bytes(), dice, number, by)
    place = stock.folder / "changed.safetensors"
    value = draw(values, "checkpoints", number, by)
    content = content_of(stock.checkpoint)
    for _ in range(dice.choice((1, 1, 2))):
        content = mutated(content, dice, ("spec",) if dice.random() < 0.5 else ("spec", "graph"), value) or content
    try:
        write(place, content, stock.checkpoint)
    except (ValueError, TypeError, KeyError, AttributeError):  # cannot be sealed: e.g. its graph is no mapping now
        return _other_header(source.read_bytes(), dice, number, by)
    return place.read_bytes()


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a safetensors file's header and its tensors."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: Any, tensors: bytes, dice: random.Random) -> bytes:
    text = as_json(header)
    length = len(text) + (dice.choice((-1, 1, 8, 1 << 20, 1 << 62)) if dice.random() < 0.1 else 0)
    return max(0, length).to_bytes(8, "little") + text + tensors


def _other_header(content: bytes, dice: random.Random, number: int, by: int) -> bytes:
    """Change the file's own header, or what coc says in it; the checksum is left as it is."""
    header, tensors = _split(content)
    value = draw(values, "checkpoints-header", number, by) if by else dice.choice(HOSTILE)
    if "__metadata__" in header and dice.random() < 0.5:
        said = header["__metadata__"].get("coc", "{}")
        odd = (
            as_json(changed_json(json.loads(said), dice, value))
            if dice.random() < 0.7
            else damaged(said.encode(), dice)
        )
        header["__metadata__"]["coc"] = odd.decode("utf-8", "replace")
    else:
        header = changed_json(header, dice, value)
    return _joined(header, tensors, dice)


def with_other_nodes() -> bytes:
    """Return a checkpoint with a right checksum, one of whose layers lacks an argument."""
    source = FIXTURES / "format-2-torch-2.14/resnet20-float.safetensors"
    content = content_of(source)
    modules = content["spec"]["graph"]["modules"]
    name = next(name for name, one in modules.items() if one["kind"] == "Conv2d")
    del modules[name]["arguments"]["in_channels"]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "it.safetensors", content, source)
        return (Path(folder) / "it.safetensors").read_bytes()


def mutant(content: bytes, dice: random.Random) -> bytes:
    """Return a checkpoint with bytes wrong anywhere, in its header, or another header; the checksum is left."""
    kind = dice.random()
    if kind < 0.4:
        return damaged(content, dice)
    length = 8 + int.from_bytes(content[:8], "little")
    if kind < 0.6:
        return damaged(content[:length], dice) + content[length:]
    if kind < 0.8:
        return content[:length] + damaged(content[length:], dice)
    return _other_header(content, dice, dice.randrange(1 << 20), 0)


@cache
def _weights() -> dict[str, torch.Tensor]:
    namespace: dict[str, Any] = {}
    exec(NET, namespace)
    torch.manual_seed(0)
    return dict(namespace["net"]().state_dict())


def _elsewhere(dice: random.Random, number: int, by: int) -> Case:
    """Plan a recipe that takes its weights from such a file."""
    name = dice.choice(WEIGHTS)
    entry = dice.random() < 0.2
    where = f"{{path: {name}, entry: {dice.choice(('model', 'ema.x', 'state', '0'))}}}" if entry else name
    content = _foreign(name, dice, number, by)
    files: dict[str, Entry] = {
        "net.py": NET.encode(),
        name: content,
        "recipe.yaml": RECIPE.replace("PATH", where).encode(),
    }
    return Case(files, ("plan", "recipe.yaml"))


def _foreign(name: str, dice: random.Random, number: int, by: int) -> bytes:
    weights = dict(_weights())
    kind = dice.random()
    if name.endswith("safetensors"):
        content = to_safetensors(weights, {"format": "pt"})
        return damaged(content, dice) if kind < 0.4 else _other_header(content, dice, number, by)
    saved: Any = weights
    if kind < 0.4:  # what nobody saves so: odd values among weights, wrappers in each other
        saved = changed_json(
            {"model": dict.fromkeys(weights, 0), "epoch": 3}, dice, draw(values, "pickles", number, by)
        )
        if isinstance(saved, dict) and dice.random() < 0.7:
            saved[dice.choice(("model", "state_dict", "ema", "x"))] = weights
        if dice.random() < 0.3:
            saved = {"state": {"model": {"net": saved}}, "ema": saved}
    elif kind < 0.5:
        odd = dice.choice(
            (
                torch.zeros(0),
                torch.zeros(1, dtype=torch.complex64),
                torch.full((4,), float("nan")),
                torch.zeros(1).expand(1 << 20),
                torch.zeros(4, dtype=torch.float8_e4m3fn),
                torch.tensor(1),
            )
        )
        weights[dice.choice(sorted(weights))] = odd
    buffer = io.BytesIO()
    torch.save(saved, buffer, _use_new_zipfile_serialization=dice.random() < 0.7)
    content = buffer.getvalue()
    if kind < 0.55:
        return content
    return _other_pickle(content, dice) if kind < 0.75 and content.startswith(b"PK") else damaged(content, dice)


def _other_pickle(content: bytes, dice: random.Random) -> bytes:
    """Damage one entry of an archive, and pack it whole again."""
    source, buffer = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    chosen = dice.choice(source.namelist())
    with zipfile.ZipFile(buffer, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name in source.namelist():
            body = source.read(name)
            if name == chosen and dice.random() < 0.2:
                continue
            archive.writestr(name, damaged(body, dice) if name == chosen or name.endswith("data.pkl") else body)
    return buffer.getvalue()
