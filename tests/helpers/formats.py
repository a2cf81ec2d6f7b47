"""Checkpoints as earlier versions wrote them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from coc_cli.nets.architectures import fingerprint, is_code
from coc_cli.nets.checkpoint import encode
from coc_cli.nets.network import Network


def save_format_1(network: Network, path: Path) -> None:
    """Write a checkpoint of format 1: it names its architecture, has no graph and no checksum."""
    spec = network.spec.model_dump(mode="json", exclude_defaults=True, exclude={"graph"})
    code = {"code": fingerprint(network.spec.arch)} if is_code(network.spec.arch) else {}
    header = {"format": 1, "spec": spec, **code, "lineage": []}
    save_file(encode(network), path, {"coc": json.dumps(header)})
