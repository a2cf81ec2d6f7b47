"""The checkpoint: one safetensors file that holds spec, tensors and lineage. No pickle, nothing to replay.

The spec carries the network's graph, so loading needs no library that made it and runs nobody's code. Quantised weights
are stored as packed integer codes with their scales, the scales of all edges as one tensor. The file holds nothing that
differs between equal runs: no time, no host, no path.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from coc_cli.errors import RunError, StageError, first_line, user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.nets import lsq
from coc_cli.nets.architectures import fingerprint, is_code
from coc_cli.nets.checkpoint_header import (
    METADATA_KEY,
    Ancestor,
    Header,
    checksum_of,
    header_content,
    header_text,
    raw_header,
    read_header,
)
from coc_cli.nets.layers import QuantizedWeight
from coc_cli.nets.names import BACKBONE, edge_path, is_edge, layer_at, module_path, plain_path
from coc_cli.nets.network import Network, build, channels_last
from coc_cli.nets.shapes import check_sizes
from coc_cli.nets.spec import Spec, with_plain_paths

_KINDS = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
_NO_CHECKSUM = "0" * 64


def _header(spec: Spec, lineage: tuple[Ancestor, ...]) -> dict[str, Any]:
    return header_content(spec, lineage, fingerprint(spec.arch) if is_code(spec.arch) else "")


def _stored(network: Network) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Return type, shape and bytes of each stored tensor, by name."""
    stored: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for name, tensor in _plain_state(network).items():
        layer = layer_at(name).removesuffix(".weight")
        if layer in network.spec.bits and name.endswith(".weight"):
            size = lsq.packed_bytes(tensor.numel(), network.spec.bits[layer])
            stored[f"{name}.codes"] = ("U8", (size,), size)
        else:
            kind = _KINDS.get(tensor.dtype, "F32")
            size = tensor.numel() * (tensor.element_size() if tensor.dtype in _KINDS else 4)
            stored[name] = (kind, tuple(tensor.shape), size)
    if network.spec.edges:
        stored["edges"] = ("F32", (len(network.spec.edges),), 4 * len(network.spec.edges))
    return stored


def _plain_state(network: Network) -> dict[str, Tensor]:
    """Return the state that is stored name by name: the edges' scales are one tensor, batch counters are left out."""
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not is_edge(name) and not name.endswith("num_batches_tracked")
    }


def size_bytes(spec: Spec, lineage: tuple[Ancestor, ...] = ()) -> int:
    """Return the size of the file that `save` would write, without weights."""
    network = build(spec, device="meta")
    header: dict[str, Any] = {"__metadata__": {METADATA_KEY: header_text(_header(network.spec, lineage), _NO_CHECKSUM)}}
    offset = 0
    stored = _stored(network)
    widths = {"I64": 0, "F32": 1, "I32": 1}  # the order of the format: wide types first, then by name
    for name in sorted(stored, key=lambda name: (widths.get(stored[name][0], 2), name)):
        kind, shape, size = stored[name]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    length = len(json.dumps(header, separators=(",", ":")))
    return 8 + (length + 7) // 8 * 8 + offset


