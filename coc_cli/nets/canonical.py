"""Plain layers in place of what libraries make of them, so that all else has one kind to deal with."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from coc_cli.errors import StageError
from coc_cli.nets.attention import PlainAttention


def canonicalize(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Replace, in place, what equals plain layers on images of a shape [C, H, W]; return the network.

    - A convolution that pads as TensorFlow does (timm's Conv2dSame) pads by numbers that only its input size decides.
    - A linear layer that only casts (timm's Linear) is torch's.
    - A norm with an activation inside (timm's BatchNormAct2d) is a norm and an activation.
    - A weight that is computed from others (weight_norm, spectral_norm, any parametrization) is what comes out.
    - torch's multi-head attention is linear layers and products of tensors.
    - A compiled network is the network itself; numbers of other precisions are float32.

    Where one layer becomes two, their names are NAME.pad and NAME.conv, NAME.norm and NAME.act. Tensors are shared.
    """
    network = getattr(network, "_orig_mod", network)
    _check_made(network)
    for module in network.modules():
        _fold(module)
    if any(tensor.dtype in _OTHER_FLOATS for tensor in (*network.parameters(), *network.buffers())):
        network.float()
    sizes = _input_sizes(network, shape) if any(_is_same(module) for module in network.modules()) else {}
    replaced: dict[nn.Module, nn.Module] = {}
    for path, module in list(network.named_modules(remove_duplicate=False)):
        replacement = replaced.get(module)
        if replacement is not None:
            setattr(network.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2], replacement)
            continue
        if _is_same(module):
            replacement = _static(module, sizes[path])
        elif type(module).__name__ in _ACTIVATED:
            replacement = _split_norm_act(module)
        elif type(module) is nn.MultiheadAttention:
            replacement = PlainAttention(module)
        elif isinstance(module, nn.Linear) and type(module).__name__ == "Linear":
            module.__class__ = nn.Linear
        if replacement is not None:
            parent, _, last = path.rpartition(".")
            setattr(network.get_submodule(parent), last, replacement)
            replaced[module] = replacement
    return network


_OTHER_FLOATS = (torch.float64, torch.float16, torch.bfloat16)


def _check_made(network: nn.Module) -> None:
    """Raise `StageError` where a network is not all there, or not Python any more."""
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"'{path}'" if path else "the network"
            raise StageError(f"{where} is scripted (torch.jit.script); give the module that it was made of", "arch")
        if any(map(is_lazy, (*module._parameters.values(), *module._buffers.values()))):  # noqa: SLF001
            what = "has not seen an image, so its size is open; run the network on one image where it is made"
            raise StageError(f"{type(module).__name__} '{path}' {what}", "arch")
        if any(isinstance(hook, prune.BasePruningMethod) for hook in module._forward_pre_hooks.values()):  # noqa: SLF001
            what = "has a mask of torch.nn.utils.prune; make it permanent by prune.remove(module, 'weight')"
            raise StageError(f"'{path}' {what}", "arch")


@torch.no_grad()
def _fold(module: nn.Module) -> None:
    """Put, in place, what a weight is computed to in place of what it is computed from."""
    for hook in list(module._forward_pre_hooks.values()):  # noqa: SLF001
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
    if parametrize.is_parametrized(module):
        # not by torch's own remove_parametrizations: copies of a module share the class that it would change
        parts: Any = module.parametrizations
        parts.eval()  # else spectral_norm goes one step further
        values = {name: _computed(module, name) for name in parts}
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
        for name, value in values.items():
            module.register_parameter(name, value)


def _computed(module: Any, name: str) -> nn.Parameter:
    """Return what a parametrization makes of a weight."""
    try:
        return nn.Parameter(getattr(module, name).detach())
    except RuntimeError:  # it looks at values, and there are none on the meta device
        original = module.parametrizations[name].original
        if not original.is_meta:
            raise
        return nn.Parameter(torch.empty_like(original))


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
