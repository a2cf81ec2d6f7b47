"""Images on the device: splits, batches, augmentation in batches."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from coc_cli.data.source import Augment


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] and targets int64 [N]."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: str) -> Split:
        return Split(self.images.to(device), self.targets.to(device))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Give every image once, in order."""
        yield from zip(self.images.split(size), self.targets.split(size), strict=True)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Give the indices [B] of each batch of one epoch; a last batch of one image is left out (norms need two)."""
        order = torch.randperm(len(self), generator=generator).to(self.images.device)
        yield from (batch for batch in order.split(size) if len(batch) > 1)


@dataclass(frozen=True)
class Data:
    """Three splits that share no image."""

    train: Split
    validation: Split
    test: Split

    def to(self, device: str) -> Data:
        return Data(self.train.to(device), self.validation.to(device), self.test.to(device))

    def fingerprint(self) -> str:
        """Give a checksum of every image, every target and the split."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            digest.update(split.images.cpu().numpy().tobytes())
            digest.update(split.targets.cpu().numpy().tobytes())
        return digest.hexdigest()


def augmented(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Change uint8 images [N, C, H, W] at random; the generator is the CPU's, so every device draws the same."""
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
    """Turn each uint8 image [N, C, H, W] by its angle [N] in radians, bilinear, zeros from outside."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)
