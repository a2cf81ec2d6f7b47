"""Checkpoints as earlier versions wrote them, and as this one hands them on."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from coc_cli.nets.architectures import fingerprint, is_code
from coc_cli.nets.checkpoint import encode, load, save
from coc_cli.nets.network import Network


def save_format_1(network: Network, path: Path) -> None:
    """Write a checkpoint of format 1: it names its architecture, has no graph and no checksum."""
    spec = network.spec.model_dump(mode="json", exclude_defaults=True, exclude={"graph"})
    code = {"code": fingerprint(network.spec.arch)} if is_code(network.spec.arch) else {}
    header = {"format": 1, "spec": spec, **code, "lineage": []}
    save_file(encode(network), path, {"coc": json.dumps(header)})


def through_file(network: Network) -> Network:
    """Return load(save(network)): what the next stage receives, also inside one process."""
    with tempfile.TemporaryDirectory() as folder:
        save(network, (), Path(folder) / "model.safetensors")
        return load(Path(folder) / "model.safetensors")
