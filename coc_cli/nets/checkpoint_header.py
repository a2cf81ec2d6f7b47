"""The header of a checkpoint: spec, lineage and checksum, read and checked before torch is imported.

Format 1 names an architecture, which is needed to load it. Format 2 carries the network's graph, and a checksum over
all that it holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from coc_cli.errors import StageError, first_line, user_error
from coc_cli.files import budget
from coc_cli.files.opening import open_regular, parse_json
from coc_cli.files.run_directory import LOG, RECIPE, RESULT, STAGES, check_places
from coc_cli.frozen import Frozen
from coc_cli.nets.architectures import fingerprint, is_code, resolve
from coc_cli.nets.spec import Spec
from coc_cli.nets.traced_graph import as_text, unpacked

FORMAT = 2
METADATA_KEY = "coc"
FOREIGN = "holds weights of PyTorch, but is no checkpoint of coc"
IN_RECIPE = "name it as model.checkpoint in a recipe, which coc init --checkpoint writes"
STARTS = (b"PK", b"\x80"), (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF")  # of torch.save, and of images


class Ancestor(Frozen):
    """One step of a lineage: what was done, with which settings, and from which inputs (a content key)."""

    stage: str
    settings: dict[str, Any]
    key: str


class Header(Frozen):
    """What a checkpoint holds beside its tensors."""

    format: Literal[1, 2]
    spec: Spec
    code: str = ""  # sha256 of the user's file that makes the architecture
    lineage: tuple[Ancestor, ...]
    sha256: str = ""  # over all the rest and the tensors; formats before 2 have none


def header_content(spec: Spec, lineage: tuple[Ancestor, ...], code: str) -> dict[str, Any]:
    """Return a header without its checksum, as JSON holds it."""
    assert spec.graph is not None
    content = spec.model_dump(mode="json", exclude_defaults=True, exclude={"graph"})
    return {
        "format": FORMAT,
        "spec": {**content, "graph": as_text(spec.graph)},
        **({"code": code} if code else {}),
        "lineage": [ancestor.model_dump(mode="json") for ancestor in lineage],
    }


def header_text(content: Mapping[str, Any], checksum: str) -> str:
    """Return a header as it stands in the file."""
    return json.dumps({**content, "sha256": checksum}, separators=(",", ":"))


def checksum_of(content: Mapping[str, Any], tensors: Iterable[tuple[str, str, Iterable[int], bytes]]) -> str:
    """Return the checksum of a header (without it) and of tensors: name, type, shape and bytes of each, by name.

    The graph counts as it is unpacked, so that how it is compressed does not matter.
    """
    spec = {**content["spec"], "graph": json.loads(unpacked(content["spec"]["graph"]))}
    canonical = json.dumps({**content, "spec": spec}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode())
    for name, kind, shape, values in tensors:
        digest.update(json.dumps([name, kind, list(shape), len(values)], separators=(",", ":")).encode())
        digest.update(values)
    return digest.hexdigest()


def raw_header(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file, read without torch; raises `UserError` if it is not one."""
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if not len("{}") <= length <= min(budget.HEADER_BYTES, path.stat().st_size - 8):
                raise user_error(path, "not a safetensors file, or cut short")
            header: dict[str, Any] = parse_json(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            size = 8 + length + max(ends, default=0)
    except OSError as error:
        raise user_error(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise user_error(path, "not a safetensors file: its header is not what the format says") from error
    if path.stat().st_size != size:
        raise user_error(path, "damaged: its size is not what its header says; copy or make it again")
    try:
        safe_open(path, "np")  # whose own checks of types, shapes and places are strict
    except SafetensorError as error:
        raise user_error(path, f"not a safetensors file: {first_line(error)}") from error
    return header


def is_checkpoint(path: Path) -> bool:
    """Return whether a safetensors file is a checkpoint of coc, not just tensors; raises `UserError` if unreadable."""
    return METADATA_KEY in raw_header(path).get("__metadata__", {})


def checkpoint_at(target: Path) -> Path:
    """Return the checkpoint that a path names: a run directory's result, or the file itself; raises `UserError`."""
    if target.is_dir():
        check_places(target)
        if not (target / RESULT).is_file():
            is_run = any((target / name).exists() for name in (RECIPE, LOG, STAGES))
            what = f"has no {RESULT}; run coc compress to its end first"
            raise user_error(target, what if is_run else "is no run directory; name one that coc compress has finished")
        return target / RESULT
    if not target.is_file():
        raise user_error(target, "no such run directory or checkpoint")
    return target


def read_header(path: Path, *, trust_code: bool = False) -> Header:
    """Return a checkpoint's header, checked without importing torch; raises `UserError`.

    A file of format 2 runs nobody's code, and its checksum is compared. One of format 1 has none; without `trust_code`
    it is refused if its architecture is a Python file that it names.
    """
    if what := _other_kind(path):
        raise user_error(path, what)
    header = raw_header(path)
    if METADATA_KEY not in header.get("__metadata__", {}):
        raise user_error(path, f"{FOREIGN}; {IN_RECIPE}")
    content = _content(path, header["__metadata__"][METADATA_KEY])
    parsed = _parsed(path, content)
    if parsed.format == 1:
        if is_code(parsed.spec.arch):
            _check_code(path, parsed, trust_code=trust_code)
        return parsed
    if content.get("sha256") != _stored_checksum(path, header, content):
        raise user_error(path, "damaged: does not match its checksum; copy or make it again")
    return parsed


def _other_kind(path: Path) -> str | None:
    """Return what a file is that cannot be a checkpoint, by its ending and its first bytes, and what to do with it."""
    try:
        with open_regular(path) as file:
            start = file.read(4)
    except OSError:
        return None
    pickles, images = STARTS
    if path.suffix in (".yaml", ".yml"):
        return "is a recipe; run coc compress on it first, and name its run directory"
    if path.suffix in (".pt", ".pth", ".th", ".ckpt") or (start.startswith(pickles) and path.suffix != ".safetensors"):
        return f"{FOREIGN}; {IN_RECIPE}"
    return "is an image; name a run directory or a checkpoint" if start.startswith(images) else None


def _content(path: Path, text: Any) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise user_error(path, "damaged header: it is no JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("spec"), dict):
        raise user_error(path, "damaged header: spec: it has none")
    if (found := content.get("format")) not in (1, FORMAT) or isinstance(found, bool):
        raise user_error(path, f"has format {found!r:.20}, this coc reads 1 to {FORMAT}; use the coc that wrote it")
    return content


def _parsed(path: Path, content: dict[str, Any]) -> Header:
    """Return the header of a file's metadata, its graph unpacked."""
    spec = content["spec"]
    if ("graph" in spec) != (content["format"] == FORMAT):
        raise user_error(path, "damaged header: spec.graph: format 2 has one, format 1 has none")
    try:
        if "graph" in spec:
            spec = {**spec, "graph": parse_json(unpacked(spec["graph"]))}
        parsed = Header.model_validate_json(json.dumps({**content, "spec": spec}))
        if parsed.format == 1:
            resolve(parsed.spec.arch, parsed.spec.args)
    except ValidationError as error:
        first = error.errors()[0]
        place, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        raise user_error(path, f"damaged header: {place[:80]}: {what}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise user_error(path, f"damaged header: spec.graph: {str(error)[:80]}") from error
    except StageError as error:
        raise user_error(path, f"damaged header: {error.what}") from error
    return parsed


def _stored_checksum(path: Path, header: dict[str, Any], content: dict[str, Any]) -> str:
    """Return the checksum of a file's content as it is."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    begin = path.stat().st_size - max(
        (e["data_offsets"][1] for n, e in header.items() if n != "__metadata__"), default=0
    )
    try:
        with open_regular(path) as file:

            def stored(name: str) -> tuple[str, str, list[int], bytes]:
                entry = header[name]
                start, end = entry["data_offsets"]
                file.seek(begin + start)
                return name, entry["dtype"], entry["shape"], file.read(end - start)

            return checksum_of(rest, (stored(name) for name in sorted(header) if name != "__metadata__"))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise user_error(path, f"damaged: {str(error)[:80]}") from error


def _check_code(path: Path, header: Header, *, trust_code: bool) -> None:
    """Raise `UserError` unless the file with the architecture's code is trusted, and the one it was made with."""
    file = header.spec.arch.split(":")[1]
    if not trust_code:
        raise user_error(
            path, f"its architecture is code in '{file}'; pass --trust-code (trust_code=True) if you trust it"
        )
    try:
        checksum = fingerprint(header.spec.arch)
    except StageError as error:
        raise user_error(path, error.what) from error
    if checksum != header.code:
        raise user_error(
            path, f"'{file}' is not the file that this network was made with; put that back, or run coc again"
        )
