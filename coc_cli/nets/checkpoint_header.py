"""The header of a checkpoint: spec and lineage, read and checked before torch is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from coc_cli.errors import StageError, user_error
from coc_cli.files.run_directory import RESULT
from coc_cli.frozen import Frozen
from coc_cli.nets.architectures import fingerprint, is_code, resolve
from coc_cli.nets.spec import Spec

FORMAT = 1
METADATA_KEY = "coc"
LARGEST_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
PICKLE_SUFFIXES = (".pt", ".pth")


class Ancestor(Frozen):
    """One step of a lineage: what was done, with which settings, and from which inputs (a content key)."""

    stage: str
    settings: dict[str, Any]
    key: str


class Header(Frozen):
    """What a checkpoint holds beside its tensors."""

    format: Literal[1]
    spec: Spec
    code: str = ""  # sha256 of the user's file that makes the architecture
    lineage: tuple[Ancestor, ...]


def raw_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file, read without torch; raises `UserError` if it is not one."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not len("{}") <= length <= min(LARGEST_HEADER_BYTES, path.stat().st_size - 8):
                raise user_error(path, "not a safetensors file, or cut short")
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            size = 8 + length + max(ends, default=0)
    except OSError as error:
        raise user_error(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise user_error(path, "not a safetensors file: its header is not what the format says") from error
    if path.stat().st_size != size:
        raise user_error(path, "damaged: its size is not what its header says; copy or make it again")
    return header


def is_checkpoint(path: Path) -> bool:
    """Return whether a safetensors file is a checkpoint of coc, not just tensors; raises `UserError` if unreadable."""
    return METADATA_KEY in raw_header(path).get("__metadata__", {})


def checkpoint_at(target: Path) -> Path:
    """Return the checkpoint that a path names: a run directory's result, or the file itself; raises `UserError`."""
    if target.is_dir():
        if not (target / RESULT).is_file():
            raise user_error(target, f"has no {RESULT}; run coc compress to its end first")
        return target / RESULT
    if not target.is_file():
        raise user_error(target, "no such run directory or checkpoint")
    return target


def read_header(path: Path, *, trust_code: bool = False) -> Header:
    """Return a checkpoint's header, checked without importing torch; raises `UserError`.

    Without `trust_code` it also raises if the architecture is a Python file that the checkpoint names.
    """
    if path.suffix in PICKLE_SUFFIXES:
        raise user_error(path, "a pickle is not a coc checkpoint; name it under model.checkpoint in a recipe instead")
    header = raw_header(path)
    if METADATA_KEY not in header.get("__metadata__", {}):
        raise user_error(path, "holds tensors but no coc spec; name it under model.checkpoint in a recipe instead")
    text = header["__metadata__"][METADATA_KEY]
    try:
        parsed = Header.model_validate_json(text)
        resolve(parsed.spec.arch, parsed.spec.args)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format",):
            raise user_error(
                path, f"has format {first['input']!r}, this coc reads {FORMAT}; use the coc that wrote it"
            ) from error
        raise user_error(path, f"damaged header: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except StageError as error:
        raise user_error(path, f"damaged header: {error.what}") from error
    if is_code(parsed.spec.arch) and not trust_code:
        file = parsed.spec.arch.split(":")[1]
        raise user_error(
            path, f"its architecture is code in '{file}'; pass --trust-code (trust_code=True) if you trust it"
        )
    if is_code(parsed.spec.arch):
        _check_code(path, parsed)
    return parsed


def _check_code(path: Path, header: Header) -> None:
    try:
        checksum = fingerprint(header.spec.arch)
    except StageError as error:
        raise user_error(path, error.what) from error
    if checksum != header.code:
        file = header.spec.arch.split(":")[1]
        raise user_error(
            path, f"'{file}' is not the file that this network was made with; put that back, or run coc again"
        )
