"""Checkpoints with one thing changed in what they say."""

from __future__ import annotations

import base64
import copy
import json
import random
import zlib
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from coc_cli.nets.checkpoint_header import checksum_of
from coc_cli.nets.traced_graph import unpacked

CANARY = "canary"
CODE = f"open('{CANARY}', 'w').close()"
HOSTILE: tuple[Any, ...] = (
    f"x\n    {CODE}",
    f"__import__('os').system('touch {CANARY}')",
    f"x=({CODE})",
    f"lambda: {CODE}",
    "__class__",
    "../../etc/passwd",
    "backbone.__init__.__globals__",
    "training",
    "forward",
    "x",
    "eval",
    "os.system",
    "",
    "x" * 100_000,
    "\u0000",
    "ü\u202e",
    None,
    True,
    -1,
    0,
    1,
    2,
    7,
    64,
    1 << 20,
    1 << 31,
    1 << 40,
    10**30,
    0.5,
    -1e300,
    [],
    {},
    [[[[[[[[[[1]]]]]]]]]],
    {"text": f"bilinear'); {CODE} #"},
    {"text": "bilinear"},
    {"slice": [None, 1 << 31, None]},
    {"slice": [0, 1]},
    {"rest": True},
    {"number": "inf"},
    {"number": "nan"},
    {"call": CODE},
)


def content_of(path: Path) -> dict[str, Any]:
    """Return a checkpoint's header with its graph unpacked, without its checksum."""
    with safe_open(path, "pt") as file:
        content: dict[str, Any] = json.loads(file.metadata()["coc"])
    content["spec"]["graph"] = json.loads(unpacked(content["spec"]["graph"]))
    content.pop("sha256")
    return content


def write(path: Path, content: dict[str, Any], source: Path, *, checksum: str | None = None) -> None:
    """Write a checkpoint of that content with the tensors of another; a right checksum unless one is given."""
    with safe_open(source, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    packed = content
    if isinstance(spec := content.get("spec"), dict) and "graph" in spec:
        graph = base64.b64encode(zlib.compress(json.dumps(spec["graph"]).encode())).decode()
        packed = {**content, "spec": {**spec, "graph": graph}}
    else:
        checksum = checksum or "0" * 64  # there is no right one of a file without a graph
    kinds = {"torch.float32": "F32", "torch.uint8": "U8", "torch.int64": "I64", "torch.bool": "BOOL"}
    rows = ((n, kinds[str(t.dtype)], t.shape, t.numpy().tobytes()) for n, t in sorted(tensors.items()))
    save_file(tensors, path, {"coc": json.dumps({**packed, "sha256": checksum or checksum_of(packed, rows)})})


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a JSON content, parents too."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def mutated(
    content: dict[str, Any], dice: random.Random, under: tuple[str, ...] = ("spec", "graph"), value: Any = None
) -> dict[str, Any]:
    """Return a copy in which one thing, mostly below a place, is another: a value, a key, the order or number of items.

    A value that is not None may be put there as well as one of `HOSTILE`.
    """
    changed = copy.deepcopy(content)
    everywhere = places(changed)
    within = [path for path in everywhere if path[: len(under)] == under] or everywhere
    path = dice.choice(within if dice.random() < 0.8 else everywhere)
    parent, key = at(changed, path[:-1]), path[-1]
    kind = dice.random()
    if kind < 0.45:
        parent[key] = copy.deepcopy(dice.choice(HOSTILE) if value is None or dice.random() < 0.5 else value)
    elif kind < 0.6:
        parent[key] = copy.deepcopy(at(changed, dice.choice(within)))
    elif kind < 0.7:
        del parent[key]
    elif kind < 0.85 and isinstance(parent, list):
        dice.shuffle(parent) if dice.random() < 0.5 else parent.insert(dice.randrange(len(parent) + 1), parent[key])
    elif isinstance(parent, dict):
        name = dice.choice([text for text in HOSTILE if isinstance(text, str)])
        parent[name] = parent.pop(key) if dice.random() < 0.5 else parent[key]
    else:
        parent[key] = [parent[key]] * dice.choice((2, 1000))
    return changed
