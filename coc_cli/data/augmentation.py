"""Random changes to a batch of training images, on their device.

All random numbers come from a generator on the CPU, whose state depends on seed and epoch alone: so every device draws
the same, and a training that goes on has the same bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coc_cli.data.settings import Augment

GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
HUE = 0.25  # turns of the hue for a strength of 1
# Red, green and blue from one brightness and two axes of colour, YIQ (NTSC 1953): to turn the hue is to turn the axes.
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def augmented(images: Tensor, augment: Augment, generator: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
    """Return uint8 images [N, C, H, W], randomly changed; a CPU generator, so that every device draws the same.

    With `flip`, those that are `mirrored` [N] are mirrored, where that is decided before; else a random half.
    """
    n = len(images)
    if augment.flip:
        if mirrored is None:
            mirrored = torch.rand(n, generator=generator) < 0.5  # noqa: PLR2004
        images = torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)
    if augment.rotate:
        angle = (torch.rand(n, generator=generator) * 2 - 1) * math.radians(augment.rotate)
        images = rotated(images, angle.to(images.device))
    if augment.shift:
        images = shifted(images, augment.shift, generator, reflect=augment.padding == "reflect")
    if augment.crop < 1:
        images = cropped(images, augment.crop, generator)
    if augment.randaugment is not None:
        from coc_cli.data.randaugment import randaugmented  # torchvision takes long to import

        images = randaugmented(images, augment.randaugment, generator)
    if augment.colour:
        images = jittered(images, augment.colour, generator)
    return cut_out(images, augment.cutout, generator) if augment.cutout else images


def shifted(images: Tensor, most: int, generator: torch.Generator, *, reflect: bool) -> Tensor:
    """Return uint8 images [N, C, H, W], each shifted by up to `most` pixels each way; zeros or a mirror at the edge."""
    n, channels, height, width = images.shape
    pad = 0 if reflect else most
    down, right = torch.randint(0, 2 * most + 1, (2, n, 1), generator=generator).to(images.device) + (pad - most)
    places = []
    for shift, length in zip((down, right), (height, width), strict=True):
        place = shift + torch.arange(length, device=images.device)
        places.append(_reflected(place, length) if reflect else place)
    rows, columns = places
    index = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    padded = F.pad(images, (pad, pad, pad, pad))
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _reflected(place: Tensor, length: int) -> Tensor:
    """Return places in a row of pixels, those beyond an end counted back from it, the last pixel not repeated."""
    if length == 1:
        return torch.zeros_like(place)
    place = place.remainder(2 * (length - 1))
    return torch.minimum(place, 2 * (length - 1) - place)


def rotated(images: Tensor, angles: Tensor) -> Tensor:
    """Return uint8 images [N, C, H, W], each turned by its angle [N] in radians: bilinear, zeros from outside."""
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)


def cropped(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Return uint8 images [N, C, H, W], of each a part of at least that fraction of its area, enlarged bilinearly.

    Areas are uniform from `least` to 1, places are uniform within the image, height and width keep their proportion.
    """
    area, right, down = torch.rand(3, len(images), generator=generator)
    side, zero = (least + (1 - least) * area).sqrt(), torch.zeros(len(images))
    x, y = ((1 - side) * (2 * place - 1) for place in (right, down))
    matrix = torch.stack([torch.stack([side, zero, x], 1), torch.stack([zero, side, y], 1)], 1).to(images.device)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    made = F.grid_sample(images.float(), grid, align_corners=False, padding_mode="border")
    return made.round_().clamp_(0, 255).to(torch.uint8)


def jittered(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return uint8 images [N, C, H, W] of other brightness, contrast, saturation and hue; grey ones of the first two.

    Each factor is uniform from 1 - strength to 1 + strength; the hue turns by up to a quarter of it, of a turn.
    """
    factors = 1 + strength * (2 * torch.rand(3, len(images), 1, 1, 1, generator=generator) - 1)
    turns = HUE * strength * (2 * torch.rand(len(images), generator=generator) - 1)
    bright, contrast, saturation = factors.to(images.device)
    pixels = (images.float() * bright).clamp_(0, 255)
    mean = _grey(pixels).mean((1, 2, 3), keepdim=True)
    pixels = ((pixels - mean) * contrast + mean).clamp_(0, 255)
    if images.shape[1] == len(GREY):
        grey = _grey(pixels)
        pixels = ((pixels - grey) * saturation + grey).clamp_(0, 255)
        pixels = torch.einsum("nij,njhw->nihw", _hue_turns(turns).to(images.device), pixels)
    made: Tensor = pixels.round().clamp(0, 255).to(torch.uint8)
    return made


def _grey(pixels: Tensor) -> Tensor:
    """Return the brightness [N, 1, H, W] of images [N, C, H, W] of one or three channels."""
    if pixels.shape[1] != len(GREY):
        return pixels
    grey: Tensor = (pixels * pixels.new_tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    return grey


def _hue_turns(turns: Tensor) -> Tensor:
    """Return the matrices [N, 3, 3] that turn the hue of red, green and blue by parts [N] of a turn."""
    to_yiq, cos, sin = torch.tensor(YIQ), (turns * 2 * math.pi).cos(), (turns * 2 * math.pi).sin()
    turn = torch.eye(3).repeat(len(turns), 1, 1)
    turn[:, 1, 1], turn[:, 1, 2], turn[:, 2, 1], turn[:, 2, 2] = cos, -sin, sin, cos
    turned: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return turned


def cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Return uint8 images [N, C, H, W], each with a black square of that side, whose middle is anywhere in the image.

    DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout".
    """
    n, _, height, width = images.shape
    middle = torch.rand(2, n, 1, generator=generator).to(images.device)
    is_in = []
    for place, length in zip(middle, (height, width), strict=True):
        offset = torch.arange(length, device=images.device) - (place * length).long() + side // 2
        is_in.append((offset >= 0) & (offset < side))  # [N, H] and [N, W]
    rows, columns = is_in
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def mixed(
    images: Tensor, targets: Tensor, alpha: float, *, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return images and targets, each mixed with another of the batch by a weight from Beta(alpha, alpha).

    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization".

    Args:
        images: uint8 [B, C, H, W].
        targets: Classes int64 [B], or numbers float32 [B, T].
        alpha: Above 0; 1 is uniform, smaller ones mix less.
        classes: How many there are.
        generator: On the CPU.

    Returns:
        Images uint8 [B, C, H, W] and the targets' probabilities float32 [B, classes], or numbers float32 [B, T]: the
        cross entropy of such probabilities is the mean of those of both classes, by the same weight.
    """
    others = torch.randperm(len(images), generator=generator).to(images.device)
    seed = int(torch.randint(2**32, (), generator=generator))
    weights = np.random.RandomState(seed).beta(alpha, alpha, len(images))
    weight = torch.from_numpy(weights).to(images.device, torch.float32)[:, None]
    values = F.one_hot(targets, classes).float() if targets.dim() == 1 else targets
    pixels = images.float()
    pixels = torch.lerp(pixels[others], pixels, weight[:, :, None, None])
    return pixels.round_().to(torch.uint8), torch.lerp(values[others], values, weight)
