"""The losses that stages train with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 times the KL divergence from the teacher's softened classes to the student's, mean over the batch.

    Both are logits [B, C]. Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    softened = F.log_softmax(student / temperature, 1)
    target = F.log_softmax(teacher / temperature, 1)
    return F.kl_div(softened, target, reduction="batchmean", log_target=True) * temperature**2


def attention(feature: Tensor) -> Tensor:
    """Return the mean of squares over channels of features [B, C, H, W], flat and normalised to length 1: [B, H*W]."""
    return F.normalize(feature.square().mean(1).flatten(1), dim=1)


def attention_transfer(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Return the mean squared distance of attention maps, summed over pairs of features of equal resolution.

    Zagoruyko and Komodakis 2017, "Paying More Attention to Attention", section 3.1.
    """
    pairs = zip(student, teacher, strict=True)
    return torch.stack([(attention(s) - attention(t)).square().sum(1).mean() for s, t in pairs]).sum()
