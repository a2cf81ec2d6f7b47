"""What a training loop is fed with: batches of images, randomly changed, with their targets and what a teacher says.

Random numbers of an epoch depend on (seed, epoch) alone, so a training that goes on is fed the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from coc_cli.data.augmentation import augmented, mixed
from coc_cli.data.images import Split
from coc_cli.data.settings import Augment
from coc_cli.errors import RunError
from coc_cli.learning.kept_answers import KeptAnswers
from coc_cli.learning.kept_features import KeptFeatures
from coc_cli.learning.own_functions import own_functions
from coc_cli.learning.training import derived_seed

CHUNK = 1000  # images that are changed at once, where a view of all is made


@dataclass(frozen=True)
class Fed:
    """A batch as it is trained on; a `Batch` has its images normalised."""

    images: Tensor  # uint8 [B, C, H, W]; none of them where there are features
    targets: Tensor  # classes [B] or their probabilities [B, C], or numbers [B, T]
    teacher_output: Tensor | None = None  # float32 [B, K]
    features: tuple[Tensor, ...] | None = None  # each [B, ...]


class Feed(Protocol):
    """Where batches come from."""

    def batches(self, epoch: int, size: int, generator: torch.Generator) -> tuple[int, Iterator[Fed]]:
        """Return how many batches of a size an epoch has, and these; all are of the training images, shuffled."""


@dataclass(frozen=True)
class Live:
    """Every image is changed anew in every epoch."""

    train: Split
    augment: Augment
    seed: int
    classes: int  # of the network

    def batches(self, epoch: int, size: int, generator: torch.Generator) -> tuple[int, Iterator[Fed]]:
        """Return the batches of an epoch."""
        indices = list(self.train.shuffled(size, generator))
        return len(indices), self._batches(indices, epoch, generator)

    def _batches(self, indices: Sequence[Tensor], epoch: int, generator: torch.Generator) -> Iterator[Fed]:
        sides = first_sides(self.augment, len(self.train), self.seed)
        for index, (images, targets) in zip(indices, self.train.read(indices), strict=True):
            mirrored = None if sides is None else sides[index.cpu()] ^ bool(epoch % 2)
            changed, wanted = changed_images(images, self.augment, generator, mirrored), targets
            if self.augment.mixup:
                mixup = self.augment.mixup
                changed, wanted = mixed(changed, targets, mixup, classes=self.classes, generator=generator)
            yield Fed(changed, wanted)


@dataclass(frozen=True)
class _View:
    """A view of all training images."""

    images: Tensor  # uint8 [N, C, H, W]; none of them where there are features
    said: Tensor  # by the teacher, float16 [N, K] on the CPU
    features: tuple[Tensor, ...] | None = None  # each [N, ...]


@dataclass(frozen=True)
class Views:
    """A fixed number of views of each image, in shuffled turns, and what a teacher said to each, asked once.

    Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", section 3.1.
    """

    train: Split
    augment: Augment
    seed: int  # of the order of the views
    views_seed: int  # of the views: the same for all stages of a chain
    answers: KeptAnswers
    features: KeptFeatures | None = None  # of a backbone that does not change
    _kept: dict[int, _View] = field(default_factory=dict)  # the view at hand; with features all

    def batches(self, epoch: int, size: int, generator: torch.Generator) -> tuple[int, Iterator[Fed]]:
        """Return the batches of an epoch, all of one view."""
        indices = list(self.train.shuffled(size, generator))
        return len(indices), self._batches(indices, self.turn(epoch))

    def turn(self, epoch: int) -> int:
        """Return the view of an epoch: all views have their turn before one has its next."""
        turn, place = divmod(epoch, self.answers.views)
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "views", turn))
        return int(torch.randperm(self.answers.views, generator=generator)[place])

    def _batches(self, indices: Sequence[Tensor], view: int) -> Iterator[Fed]:
        if view not in self._kept:
            images = self.view(view)
            said = self.answers.of(view, images)
            if self.features is None:
                self._kept.clear()
                self._kept[view] = _View(images.images, said)
            else:
                self._kept[view] = _View(images.images[:0].clone(), said, self.features.of(images))
        kept, targets = self._kept[view], self.train.targets
        for index in indices:
            at = index.to(targets.device)
            features = None if kept.features is None else tuple(each[at] for each in kept.features)
            images_of = kept.images[at] if features is None else kept.images
            yield Fed(images_of, targets[at], kept.said[index.cpu()].to(at.device).float(), features)

    def view(self, number: int) -> Split:
        """Return all training images as a view shows them, in order."""
        generator = torch.Generator().manual_seed(derived_seed(self.views_seed, "view", number))
        sides = first_sides(self.augment, len(self.train), self.views_seed)
        parts, place = [], 0
        for images, _ in self.train.batches(CHUNK):
            here = None if sides is None else sides[place : place + len(images)] ^ bool(number % 2)
            parts.append(changed_images(images, self.augment, generator, here))
            place += len(images)
        return Split(torch.cat(parts), self.train.targets)


def first_sides(augment: Augment, count: int, seed: int) -> Tensor | None:
    """Return which of so many images [N] are mirrored in the first epoch, where they alternate; else None."""
    if augment.flip != "alternating":
        return None
    return torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(derived_seed(seed, "sides"))) > 0


def changed_images(
    images: Tensor, augment: Augment, generator: torch.Generator, mirrored: Tensor | None = None
) -> Tensor:
    """Return uint8 images [N, C, H, W], randomly changed, by the recipe's keys and then by a function of the user's."""
    images, own = augmented(images, augment, generator, mirrored), own_functions().augment
    if own is None:
        return images
    changed = own(images, generator)
    if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (images.shape, images.dtype):
        raise RunError(f"own augmentation: must give uint8 images {list(images.shape)} as it was given")
    return changed


def smoothed(targets: Tensor, share: float, classes: int) -> Tensor:
    """Return the probabilities [B, C] of classes [B], or of probabilities, of which a share is spread over all."""
    if targets.dim() == 1:
        targets = F.one_hot(targets, classes).float()
    return targets * (1 - share) + share / classes
