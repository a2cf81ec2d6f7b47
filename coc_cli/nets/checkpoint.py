"""The checkpoint: one safetensors file that holds spec, tensors and lineage. No pickle, nothing to replay.

Quantised weights are stored as packed integer codes with their scales, the scales of all edges as one tensor. The
file holds nothing that differs between equal runs: no time, no host, no path.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from coc_cli.errors import StageError, user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.nets import lsq
from coc_cli.nets.architectures import fingerprint, is_code
from coc_cli.nets.checkpoint_header import FORMAT, METADATA_KEY, Ancestor, Header, read_header
from coc_cli.nets.layers import QuantizedWeight
from coc_cli.nets.names import edge_path, is_edge, layer_at, module_path
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec


def _metadata(spec: Spec, lineage: tuple[Ancestor, ...]) -> str:
    content = {
        "format": FORMAT,
        "spec": spec.model_dump(mode="json", exclude_defaults=True),
        **({"code": fingerprint(spec.arch)} if is_code(spec.arch) else {}),
        "lineage": [ancestor.model_dump(mode="json") for ancestor in lineage],
    }
    return json.dumps(content, separators=(",", ":"))


def _stored(network: Network) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Return type, shape and bytes of each stored tensor, by name."""
    stored: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for name, tensor in _plain_state(network).items():
        layer = layer_at(name).removesuffix(".weight")
        if layer in network.spec.bits and name.endswith(".weight"):
            size = lsq.packed_bytes(tensor.numel(), network.spec.bits[layer])
            stored[f"{name}.codes"] = ("U8", (size,), size)
        else:
            stored[name] = ("F32", tuple(tensor.shape), tensor.numel() * 4)
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
    """Return the tensors of the file, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in _plain_state(network).items():
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
    """Write a checkpoint, completely or not at all.

    Args:
        network: On any device.
        lineage: The steps that led to the network, the baseline first.
        path: The file; its folder is created.
    """
    write_atomically(path, to_bytes(encode(network), {METADATA_KEY: _metadata(network.spec, lineage)}))


def load(path: Path, *, trust_code: bool = False) -> Network:
    """Rebuild a network from its file alone.

    Args:
        path: A checkpoint that `save` wrote.
        trust_code: Whether to run the user's file that defines the architecture, if one does. It must be unchanged, and
            be where its path leads from the current folder.

    Returns:
        The network, in eval mode on the CPU.

    Raises:
        UserError: If the file is not a checkpoint, is damaged, or names code that is not trusted.
    """
    return load_with(read_header(path, trust_code=trust_code), path)


def load_with(header: Header, path: Path) -> Network:
    """Rebuild the network of a file whose header has been read, as `load` does."""
    try:
        network = build(header.spec)
    except StageError as error:
        raise user_error(path, error.what) from error
    except (AttributeError, AssertionError, KeyError) as error:
        raise user_error(path, f"damaged spec: it does not fit its architecture: {error}") from error
    tensors = load_file(path)
    expected = {name: shape for name, (_, shape, _) in _stored(network).items()}
    stored = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != stored:
        odd = sorted(name for name in expected.keys() | stored.keys() if expected.get(name) != stored.get(name))
        raise user_error(path, f"its tensors do not fit its spec, first at '{odd[0]}'")
    _fill(network, tensors)
    return network.eval()


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
    network.load_state_dict(tensors)


def through_file(network: Network) -> Network:
    """Return load(save(network)): what the next stage receives, also inside one process."""
    with tempfile.TemporaryDirectory() as folder:
        save(network, (), Path(folder) / "model.safetensors")
        return load(Path(folder) / "model.safetensors", trust_code=True)
