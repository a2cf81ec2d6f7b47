"""Images on the device: splits and batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from coc_cli.data.info import DataInfo
from coc_cli.data.read_ahead import ahead

FINGERPRINT_CHUNK = 8192


@dataclass(frozen=True)
class Split:
    """Images of one split, and the target of each.

    `images` uint8 [M, C, H, W] may be shared by several splits; `rows` int64 [N] says which of them are this split's
    (None: all, in order). `targets` are classes int64 [N], or numbers float32 [N, T].
    """

    images: Tensor
    targets: Tensor
    rows: Tensor | None = None
    checksum: str = ""  # sha256 of all `images`, where it is known
    mapped: bool = False  # the images are a file on disk: they stay there, and only batches reach the device
    groups: Tensor | None = None  # int64 [N] on the CPU, the group of each, where there are groups
    weights: Tensor | None = None  # float64 [N] on the CPU: how often an epoch draws each; None: each once

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> Tensor:
        """Return the images [B, C, H, W] of an index [B], on the split's device."""
        rows = index if self.rows is None else self.rows[index.to(self.rows.device)]
        return self.images[rows.to(self.images.device)].to(self.targets.device)

    def read(self, indices: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and targets of each index [B], in order; what is on disk is read ahead by threads."""

        def batch(index: Tensor) -> tuple[Tensor, Tensor]:
            return self.take(index), self.targets[index.to(self.targets.device)]

        yield from ahead(batch, indices) if self.mapped else map(batch, indices)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every image [B, C, H, W] once, in order, with the targets."""
        if self.rows is None and not self.mapped:
            yield from zip(self.images.split(size), self.targets.split(size), strict=True)
        else:
            yield from self.read(torch.arange(len(self)).split(size))

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the indices [B] of each batch of one epoch; a last batch of one image is left out (norms need two).

        An epoch has as many images as the split. Where they have `weights` they are drawn by these, with repeats.
        """
        if self.weights is None:
            order = torch.randperm(len(self), generator=generator)
        else:
            below = self.weights.cumsum(0)
            drawn = torch.rand(len(self), generator=generator, dtype=torch.float64) * below[-1]
            order = torch.searchsorted(below, drawn, right=True).clamp_(max=len(self) - 1)
        order = order.to(self.images.device)
        yield from (batch for batch in order.split(size) if len(batch) > 1)

    def some(self, index: Tensor) -> Split:
        """Return a split of the images that an index [B] names, in its order."""
        rows = index if self.rows is None else self.rows[index]
        groups, weights = (None if values is None else values[index.cpu()] for values in (self.groups, self.weights))
        return replace(self, rows=rows, targets=self.targets[index], groups=groups, weights=weights)

    def first(self, count: int) -> Split:
        """Return a split of the first images."""
        return self.some(torch.arange(len(self))[:count])

    def update(self, digest: hashlib._Hash) -> None:
        """Feed the content to a checksum: the same for the same images and targets, on disk or in memory."""
        if self.checksum and self.rows is not None:
            digest.update(self.checksum.encode())
            digest.update(self.rows.cpu().numpy().tobytes())
        else:
            for images, _ in self.batches(FINGERPRINT_CHUNK):
                digest.update(images.contiguous().cpu().numpy().data)
        digest.update(self.targets.cpu().numpy().tobytes())


@dataclass(frozen=True)
class Data:
    """Disjoint splits, and what is known of their images."""

    train: Split
    validation: Split
    test: Split
    info: DataInfo = field(kw_only=True)
    holdout: Split | None = field(default=None, kw_only=True)  # unseen by all training and all choices of stages

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """Train, validation and test."""
        return self.train, self.validation, self.test

    def to(self, device: str) -> Data:
        """Return the data on a device; images on disk stay there, and their batches are moved one by one."""
        moved: dict[int, Tensor] = {}  # splits that share images go on sharing them

        def there(split: Split) -> Split:
            images, rows = split.images, split.rows
            if not split.mapped:
                if id(images) not in moved:
                    moved[id(images)] = images.to(device)
                images, rows = moved[id(images)], rows if rows is None else rows.to(device)
            return replace(split, images=images, rows=rows, targets=split.targets.to(device))

        return Data(*map(there, self.splits), info=self.info, holdout=self.holdout and there(self.holdout))

    def fingerprint(self) -> str:
        """Return a checksum of every image, every target and the split."""
        return self._checksum

    @cached_property
    def _checksum(self) -> str:
        digest = hashlib.sha256()
        for split in self.splits:
            split.update(digest)
        return digest.hexdigest()
