"""Statistics of norms for the weights as they are, where too few steps went by for a running mean.

Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm", section 3 ("precise BN").
"""

from __future__ import annotations

import math
from itertools import islice

import torch
from torch import nn

from coc_cli.data.images import Split
from coc_cli.learning.training import derived_seed
from coc_cli.nets.layers import BATCH_NORM
from coc_cli.nets.network import Network

IMAGES = 1000  # at least, where there are as many
STALE = 0.01  # the largest share of where it started that a running mean may still hold


def refresh_statistics(network: Network, train: Split, epochs: int, *, batch: int, seed: int) -> int:
    """Estimate the statistics of the norms that train anew where a running mean lags behind the weights, in place.

    Args:
        network: Left in eval mode.
        train: The images; a fixed sample is drawn, without augmentation.
        epochs: That were trained so far.
        batch: Images of a batch.
        seed: Of the sample.

    Returns:
        How many norms there were.
    """
    network.train()  # which leaves frozen norms in eval mode
    stale = _stale(network, epochs * math.ceil(len(train) / batch))
    if stale:
        _estimate(network, stale, train, batch, derived_seed(seed, "norm statistics"))
    network.eval()
    return len(stale)


def _stale(network: Network, steps: int) -> list[nn.Module]:
    """Return the norms that train and whose statistics, after so many steps, still hold much of where they started."""
    return [
        norm
        for norm in network.modules()
        if isinstance(norm, BATCH_NORM)
        and norm.training
        and norm.running_mean is not None
        and norm.momentum is not None  # else the mean of all steps
        and (1 - norm.momentum) ** steps > STALE
    ]


@torch.no_grad()
def _estimate(network: Network, norms: list[nn.Module], train: Split, batch: int, seed: int) -> None:
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()  # type: ignore[operator]
        norm.train()
        norm.momentum = None  # type: ignore[assignment]  # the mean of all batches that follow
    shuffled = train.shuffled(batch, torch.Generator().manual_seed(seed))
    for images, _ in train.read(islice(shuffled, math.ceil(IMAGES / batch))):
        network(network.normalise(images))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
