"""Cases by name: what once broke the law, or would without a budget; each is made when it runs."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from functools import partial

import torch

from hostile_cases.case import PIPE, Case, Sparse
from hostile_cases.checkpoints import NET, RECIPE, with_other_nodes
from hostile_cases.images import RECIPE as OF_IMAGES
from hostile_cases.recipes import CHAIN

ENTRY = "runs/.cache/" + "0" * 32 + "/result.json"


def _recipe(text: str) -> Case:
    return Case({"recipe.yaml": text.encode()}, ("plan", "recipe.yaml"))


def _of_data(data: str, **files: bytes) -> Case:
    named = {name.replace("_", "."): content for name, content in files.items()}
    return Case({**named, "recipe.yaml": OF_IMAGES.replace("DATA", data).encode()}, ("plan", "recipe.yaml"))


def _weights(name: str, content: bytes) -> Case:
    recipe = RECIPE.replace("PATH", name).encode()
    return Case({name: content, "net.py": NET.encode(), "recipe.yaml": recipe}, ("plan", "recipe.yaml"))


def _header(text: bytes) -> bytes:
    """Return a safetensors file without tensors."""
    return len(text).to_bytes(8, "little") + text


def _values() -> bytes:
    return _header(b'{"__metadata__":[' + b"[]," * 4_000_000 + b"0]}")


def _inspected(content: bytes) -> Case:
    return Case({"it.safetensors": content}, ("inspect", "it.safetensors"))


def _directory(count: int, name: bytes = b"x.png") -> bytes:
    """Return a .zip whose directory says that it holds so many files, none of which is there."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", len(name)) + bytes(16) + name
    return (
        entry * count
        + b"PK\5\6"
        + struct.pack("<4H2IH", 0, 0, count & 0xFFFF, count & 0xFFFF, count * len(entry), 0, 0)
    )


def _other_pickle() -> bytes:
    """Return weights in the form before zips, whose storage has another key than it says."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    place = content.rindex(b"X", 0, content.rindex(b"q\x01a."))
    return content[: place + 5] + b"9" + content[place + 6 :]


def _unnamed() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/x.png", b"")
        archive.writestr("y", b"")
    content = buffer.getvalue()
    return content[: content.index(b"PK\1\2", content.index(b"PK\1\2") + 4)] + _directory(1, b"")


FOUND: dict[str, Callable[[], Case]] = {
    "recipes: a folder whose name no disk takes": partial(_of_data, f"source: 'folder:{'p' * 5000}'"),
    "recipes: weights whose name no disk takes": partial(_recipe, RECIPE.replace("PATH", "w" * 5000)),
    "recipes: a key of a hundred thousand characters": partial(_recipe, CHAIN + "x" * 100_000 + ": 1\n"),
    "recipes: a list of one class": partial(_of_data, "source: 'folder:pets', size: 8, channels: 1, classes: [a]"),
    "recipes: two billion classes": partial(
        _of_data, "source: 'folder:pets', size: 8, channels: 1, classes: 2147483647"
    ),
    "recipes: a hundred thousand classes": partial(
        _of_data, "source: 'folder:pets', size: 8, channels: 1, classes: 100000"
    ),
    "images: a class of five thousand digits": partial(
        _of_data, "source: 'csv:it.csv', label: label", it_csv=b"image,label\nrecipe.yaml," + b"9" * 5000 + b"\n"
    ),
    "images: a row of twenty million fields": lambda: _of_data(
        "source: 'csv:it.csv', label: label", it_csv=b"image,label\n" + b"," * 20_000_000
    ),
    "images: a row of fields over many lines": lambda: _of_data(
        "source: 'csv:it.csv', label: label", it_csv=b"image,label\n" + b'"\n",' * 4_000_000
    ),
    "images: an archive with a file without a name": lambda: _of_data("source: 'folder:it.zip'", it_zip=_unnamed()),
    "images: a directory of three million files": lambda: _of_data(
        "source: 'folder:it.zip'", it_zip=_directory(3_000_000)
    ),
    "checkpoints: a directory of three million files": lambda: _weights("it.pt", _directory(3_000_000)),
    "checkpoints: an old pickle that names another storage": lambda: _weights("it.pt", _other_pickle()),
    "checkpoints: a header of ninety megabytes": lambda: _inspected(_header(b'{"a":"' + b" " * 90_000_000 + b'"}')),
    "checkpoints: a header of four million values": lambda: _inspected(_values()),
    "checkpoints: the same elsewhere": lambda: _weights("it.safetensors", _values()),
    "checkpoints: a shape of mappings": partial(
        _weights, "it.safetensors", _header(b'{"a":{"dtype":"F32","shape":[{}],"data_offsets":[0,0]}}')
    ),
    "checkpoints: tensors in each other": partial(
        _weights,
        "it.safetensors",
        _header(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        )
        + bytes(4),
    ),
    "checkpoints: a graph that cannot be built": lambda: _inspected(with_other_nodes()),
    "runs: a log of a terabyte": lambda: Case(
        {"runs/tiny/log.jsonl": Sparse(1 << 40), "runs/tiny/recipe.yaml": b"{}"}, ("report", "runs/tiny")
    ),
    "runs: a network of a terabyte": lambda: Case(
        {
            f"runs/tiny/stages/00-baseline/{name}": content
            for name, content in (("model.safetensors", Sparse(1 << 40)), ("result.json", b"{}"))
        },
        ("report", "runs/tiny"),
    ),
    "runs: a log of a terabyte, in the cache": lambda: Case(
        {"runs/tiny/log.jsonl": Sparse(1 << 40), ENTRY: b"{}"}, ("cache",)
    ),
    "runs: a log that is a pipe, in the cache": lambda: Case({"runs/tiny/log.jsonl": PIPE, ENTRY: b"{}"}, ("cache",)),
    "runs: ten million values": lambda: Case(
        {"runs/tiny/report.json": b'{"stages": [' + b"[]," * 10_000_000 + b"0]}"}, ("report", "runs/tiny")
    ),
}
