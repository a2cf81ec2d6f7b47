"""Plain layers in place of what libraries make of them, so that all else has one kind to deal with."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def canonicalize(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Replace, in place, what equals plain layers on images of a shape [C, H, W]; return the network.

    - A convolution that pads as TensorFlow does (timm's Conv2dSame) pads by numbers that only its input size decides.
    - A linear layer that only casts (timm's Linear) is torch's.
    - A norm with an activation inside (timm's BatchNormAct2d) is a norm and an activation.

    Where one layer becomes two, their names are NAME.pad and NAME.conv, NAME.norm and NAME.act. Tensors are shared.
    """
    sizes = _input_sizes(network, shape) if any(_is_same(module) for module in network.modules()) else {}
    for path, module in list(network.named_modules()):
        replacement = None
        if _is_same(module):
            replacement = _static(module, sizes[path])
        elif type(module).__name__ in _ACTIVATED:
            replacement = _split_norm_act(module)
        elif isinstance(module, nn.Linear) and type(module).__name__ == "Linear":
            module.__class__ = nn.Linear
        if replacement is not None:
            parent, _, last = path.rpartition(".")
            setattr(network.get_submodule(parent), last, replacement)
    return network


def _is_same(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and type(module).__name__ == "Conv2dSame"


def _input_sizes(network: nn.Module, shape: tuple[int, ...]) -> dict[str, tuple[int, int]]:
    """Return the input height and width of each such convolution, from a dry run of a copy on the meta device."""
    sizes: dict[str, tuple[int, int]] = {}
    meta_copy = copy.deepcopy(network).to("meta").eval()
    for path, module in meta_copy.named_modules():
        if _is_same(module):

            def note(_: nn.Module, inputs: tuple[Tensor, ...], path: str = path) -> None:
                sizes[path] = tuple(inputs[0].shape[-2:])  # type: ignore[assignment]

            module.register_forward_pre_hook(note)
    with torch.no_grad():
        meta_copy(torch.empty(1, *shape, device="meta"))
    return sizes


def _static(same: nn.Module, size: tuple[int, int]) -> nn.Module:
    """Return a convolution that pads as `same` does on an input of that size: half of it before, the rest after."""
    before, after = [], []
    conv: Any = copy.copy(same)
    conv.__class__ = nn.Conv2d
    for length, kernel, stride, dilation in zip(size, conv.kernel_size, conv.stride, conv.dilation, strict=True):
        total = max((-(-length // stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    if before == after:
        conv.padding = tuple(before)
        return conv  # type: ignore[no-any-return]
    (top, left), (bottom, right) = before, after
    return nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((left, right, top, bottom)), conv=conv))


def _batch_norm(norm: Any) -> nn.Module:
    return nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)


def _group_norm(norm: Any) -> nn.Module:
    return nn.GroupNorm(norm.num_groups, norm.num_channels, norm.eps, norm.affine)


_ACTIVATED: dict[str, Callable[[Any], nn.Module]] = {"BatchNormAct2d": _batch_norm, "GroupNormAct": _group_norm}


def _split_norm_act(module: nn.Module) -> nn.Module:
    """Return the norm without what it holds, followed by that."""
    with torch.device("meta"):
        norm = _ACTIVATED[type(module).__name__](module)
    norm._parameters.update(module._parameters)  # noqa: SLF001  (the same tensors, whichever there are)
    norm._buffers.update(module._buffers)  # noqa: SLF001
    inside = {name: part for name, part in module.named_children() if not isinstance(part, nn.Identity)}
    return nn.Sequential(OrderedDict(norm=norm, **inside)) if inside else norm
