"""Images on the device: splits, batches, augmentation in batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from coc_cli.data.info import DataInfo
from coc_cli.data.read_ahead import ahead
from coc_cli.data.settings import Augment

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
        """Yield the indices [B] of each batch of one epoch; a last batch of one image is left out (norms need two)."""
        order = torch.randperm(len(self), generator=generator).to(self.images.device)
        yield from (batch for batch in order.split(size) if len(batch) > 1)

    def some(self, index: Tensor) -> Split:
        """Return a split of the images that an index [B] names, in its order."""
        rows = index if self.rows is None else self.rows[index]
        return replace(self, rows=rows, targets=self.targets[index])

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
        digest = hashlib.sha256()
        for split in self.splits:
            split.update(digest)
        return digest.hexdigest()


def augmented(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Return uint8 images [N, C, H, W], randomly changed; a CPU generator, so that every device draws the same."""
    n, _, height, width = images.shape
    if augment.flip:
        mirror = (torch.rand(n, generator=generator) < 0.5).to(images.device)  # noqa: PLR2004
        images = torch.where(mirror[:, None, None, None], images.flip(3), images)
    if augment.rotate:
        angle = (torch.rand(n, generator=generator) * 2 - 1) * math.radians(augment.rotate)
        images = rotated(images, angle.to(images.device))
    if augment.shift:
        pad = augment.shift
        dy, dx = torch.randint(0, 2 * pad + 1, (2, n, 1), generator=generator).to(images.device)
        rows = (dy + torch.arange(height, device=images.device))[:, None, :, None]
        columns = (dx + torch.arange(width, device=images.device))[:, None, None, :]
        index = torch.arange(n, device=images.device)[:, None, None, None]
        channels = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
        images = F.pad(images, (pad, pad, pad, pad))[index, channels, rows, columns]
    return images


def rotated(images: Tensor, angles: Tensor) -> Tensor:
    """Return uint8 images [N, C, H, W], each turned by its angle [N] in radians: bilinear, zeros from outside."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)
