"""The checkpoint: one safetensors file that holds spec, tensors and lineage. No pickle, nothing to replay.

Quantised weights are stored as packed integer codes with their scales, the scales of all edges as one tensor. The
file holds nothing that differs between equal runs: no time, no host, no path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from coc_cli.errors import StageError, refuse
from coc_cli.files.atomic import write_atomically
from coc_cli.files.run_directory import RESULT
from coc_cli.frozen import Frozen
from coc_cli.nets.architectures import fingerprint, is_code, resolve
from coc_cli.nets.names import edge_path, is_edge, layer_at, module_path
from coc_cli.nets.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network

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
    """What a checkpoint says before a tensor is read."""

    format: Literal[1]
    spec: Spec
    code: str = ""  # sha256 of the user's file that makes the architecture
    lineage: tuple[Ancestor, ...]


def _metadata(spec: Spec, lineage: tuple[Ancestor, ...]) -> str:
    content = {
        "format": FORMAT,
        "spec": spec.model_dump(mode="json", exclude_defaults=True),
        **({"code": fingerprint(spec.arch)} if is_code(spec.arch) else {}),
        "lineage": [ancestor.model_dump(mode="json") for ancestor in lineage],
    }
    return json.dumps(content, separators=(",", ":"))


def raw_header(path: Path) -> dict[str, Any]:
    """Read the header of a safetensors file, without torch; raises `UserError` if it is none."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not len("{}") <= length <= min(LARGEST_HEADER_BYTES, path.stat().st_size - 8):
                raise refuse(path, "not a safetensors file, or cut short")
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            size = 8 + length + max(ends, default=0)
    except OSError as error:
        raise refuse(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise refuse(path, "not a safetensors file: its header is not what the format says") from error
    if path.stat().st_size != size:
        raise refuse(path, "damaged: its size is not what its header says; copy or make it again")
    return header


def is_checkpoint(path: Path) -> bool:
    """Tell whether a safetensors file is a checkpoint of coc, not just tensors; raises `UserError` if unreadable."""
    return METADATA_KEY in raw_header(path).get("__metadata__", {})


def checkpoint_at(target: Path) -> Path:
    """Give the checkpoint that a path names: the result of a run directory, or the file itself; raises `UserError`."""
    if target.is_dir():
        if not (target / RESULT).is_file():
            raise refuse(target, f"has no {RESULT}; run coc compress to its end first")
        return target / RESULT
    if not target.is_file():
        raise refuse(target, "no such run directory or checkpoint")
    return target


def read_header(path: Path, *, trust_code: bool = False) -> Header:
    """Read and check spec and lineage without importing torch; raises `UserError`.

    So it does, unless `trust_code`, where making the architecture would run a Python file that the checkpoint names.
    """
    if path.suffix in PICKLE_SUFFIXES:
        raise refuse(path, "a pickle is not a coc checkpoint; name it under model.checkpoint in a recipe instead")
    header = raw_header(path)
    if METADATA_KEY not in header.get("__metadata__", {}):
        raise refuse(path, "holds tensors but no coc spec; name it under model.checkpoint in a recipe instead")
    text = header["__metadata__"][METADATA_KEY]
    try:
        read = Header.model_validate_json(text)
        resolve(read.spec.arch, read.spec.args)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("format",):
            raise refuse(
                path, f"has format {first['input']!r}, this coc reads {FORMAT}; use the coc that wrote it"
            ) from error
        raise refuse(path, f"damaged header: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except StageError as error:
        raise refuse(path, f"damaged header: {error.what}") from error
    if is_code(read.spec.arch) and not trust_code:
        file = read.spec.arch.split(":")[1]
        raise refuse(path, f"its architecture is code in '{file}'; pass --trust-code (trust_code=True) if you trust it")
    if is_code(read.spec.arch):
        _check_code(path, read)
    return read


def _check_code(path: Path, read: Header) -> None:
    try:
        found = fingerprint(read.spec.arch)
    except StageError as error:
        raise refuse(path, error.what) from error
    if found != read.code:
        file = read.spec.arch.split(":")[1]
        raise refuse(path, f"'{file}' is not the file that this network was made with; put that back, or run coc again")


def _stored(network: Network) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Give name, type and shape of each stored tensor, and its bytes."""
    from coc_cli.nets.lsq import packed_bytes

    stored: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for name, tensor in _kept(network).items():
        layer = layer_at(name).removesuffix(".weight")
        if layer in network.spec.bits and name.endswith(".weight"):
            size = packed_bytes(tensor.numel(), network.spec.bits[layer])
            stored[f"{name}.codes"] = ("U8", (size,), size)
        else:
            stored[name] = ("F32", tuple(tensor.shape), tensor.numel() * 4)
    if network.spec.edges:
        stored["edges"] = ("F32", (len(network.spec.edges),), 4 * len(network.spec.edges))
    return stored


def _kept(network: Network) -> dict[str, Tensor]:
    """Give the state that is stored under its own name: edges go together, batch counters nowhere."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not is_edge(name) and not name.endswith("num_batches_tracked")
    }


def size_bytes(spec: Spec, lineage: tuple[Ancestor, ...] = ()) -> int:
    """Give the size of the file that `save` would write, without weights."""
    from coc_cli.nets.network import build

    header: dict[str, Any] = {"__metadata__": {METADATA_KEY: _metadata(spec, lineage)}}
    offset = 0
    stored = _stored(build(spec, device="meta"))
    for name in sorted(stored, key=lambda name: (stored[name][0] != "F32", name)):  # the order of the format
        kind, shape, size = stored[name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    length = len(json.dumps(header, separators=(",", ":")))
    return 8 + (length + 7) // 8 * 8 + offset


def encode(network: Network) -> dict[str, Tensor]:
    """Give the tensors of the file, on the CPU."""
    import torch

    from coc_cli.nets import lsq

    tensors: dict[str, Tensor] = {}
    for name, tensor in _kept(network).items():
        layer = layer_at(name).removesuffix(".weight")
        value = tensor.detach().to("cpu", torch.float32).contiguous()
        if name.endswith(".weight_scale"):
            value = lsq.positive(value)
        if layer in network.spec.bits and name.endswith(".weight"):
            bits = network.spec.bits[layer]
            scale = network.layer(layer).scale_for_weight().detach().cpu()  # type: ignore[operator]
            tensors[f"{name}.codes"] = lsq.pack(lsq.codes(value, scale, bits, signed=True), bits)
        else:
            tensors[name] = value
    if network.spec.edges:
        scales = [network.get_parameter(f"{edge_path(name)}.scale").detach().cpu() for name in network.spec.edges]
        tensors["edges"] = lsq.positive(torch.stack(scales).float())
    return tensors


def save(network: Network, lineage: tuple[Ancestor, ...], path: Path) -> None:
    """Write the checkpoint, whole or not at all."""
    from safetensors.torch import save as to_bytes

    write_atomically(path, to_bytes(encode(network), {METADATA_KEY: _metadata(network.spec, lineage)}))


def load(path: Path, *, trust_code: bool = False) -> Network:
    """Rebuild a network from its file alone, in eval mode on the CPU; raises `UserError` if it cannot be.

    An architecture in a file of the user's needs `trust_code`, and that file, unchanged, where its path leads from the
    current folder.
    """
    header = read_header(path, trust_code=trust_code)
    from safetensors.torch import load_file

    from coc_cli.nets.network import build

    try:
        network = build(header.spec)
    except StageError as error:
        raise refuse(path, error.what) from error
    except (AttributeError, AssertionError, KeyError) as error:
        raise refuse(path, f"damaged spec: it does not fit its architecture: {error}") from error
    tensors = load_file(path)
    expected = {name: shape for name, (_, shape, _) in _stored(network).items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise refuse(path, f"its tensors do not fit its spec, first at '{odd[0]}'")
    _fill(network, tensors)
    return network.eval()


def _fill(network: Network, tensors: dict[str, Tensor]) -> None:
    import torch

    from coc_cli.nets import lsq
    from coc_cli.nets.layers import QuantizedWeight

    for index, name in enumerate(network.spec.edges):
        tensors[f"{edge_path(name)}.scale"] = tensors["edges"][index]
    tensors.pop("edges", None)
    for layer, bits in network.spec.bits.items():
        module = network.layer(layer)
        assert isinstance(module, QuantizedWeight)
        packed = tensors.pop(f"{module_path(layer)}.weight.codes")
        module.weight_scale.data.copy_(tensors[f"{module_path(layer)}.weight_scale"])
        values = lsq.unpack(packed, bits, tuple(module.weight.shape)) * module.scale_for_weight().detach()
        tensors[f"{module_path(layer)}.weight"] = values
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensors[name] = torch.zeros_like(value)
    network.load_state_dict(tensors)


def through_file(network: Network) -> Network:
    """Give load(save(network)): what a stage hands on, also inside one process."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        save(network, (), Path(folder) / "model.safetensors")
        return load(Path(folder) / "model.safetensors", trust_code=True)
