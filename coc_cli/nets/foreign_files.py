"""Files of weights that coc did not write: what kind of file it is, and which of its entries holds the weights."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor

from coc_cli.errors import Fault, UserError, did_you_mean
from coc_cli.files import budget
from coc_cli.files.opening import open_regular, zip_entries
from coc_cli.nets.checkpoint_header import raw_header

Place: TypeAlias = tuple[str | int, ...]
FaultAt: TypeAlias = Callable[[Place, str], Fault]  # makes a fault at a key of the recipe's model
HERE = ("checkpoint",)
ENTRY = (*HERE, "entry")
WRAPPERS = (  # keys under which training scripts save the weights, also one in another; then averaged ones
    *("state_dict", "model", "model_state_dict", "model_state", "net", "network", "weights", "params", "module"),
    *("checkpoint", "state"),
    *("ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "params_ema"),
)
DEEPEST = 3  # wrappers in each other
MOST_NAMED = 5  # entries
ADVICE = "save model.state_dict() with torch.save and name that file"
SUFFIX = ".safetensors"

ZIP = b"PK"
LFS = b"version https://git-lfs.github.com/spec/"
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
ONNX = re.compile(rb"\x08[\x01-\x20]\x12")  # its first fields: a version, and who wrote it
SEEN = 512  # bytes of a file that tell what it is


def kind_fault(path: Path) -> str | None:
    """Return what is wrong with a file of weights by its kind, if anything is; a few bytes are read, nothing is run."""
    try:
        with open_regular(path) as file:
            start = file.read(SEEN)
        what = _kind(path, start)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return f"{path} {what}" if what else None


def _kind(path: Path, start: bytes) -> str | None:
    """Return the same for a file by its first bytes."""
    length = int.from_bytes(start[:8], "little")
    kinds = (
        (start.startswith(LFS), "is a Git LFS pointer; run git lfs pull"),
        (WEB_PAGE.match(start), "is a web page, not weights; download the file itself"),
        (path.suffix == ".onnx" or ONNX.match(start), f"is an ONNX file, not one of PyTorch; {ADVICE}"),
        (
            path.suffix != SUFFIX and start[8:9] == b"{" and length <= budget.HEADER_BYTES,
            f"is a safetensors file; give it the ending {SUFFIX}",
        ),
        (not start, f"is not a plain state dict: it is empty; {ADVICE}"),
        (_is_text(start), f"is not a plain state dict, but a text file; {ADVICE}"),
    )
    return _zip_kind(path) if start.startswith(ZIP) else next((what for is_so, what in kinds if is_so), None)


def _zip_kind(path: Path) -> str | None:
    try:
        entries = zip_entries(path)
    except zipfile.BadZipFile:
        return "is not a plain state dict: it is cut short or damaged; copy it again"
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        return f"is a TorchScript archive, which is code; {ADVICE}"
    if not any(name.endswith("data.pkl") for name in names):
        return f"is a .zip, but not of torch.save; {ADVICE}"
    if sum(entry.file_size for entry in entries) > path.stat().st_size:  # torch.save compresses nothing
        return f"is a .zip that holds more than its own size; {ADVICE}"
    if path.suffix == SUFFIX:
        return "is a file of torch.save, not a safetensors file; give it the ending .pt"
    return None


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", errors="ignore")
    is_whole = len(text.encode()) > len(start) - 4  # a character may be cut at the end
    return is_whole and all(character.isprintable() or character.isspace() for character in text)


def tensors_in(path: Path, entry: str | None, fault: FaultAt, device: str) -> dict[str, Tensor]:
    """Return a file's tensors by name; on the device "meta" they have shapes only. Raises `UserError`.

    A pickle is read with `weights_only`: a plain state dict passes, also in an entry of one of the usual names, or in
    the one that is asked for; anything with code in it is refused.
    """
    if what := kind_fault(path):
        raise UserError([fault(HERE, what)])
    if path.suffix == SUFFIX:
        if entry is not None:
            raise UserError([fault(ENTRY, f"a {SUFFIX} file has no entries; leave it out")])
        return _in_safetensors(path, device)
    content = _asked_for(path, _unpickled(path, fault, device), entry, fault)
    found = dict(_candidates(content))
    if len(found) > 1:
        raise UserError([fault(HERE, _ambiguous(path, entry, list(found)))])
    weights = next(iter(found.values()), content)
    if not found and (others := _inner(content)):
        what = f"{path} is not a plain state dict; its weights may be under {_quoted(others)}"
        raise UserError([fault(HERE, f"{what}: write {_line(path, entry, others[0])}")])
    return _checked(path, weights, fault)


def _in_safetensors(path: Path, device: str) -> dict[str, Tensor]:
    header = raw_header(path)
    if device != "meta":
        return load_file(path)
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _unpickled(path: Path, fault: FaultAt, device: str) -> Any:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except PermissionError as error:
        raise UserError([fault(HERE, f"{path} cannot be read: {error.strerror}")]) from error
    except Exception as error:  # whatever torch raises of what it cannot read
        code = re.search(r"GLOBAL (\S+)", str(error))
        held = f"; this one holds {code[1]}, which is code: a whole model, or something saved beside it" if code else ""
        raise UserError([fault(HERE, f"{path} is not a plain state dict; {ADVICE}{held}")]) from error


def _asked_for(path: Path, content: Any, entry: str | None, fault: FaultAt) -> Any:
    """Return what is under an entry, as in 'ema' or 'checkpoint.model'; the whole content without one."""
    if entry is None:
        return content
    found, rest = content, entry
    while rest:
        keys = [key for key in _keys(found) if rest == key or rest.startswith(f"{key}.")]
        if not keys:
            names = [key for key, value in _keys(content).items() if isinstance(value, Mapping)]
            raise UserError([fault(ENTRY, f"{path} has no entry '{entry}'; {did_you_mean(entry, names)}")])
        longest = max(keys, key=len)
        found, rest = found[longest], rest.removeprefix(longest).removeprefix(".")
    return found


def _keys(content: Any) -> Mapping[str, Any]:
    items = content.items() if isinstance(content, Mapping) else ()
    return {key: value for key, value in items if isinstance(key, str) and key}


def _candidates(content: Any, depth: int = 0, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the state dicts under the usual names, each with its entry ('' for the content itself)."""
    keys = _keys(content)
    wrapped = [key for key in WRAPPERS if isinstance(keys.get(key), Mapping)] if depth < DEEPEST else []
    for key in wrapped:
        yield from _candidates(keys[key], depth + 1, f"{place}.{key}".removeprefix("."))
    if not wrapped and any(isinstance(value, Tensor) for value in keys.values()):
        yield place, content


def _inner(content: Any) -> list[str]:
    """Return the keys of a content, under other names than the usual ones, that hold tensors themselves."""
    inner = ((key, _keys(value).values()) for key, value in _keys(content).items())
    return [key for key, values in inner if any(isinstance(value, Tensor) for value in values)][:MOST_NAMED]


def _ambiguous(path: Path, entry: str | None, places: list[str]) -> str:
    return f"{path} holds weights under {_quoted(places)}; choose one: {_line(path, entry, places[-1])}"


def _line(path: Path, entry: str | None, place: str) -> str:
    """Return the line of a recipe that names one of a file's entries."""
    return f"checkpoint: {{path: {path}, entry: {f'{entry}.{place}' if entry else place}}}"


def _quoted(names: list[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} and {names[-1]!r}" if len(names) > 1 else repr(names[0])


def _checked(path: Path, content: Any, fault: FaultAt) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise UserError([fault(HERE, f"{path} is not a plain state dict; {ADVICE}")])
    for name, value in content.items():
        if not isinstance(value, Tensor) or not isinstance(name, str) or value.is_complex():
            what = f"{path} is not a plain state dict, its '{name}' is no tensor; {ADVICE}"
            raise UserError([fault(HERE, what)])
    return dict(content)
