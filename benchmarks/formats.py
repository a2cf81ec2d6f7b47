"""Checkpoints of each format with inputs and outputs, and whether this version gives the same: the fixtures in tests.

python benchmarks/formats.py write FOLDER     a float, a quantised and a network with exits, as this version writes them
python benchmarks/formats.py check FOLDER     load whatever lies there; prints the largest difference, JSON

Run it under one version of torch and check under another, both ways.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from coc_cli.data.images import Split
from coc_cli.nets.checkpoint import load, save
from coc_cli.nets.checkpoint_header import read_header
from coc_cli.nets.exit_rules import exit_scores
from coc_cli.nets.network import Network, build, with_spec
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Link

IMAGES = 16
CHAINS: dict[str, tuple[dict[str, Any], ...]] = {
    "float": (),
    "quantised": ({"quantize": {"weights": 3, "activations": 4, "first": 8, "last": 8}},),
    "exits": (
        {"early_exit": {"exits": 2, "max_drop": 0.1}},
        {"quantize": {"weights": 2, "activations": 3}},
    ),
}
ARCHS = {
    "cifar:resnet20": ({"depth": 8, "width": 4}, 1, 8),
    "torchvision:mobilenet_v2": ({"width_mult": 0.1}, 3, 32),
}


def images_of(spec: Spec) -> torch.Tensor:
    """Return the same random uint8 images under every version."""
    count = IMAGES * spec.input_shape[0] * spec.input_shape[1] * spec.input_shape[2]
    values, state = [], 1
    for _ in range(count):
        state = (state * 1103515245 + 12345) % (1 << 31)
        values.append(state >> 16 & 255)
    return torch.tensor(values, dtype=torch.uint8).view(IMAGES, *spec.input_shape)


def network_of(arch: str, chain: tuple[dict[str, Any], ...]) -> Network:
    """Return a network through a chain, with random weights and norms and quantisers that have seen the images."""
    args, channels, size = ARCHS[arch]
    mean, std = (0.5,) * channels, (0.25,) * channels
    shape = (channels, size, size)
    spec = Spec(arch=arch, args=args, input_shape=shape, mean=mean, std=std, labels=tuple("abcd"))
    torch.manual_seed(0)
    network, images = build(spec), images_of(spec)
    network(network.normalise(images))
    for link in chain:
        expected = Link.model_validate(link).stage.expect(network.spec)
        split = Split(images, torch.arange(IMAGES) % len(spec.labels))
        network = initialize_quantizers(network, expected, split, "cpu")
    if network.spec.rule is not None:
        with torch.no_grad():
            outputs = network.eval()(network.normalise(images))
        threshold = float(
            exit_scores(outputs, "max_softmax")[0].double().sort().values[IMAGES // 2 - 1 : IMAGES // 2 + 1].mean()
        )
        rule = network.spec.rule.model_copy(update={"threshold": threshold})  # half of the images leave at the first
        network = with_spec(network, network.spec.with_changes(rule=rule))
    return network.eval()


def answers(network: Network, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what a network says of images."""
    x = network.normalise(images)
    with torch.no_grad():
        outputs, prediction = network(x), network.predict(x)
    named = {f"output.{index}": output.contiguous() for index, output in enumerate(outputs)}
    return {**named, "class": prediction.value, "exit": prediction.exit}


def write(folder: Path) -> None:
    """Write a checkpoint and what it answers for each architecture and chain."""
    folder.mkdir(parents=True, exist_ok=True)
    for arch in ARCHS:
        for name, chain in CHAINS.items():
            network, stem = network_of(arch, chain), f"{arch.partition(':')[2]}-{name}"
            images = images_of(network.spec)
            save(network, (), folder / f"{stem}.safetensors")
            made = load(folder / f"{stem}.safetensors")
            save_file({"images": images, **answers(made, images)}, folder / f"{stem}.answers")


def check(folder: Path) -> dict[str, Any]:
    """Return, for each checkpoint in a folder, how far its answers are from those that lie beside it."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        expected = load_file(path.with_suffix(".answers"))
        now = answers(load(path), expected["images"])
        off = 0.0
        for name in (name for name in expected if name.startswith("output")):
            span = float(expected[name].max() - expected[name].min())
            off = max(off, float((now[name] - expected[name]).abs().max()) / span)
        found[path.stem] = {
            "format": read_header(path).format,
            "off": off,  # of the outputs' range
            "classes": bool(torch.equal(now["class"], expected["class"])),
            "exits": bool(torch.equal(now["exit"], expected["exit"])),
            "exits_used": len(set(now["exit"].tolist())),
        }
    return found


if __name__ == "__main__":
    verb, place = sys.argv[1], Path(sys.argv[2])
    if verb == "write":
        write(place)
    else:
        print(json.dumps({"torch": torch.__version__, "checkpoints": check(place)}, indent=1))