def encode(network: Network) -> dict[str, Tensor]:
    """Return the tensors of the file, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in _plain_state(network).items():
        layer = layer_at(name).removesuffix(".weight")
        kind = tensor.dtype if tensor.dtype in _KINDS else torch.float32
        value = tensor.detach().to("cpu", kind).contiguous()
        if name.endswith(".weight_scale"):
            module = network.layer(layer_at(name).removesuffix(".weight_scale"))
            value = lsq.positive(module.used(value))  # type: ignore[operator]
        if layer in network.spec.bits and name.endswith(".weight"):
            bits = network.spec.bits[layer]
            scale = network.layer(layer).scale_for_weight().detach().cpu()  # type: ignore[operator]
            tensors[f"{name}.codes"] = lsq.pack(lsq.codes(value, scale, bits, signed=True), bits)
        else:
            tensors[name] = value
    if network.spec.edges:
        quantizers = [network.edges[name] for name in network.spec.edges]
        scales = [one.used(one.scale).detach().cpu() for one in quantizers]  # type: ignore[operator]
        tensors["edges"] = lsq.positive(torch.stack(scales).float())
    return tensors


def save(network: Network, lineage: tuple[Ancestor, ...], path: Path) -> None:
    """Write a checkpoint, completely or not at all.

    Args:
        network: On any device.
        lineage: The steps that led to the network, the baseline first.
        path: The file; its folder is created.

    Raises:
        RunError: If a number is not finite; nothing is written then.
    """
    tensors, content = encode(network), _header(network.spec, lineage)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise RunError(f"'{name}' is not finite, so {path.name} is not written; a lower lr may help")
    described = ((name, _KINDS[t.dtype], t.shape, t.numpy().tobytes()) for name, t in sorted(tensors.items()))
    text = header_text(content, checksum_of(content, described))
    write_atomically(path, to_bytes(tensors, {METADATA_KEY: text}))


def load(path: Path, *, trust_code: bool = False) -> Network:
    """Rebuild a network from its file alone.

    Args:
        path: A checkpoint that `save` wrote.
        trust_code: Whether to run the user's file that defines the architecture, which only a file of format 1 needs.
            It must be unchanged, and be where its path leads from the current folder.

    Returns:
        The network, in eval mode on the CPU.

    Raises:
        UserError: If the file is not a checkpoint, is damaged, or names code that is not trusted.
    """
    return load_with(read_header(path, trust_code=trust_code), path)


def checked_header(path: Path, *, trust_code: bool = False) -> Header:
    """Return a checkpoint's header, whose network can be built and is of a bounded size; raises `UserError`."""
    header = read_header(path, trust_code=trust_code)
    _without_memory(header, path)
    return header


def load_with(header: Header, path: Path) -> Network:
    """Rebuild the network of a file whose header has been read, as `load` does.

    Its shapes are worked out first and compared with the file's; only then is memory taken.
    """
    network = _without_memory(header, path)
    entries = {name: entry for name, entry in raw_header(path).items() if name != "__metadata__"}
    in_file = {plain_path(name): name for name in entries}
    stored = {
        plain: (entries[name]["dtype"], tuple(entries[name]["shape"]))
        for plain, name in in_file.items()
        if header.format > 1 or not _is_unused(plain, network)
    }
    expected = {name: (kind, shape) for name, (kind, shape, _) in _stored(network).items()}
    if expected != stored:
        odd = sorted(name for name in expected.keys() | stored.keys() if expected.get(name) != stored.get(name))
        raise user_error(path, f"its tensors do not fit its spec, first at '{odd[0]}'")
    try:
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise user_error(path, f"damaged: {str(error)[:80]}") from error
    network = channels_last(network.to_empty(device="cpu"))
    _fill(network, {name: tensors[in_file[name]] for name in expected})
    return network.eval()


def _without_memory(header: Header, path: Path) -> Network:
    """Return a file's network on the meta device, once every tensor of a run on one image is known to be small."""
    spec = with_plain_paths(header.spec) if header.format == 1 else header.spec
    try:
        network = build(spec, device="meta")
        check_sizes(network)
    except StageError as error:
        raise user_error(path, f"damaged spec: {error.what[:200]}") from error
    except Exception as error:  # whatever torch says of what cannot be
        raise user_error(path, f"damaged spec: it does not fit its graph: {first_line(error)[:80]}") from error
    return network


def _is_unused(name: str, network: Network) -> bool:
    """Return whether a tensor of format 1 is of a part of the architecture that the network never calls."""
    path = name.removesuffix(".codes").rpartition(".")[0]
    return name.startswith(BACKBONE) and not any(module == path for module, _ in network.named_modules())


def _fill(network: Network, tensors: dict[str, Tensor]) -> None:
    """Load the tensors of a file into a network, in place: codes unpacked, edges' scales one by one."""
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
    mean, std = (torch.tensor(part).view(-1, 1, 1) for part in (network.spec.mean, network.spec.std))
    network.get_buffer("_mean").copy_(mean)
    network.get_buffer("_std").copy_(std)
    network.load_state_dict(tensors)
