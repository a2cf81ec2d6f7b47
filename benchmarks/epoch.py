"""How fast coc trains, against a loop written by hand: images a second of ResNet-20 at batch 128, the two in turn.

Not a test: run it on a quiet machine, as in

    python benchmarks/epoch.py cifar10-jpeg.zip --images 6400 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F

from coc_cli.data import sources
from coc_cli.data.images import Split
from coc_cli.data.settings import Augment, DataSettings
from coc_cli.learning.training import Batch, Training, _one_pass, _optimizer
from coc_cli.nets.entry import raw
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec

BATCH, PAD = 128, 4


def coc_epoch(network: Network, train: Split, epoch: int, optimizer: torch.optim.Optimizer) -> None:
    """One epoch as every stage of coc trains."""

    def loss(net: Network, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(net(batch.inputs)[-1], batch.targets)

    settings = Training(epochs=100, batch=BATCH, optimizer="sgd", lr=0.05)
    _one_pass(network, train, settings, loss, optimizer, epoch, augment=Augment(shift=PAD, flip=True), seed=0)


def plain_epoch(
    network: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, optimizer: torch.optim.Optimizer
) -> None:
    """Do the same work in the plainest way: a plain module, float images in memory, one shift and one flip a batch."""
    network.train()
    order = torch.randperm(len(images))
    for index in order.split(BATCH):
        batch = images[index]
        if torch.rand(()) < 0.5:
            batch = batch.flip(3)
        y, x = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
        batch = F.pad(batch, (PAD, PAD, PAD, PAD))[:, :, y : y + images.shape[2], x : x + images.shape[3]]
        loss = F.cross_entropy(network(batch.contiguous(memory_format=torch.channels_last)), targets[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a folder or .zip of classes")
    parser.add_argument("--images", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--mapped", action="store_true", help="leave the images on disk")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    memory = 0.0 if asked.mapped else 0.25
    settings = DataSettings(source=f"folder:{asked.source}", limit=asked.images, memory=memory)
    cache = Path(tempfile.gettempdir()) / "coc-bench"
    data = sources.read(settings, 0, cache=cache)
    info = data.info
    assert info.mean is not None
    assert info.std is not None
    spec = Spec(
        arch="cifar:resnet20",
        args={"depth": 20, "width": 16},
        input_shape=info.shape,
        mean=info.mean,
        std=info.std,
        labels=info.labels,
    )
    torch.manual_seed(0)
    mine, plain = build(spec), raw(spec).to(memory_format=torch.channels_last)
    settings_of = Training(optimizer="sgd", lr=0.05)
    ours, theirs = (
        _optimizer(mine, settings_of),
        torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True),
    )
    targets = data.train.targets
    images = mine.normalise(data.train.take(torch.arange(len(targets))))
    rates: dict[str, list[float]] = {"coc": [], "plain": []}
    for number in range(asked.rounds + 1):  # the first round warms up
        for name in ("coc", "plain") if number % 2 else ("plain", "coc"):
            began = time.perf_counter()
            if name == "coc":
                coc_epoch(mine, data.train, number, ours)
            else:
                plain_epoch(plain, images, targets, theirs)
            if number:
                rates[name].append(len(targets) / (time.perf_counter() - began))
                print(f"round {number}  {name:5}  {rates[name][-1]:.1f} images/s", flush=True)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    ratios = [one / other for one, other in zip(rates["coc"], rates["plain"], strict=True)]
    print(
        f"median of {asked.rounds}, {asked.threads} threads, {len(targets)} images: coc {middle['coc']:.1f} images/s,"
        f" plain {middle['plain']:.1f} images/s, ratio {statistics.median(ratios):.3f}"
        f" ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
