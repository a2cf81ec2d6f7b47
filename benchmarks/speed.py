"""What exports of final shapes cost in time: python benchmarks/speed.py FOLDER OUT, on an idle machine.

Networks of CIFAR's size with untrained weights and scales calibrated on noise, the whole path: ResNet-34 of width 64 in
float32, and ResNet-18 pruned to half of its MACs, w48 w2a3, w32 w4a4 and w16 w8a8, padded, not portable. `coc bench`
times their exports; what follows is timed here in one process by turns: the file that stops against all heads in one
graph, leaving at exit 0 against a file of the first segment alone. Only ratios of CPU time mean anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coc_cli.data.images import Split
from coc_cli.nets.architectures import resolve
from coc_cli.nets.checkpoint import save
from coc_cli.nets.network import Network, build, fresh
from coc_cli.nets.precision import LayerBits, Precision, with_precision
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.nets.slicing import sliced
from coc_cli.nets.spec import ExitRule, Spec
from coc_cli.profiling.machine import processor_name
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.padding import padded
from coc_cli.runtime.writers.onnx import opened
from coc_cli.runtime.writers.onnx_model import OnnxForm, batched, unsigned_layers, whole
from coc_cli.stages.channel_selection import SelectionSettings, choose_channels
from coc_cli.stages.early_exit import EarlyExit

SHAPES = {"w48-w2a3": (48, 2, 3), "w32-w4a4": (32, 4, 4), "w16-w8a8": (16, 8, 8)}
TARGETS = {"w48-w2a3": 22.0, "w32-w4a4": 40.0, "w16-w8a8": 95.0}
ROUNDS, SECONDS = 40, 60


def untrained(arch: str, width: int) -> Network:
    torch.manual_seed(0)
    spec = Spec(
        arch=arch,
        args=resolve(arch, {"width": width}),
        input_shape=(3, 32, 32),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        labels=tuple("0123456789"),
    )
    return fresh(spec)


def rounded(network: Network, weights: int, activations: int) -> Network:
    images = torch.randint(0, 256, (512, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    noise = Split(images, torch.zeros(512, dtype=torch.int64))
    bits = Precision(LayerBits(8, 8), LayerBits(weights, activations), LayerBits(8, 8), 8)
    return initialize_quantizers(network, with_precision(network.spec, bits), noise, "cpu").eval()


def made(folder: Path) -> None:
    """Write all checkpoints and their exports."""
    save(untrained("cifar:resnet34", 64).eval(), (), folder / "float.safetensors")
    for name, (width, weights, activations) in SHAPES.items():
        network = untrained("cifar:resnet18", width)
        network = sliced(network, choose_channels(network, SelectionSettings(), 0.5))
        save(rounded(network, weights, activations), (), folder / f"{name}.safetensors")
    for name in ("float", *SHAPES):
        command = [sys.executable, "-m", "coc_cli", "export", folder / f"{name}.safetensors", "--out", folder / name]
        subprocess.run(command, check=True)


def turns(models: dict[str, tuple[bytes, dict[str, Any]]]) -> dict[str, float]:
    """Return the median CPU time in ms of each model, in one process and by turns."""
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    sessions = {name: (opened(content), {"image": image, **extra}) for name, (content, extra) in models.items()}
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, (session, inputs) in sessions.items():
            for repeat in range(55):
                if repeat == 5:
                    begin = time.process_time()
                session.run(None, inputs)
            found[name].append((time.process_time() - begin) / 50 * 1e3)
    return {name: float(np.median(values)) for name, values in found.items()}


def stopping() -> dict[str, Any]:
    """Return what stopping costs: three exits on w32 w8a8."""
    network = untrained("cifar:resnet18", 32)
    network = sliced(network, choose_channels(network, SelectionSettings(), 0.5))
    spec = EarlyExit(exits=3, head="pool").expect(network.spec)
    made = build(spec.with_changes(rule=ExitRule(measure="max_softmax", threshold=2.0, max_drop=0.0)))
    made.load_state_dict(network.state_dict(), strict=False)
    graph, _ = lower(rounded(made, 8, 8))
    graph = padded(graph)
    form = OnnxForm(unsigned=unsigned_layers(graph, portable=False))
    first = replace(graph, nodes=graph.stretches()[0], outputs=graph.outputs[:1], rule=None)
    never, always = ({"threshold": np.array([value], np.float32)} for value in (2.0, 0.0))
    stops = whole(graph, form).SerializeToString()
    times = turns(
        {
            "all heads in one graph": (batched(replace(graph, rule=None), form).SerializeToString(), {}),
            "the file that stops, never": (stops, never),
            "the file that stops, at exit 0": (stops, always),
            "segment 0 alone": (whole(first, form).SerializeToString(), {}),
        }
    )
    return {
        "ms": times,
        "never_by_all_heads": times["the file that stops, never"] / times["all heads in one graph"],
        "exit_0_by_segment_0": times["the file that stops, at exit 0"] / times["segment 0 alone"],
    }


def sizes(folder: Path) -> dict[str, Any]:
    """Return the bytes of the w48 w2a3 file by the bits of weights in it."""
    found = {}
    for weights in ("int8", "int4", "int2"):
        out = folder / f"w48-{weights}"
        command = [sys.executable, "-m", "coc_cli", "export", folder / "w48-w2a3.safetensors", "--weights", weights]
        subprocess.run([*command, "--out", out], check=True)
        found[weights] = (out / "model.onnx").stat().st_size
    return {
        "bytes": found,
        "int4_by_int8": found["int4"] / found["int8"],
        "int2_by_int8": found["int2"] / found["int8"],
    }


def main() -> None:
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    made(folder)
    about = {"command": "benchmarks/speed.py", "machine": processor_name(), "targets": TARGETS}
    about |= {"stopping": stopping(), "sizes": sizes(folder)}
    command = [sys.executable, "-m", "coc_cli", "bench", *(folder / name for name in ("float", *SHAPES))]
    done = subprocess.run([*command, "--seconds", str(SECONDS)], check=True, capture_output=True, text=True)
    about["bench"] = done.stdout.splitlines()
    out.write_text(json.dumps(about, indent=1) + "\n")
    print(done.stdout, json.dumps({key: about[key] for key in ("stopping", "sizes")}, indent=1))


if __name__ == "__main__":
    main()
