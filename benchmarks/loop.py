"""What the tool itself costs: coc's training loop against a tutorial's and the best written by hand, and the verbs.

Not a test; run it on a quiet machine, as in

    OMP_NUM_THREADS=1 python benchmarks/loop.py cifar10.zip --rounds 5

All is in one run, in turn: ResNet-20 of width 16, batch 128, shift and flip, SGD. The tutorial's loop reads PIL images
in a Dataset with torchvision's transforms behind a DataLoader without workers, in float32. The loop by hand holds
normalised images in memory, changes a batch at once, and runs a plain module, channels last, in the precision that coc
chooses. CPU time counts, so other work does little to it. Writes docs/benchmarks/loop.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from coc_cli.chain.result import environment
from coc_cli.data import sources
from coc_cli.data.images import Split
from coc_cli.data.settings import Augment, DataSettings
from coc_cli.learning.feeds import Live
from coc_cli.learning.loop import _one_pass, _optimizer
from coc_cli.learning.training import Batch, Training
from coc_cli.nets.arithmetic import FLOAT32, WORTH_COMPILING, Abilities, Arithmetic
from coc_cli.nets.entry import raw
from coc_cli.nets.network import Network, build
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.nets.spec import Spec
from coc_cli.report.schema.part import as_data
from coc_cli.stages.quantize import Quantize

BATCH, PAD = 128, 4
SETTINGS = Training(epochs=100, batch=BATCH, optimizer="sgd", lr=0.02)
JSON = Path(__file__).parent.parent / "docs/benchmarks/loop.json"


def ours(network: Network, train: Split, arithmetic: Arithmetic) -> Callable[[int], None]:
    """Return an epoch as every stage of coc trains."""
    optimizer, feed = _optimizer(network, SETTINGS), Live(train, Augment(shift=PAD, flip=True), 0, 10)

    def loss(net: Network, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(net(batch.inputs)[-1], batch.targets)

    def epoch(number: int) -> None:
        log: Any = lambda _: None  # noqa: E731
        _one_pass(network, feed, SETTINGS, loss, optimizer, number, seed=0, log=log, arithmetic=arithmetic)

    return epoch


def by_hand(
    network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, arithmetic: Arithmetic
) -> Callable[[int], None]:
    """Return the same work in the fastest plain way."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, nesterov=True, fused=True)
    images = F.pad(images, (PAD, PAD, PAD, PAD))
    side = images.shape[-1] - 2 * PAD

    def epoch(_: int) -> None:
        network.train()
        for index in torch.randperm(len(images)).split(BATCH):
            batch = images[index]
            if torch.rand(()) < 0.5:
                batch = batch.flip(3)
            y, x = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
            batch = batch[:, :, y : y + side, x : x + side].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16) if arithmetic.precision == "bfloat16" else nullcontext():
                output = network(batch)
            loss = F.cross_entropy(output.float(), targets[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return epoch


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Images as a tutorial has them: PIL, changed one by one."""

    def __init__(self, images: torch.Tensor, targets: torch.Tensor) -> None:
        self.images, self.targets = images.permute(0, 2, 3, 1).numpy(), targets.tolist()
        self.change = transforms.Compose([
            transforms.RandomCrop(32, padding=PAD),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.25,) * 3),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.change(Image.fromarray(np.ascontiguousarray(self.images[index]))), self.targets[index]


def tutorial(network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor) -> Callable[[int], None]:
    """Return the same work as a tutorial does it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    loader = DataLoader(Pictures(images, targets), batch_size=BATCH, shuffle=True)

    def epoch(_: int) -> None:
        network.train()
        for batch, wanted in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(batch), wanted).backward()
            optimizer.step()

    return epoch


def cases(data: Any) -> dict[str, Callable[[int], None]]:
    """Return the epochs that are compared, by name."""
    info, train = data.info, data.train
    spec = Spec(
        arch="cifar:resnet20", args={"depth": 20, "width": 16}, input_shape=info.shape,
        mean=(0.5,) * 3, std=(0.25,) * 3, labels=info.labels,
    )  # fmt: skip
    able = Abilities.of("cpu")
    auto = able.arithmetic("auto", WORTH_COMPILING, quantised=False)
    auto_rounded = able.arithmetic("auto", WORTH_COMPILING, quantised=True)
    torch.manual_seed(0)
    stage = Quantize(weights=2, activations=3)

    def rounded() -> Network:
        network = build(spec)
        return initialize_quantizers(network, stage.expect(network.spec), train, "cpu")

    pixels = train.take(torch.arange(len(train)))
    images = build(spec).normalise(pixels)
    plain = raw(spec).to(memory_format=torch.channels_last)
    return {
        "coc float32": ours(build(spec), train, FLOAT32),
        "coc auto": ours(build(spec), train, auto),
        "by hand auto": by_hand(plain, images, train.targets, auto),
        "tutorial float32": tutorial(raw(spec), pixels, train.targets),
        "coc quantised float32, compiled": ours(rounded(), train, Arithmetic("float32", auto_rounded.compiled)),
        "coc quantised auto": ours(rounded(), train, auto_rounded),
        "coc quantised float32, eager": ours(rounded(), train, FLOAT32),
    }


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return the ratios that the targets are about, each the median of its rounds, with least and most."""
    asked = {
        "images a second of coc by the tutorial's": ("tutorial float32", "coc auto", 1.5, None),
        "the same in float32": ("tutorial float32", "coc float32", 1.2, None),
        "images a second of coc by the loop written by hand": ("by hand auto", "coc auto", 0.97, None),
        "quantised step by the float32 step, auto": ("coc quantised auto", "coc float32", None, 0.9),
        "quantised step by the float32 step, float32": ("coc quantised float32, compiled", "coc float32", None, 1.35),
    }
    found = {}
    for name, (above, below, least, most) in asked.items():
        each = [one / other for one, other in zip(seconds[above], seconds[below], strict=True)]
        middle = statistics.median(each)
        is_met = (least is None or middle >= least) and (most is None or middle <= most)
        target = f">= {least:g}" if least else f"<= {most:g}"
        found[name] = {"value": middle, "rounds": [min(each), max(each)], "target": target, "met": is_met}
    return found


def verbs() -> dict[str, float]:
    """Return seconds of wall time of what the tool does beside training, each the least of three."""
    recipe = Path(__file__).parent.parent / "recipes/quickstart.yaml"
    commands = {"coc --help": ["--help"], "coc plan recipes/quickstart.yaml": ["plan", str(recipe)]}
    found = {}
    for name, words in commands.items():
        times = []
        for _ in range(3):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "coc_cli", *words], check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        found[name] = min(times)
    return found


def main() -> None:
    """Time all in turn and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a folder or .zip of classes")
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    cache = Path("runs/.cache/data")
    settings = DataSettings(source=f"folder:{asked.source}", limit=asked.images)
    began = time.perf_counter()
    data = sources.read(settings, 0, cache=cache)
    decoding = time.perf_counter() - began
    began = time.perf_counter()
    sources.read(settings, 0, cache=cache)
    again = time.perf_counter() - began
    seconds: dict[str, list[float]] = {}
    made = cases(data)
    for number in range(asked.rounds + 1):  # the first round warms up, and compiles
        for name in made if number % 2 else reversed(made):
            start = time.process_time()
            made[name](number)
            if number:
                seconds.setdefault(name, []).append(time.process_time() - start)
                print(f"round {number}  {name:32} {len(data.train) / seconds[name][-1]:7.1f} images/s", flush=True)
    found = {
        "command": f"OMP_NUM_THREADS={torch.get_num_threads()} python benchmarks/loop.py {Path(asked.source).name}",
        "environment": {**as_data(environment("cpu")), "threads": torch.get_num_threads()},
        "images": len(data.train),
        "rounds": asked.rounds,
        "images_per_cpu_second": {name: len(data.train) / statistics.median(each) for name, each in seconds.items()},
        "ratios": ratios(seconds),
        "seconds": {"decode, first time": decoding, "decode, from the cache": again, **verbs()},
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "image_bytes": data.train.images.numel(),
    }
    JSON.write_text(json.dumps(found, indent=1) + "\n")
    for name, one in found["ratios"].items():
        print(f"{name}: {one['value']:.3f} ({one['rounds'][0]:.3f} to {one['rounds'][1]:.3f}), target {one['target']}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
