"""How much each channel of a group matters, by its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from coc_cli.nets.layers import QuantizedWeight
from coc_cli.stages.channel_groups import ChannelGroup, Channels

BATCH_NORM = nn.modules.batchnorm._BatchNorm  # noqa: SLF001  (the common base has no public name)


def channel_scores(channels: Channels, importance: str) -> dict[int, Tensor]:
    """Return the importance of each channel.

    Args:
        channels: Of a network that does not lie on the meta device.
        importance: A name in `IMPORTANCES`.

    Returns:
        By group, [classes]; groups for which the importance says nothing are left out. See the functions for formulas;
        w are a layer's weights as it uses them (rounded where they are quantised), g a norm's.
    """
    return IMPORTANCES[importance](channels)


def has_score(channels: Channels, importance: str, group: int) -> bool:
    """Return whether the importance says something of a group: that of batch norms only where it has one."""
    return importance != "bn_scale" or group in _groups_with_batch_norm(channels)


def _groups_with_batch_norm(channels: Channels) -> set[int]:
    found = channels.whole.found
    norms = (labels for path, labels in found.columns.items() if _is_scaled(channels.network.get_submodule(path)))
    return {group for labels in norms for group in channels.whole.groups_of(labels)}


def _is_scaled(module: nn.Module) -> bool:
    return isinstance(module, BATCH_NORM) and module.weight is not None


def _weight(layer: Any) -> Tensor:
    """Return a layer's weights as it uses them, [out, in / groups, ...]."""
    weight: Tensor = layer.rounded_weight() if isinstance(layer, QuantizedWeight) else layer.weight
    weight = weight.detach().float().cpu()
    if not getattr(layer, "transposed", False):
        return weight
    parts = weight.view(layer.groups, -1, *weight.shape[1:])  # [groups, in / groups, out / groups, ...]
    return parts.transpose(1, 2).reshape(layer.out_channels, -1, *weight.shape[2:])


def _sums(channels: Channels, power: int) -> Tensor:
    """Return for each class the sum of |w|^p over rows and columns of all layers and of |g|^p over all norms."""
    found, of = channels.whole.found, torch.from_numpy(channels.whole.of_label)
    total = torch.zeros(int(of.max()) + 1)
    for path, columns in found.columns.items():
        module: Any = channels.network.get_submodule(path)
        if path not in found.rows:
            if module.weight is not None:
                total.index_add_(0, of[columns], module.weight.detach().float().cpu().abs() ** power)
            continue
        weight = _weight(module).abs() ** power
        total.index_add_(0, of[found.rows[path]], weight.flatten(1).sum(1))
        groups = getattr(module, "groups", 1)
        if groups == 1 or groups < module.in_channels:  # a depthwise weight counts once
            by_column = weight.flatten(2).sum(2) if weight.dim() > 2 else weight  # noqa: PLR2004
            by_column = by_column.view(groups, -1, by_column.shape[1]).sum(1).flatten()
            total.index_add_(0, of[columns], by_column)
    return total


def _by_group(channels: Channels, total: Tensor, finish: Callable[[Tensor], Tensor]) -> dict[int, Tensor]:
    return {
        index: finish(total[torch.from_numpy(group.classes)])
        for index, group in enumerate(channels.groups)
        if group.why_kept is None
    }


def _relative(scores: Tensor) -> Tensor:
    return scores / scores.mean().clamp_min(1e-12)


def _group_norm(channels: Channels) -> dict[int, Tensor]:
    """Sum of w^2 over all rows, columns and norms of the channel, relative to the group's mean (Fang et al. 2023)."""
    return _by_group(channels, _sums(channels, 2), _relative)


def _magnitude(channels: Channels) -> dict[int, Tensor]:
    """Sum of |w| over the channel's rows in the first layer of its group (Li et al. 2017)."""
    return {
        index: _first_rows(channels, group) for index, group in enumerate(channels.groups) if group.why_kept is None
    }


def _first_rows(channels: Channels, group: ChannelGroup) -> Tensor:
    path = group.members[0][0]
    found, of = channels.whole.found, torch.from_numpy(channels.whole.of_label)
    total = torch.zeros(int(of.max()) + 1)
    if path in found.rows:
        total.index_add_(0, of[found.rows[path]], _weight(channels.network.get_submodule(path)).abs().flatten(1).sum(1))
    return total[torch.from_numpy(group.classes)]


def _bn_scale(channels: Channels) -> dict[int, Tensor]:
    """Sum of |g| over the channel's batch norms, relative to the group's mean (Liu et al. 2017)."""
    found, of = channels.whole.found, torch.from_numpy(channels.whole.of_label)
    total = torch.zeros(int(of.max()) + 1)
    for path, columns in found.columns.items():
        module: Any = channels.network.get_submodule(path)
        if _is_scaled(module):
            total.index_add_(0, of[columns], module.weight.detach().float().cpu().abs())
    having = _groups_with_batch_norm(channels)
    return {index: scores for index, scores in _by_group(channels, total, _relative).items() if index in having}


def _lamp(channels: Channels) -> dict[int, Tensor]:
    """s_i / sum of all s_j >= s_i, where s is the sum that `group_norm` has (Lee et al. 2021)."""

    def finish(sums: Tensor) -> Tensor:
        ordered, order = sums.sort(stable=True)
        scores = torch.empty_like(sums)
        scores[order] = ordered / ordered.flip(0).cumsum(0).flip(0).clamp_min(1e-12)
        return scores

    return _by_group(channels, _sums(channels, 2), finish)


def _random(channels: Channels) -> dict[int, Tensor]:
    """Uniform numbers of torch's global generator."""
    return {index: torch.rand(len(group)) for index, group in enumerate(channels.groups) if group.why_kept is None}


IMPORTANCES: dict[str, Callable[[Channels], dict[int, Tensor]]] = {
    "group_norm": _group_norm,
    "magnitude": _magnitude,
    "bn_scale": _bn_scale,
    "lamp": _lamp,
    "random": _random,
}
