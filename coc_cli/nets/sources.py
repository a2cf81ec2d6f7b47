"""Where architectures come from: a table of names, each with the arguments it takes. No torch until `create`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coc_cli.errors import StageError, did_you_mean
from coc_cli.nets.spec import Scalar

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One family member: the function that makes it and the arguments a recipe may give."""

    function: str  # "module:function", called as function(outputs=, channels=, **args)
    defaults: Mapping[str, int]
    allowed_depths: tuple[int, ...]

    def arguments(self, arch: str, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Fill in the defaults; raises `StageError` for an argument that the family does not take."""
        for key, value in given.items():
            if key not in self.defaults:
                raise StageError(
                    f"{arch} takes no '{key}'; {did_you_mean(key, self.defaults, otherwise='it takes')}", key
                )
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_ARGUMENT:
                raise StageError(f"needs a whole number from 1 to {LARGEST_ARGUMENT}, got {value!r}", key)
        depth = given.get("depth", self.defaults.get("depth"))
        if depth is not None and depth not in self.allowed_depths:
            depths = ", ".join(map(str, self.allowed_depths))
            raise StageError(f"{arch} has no depth {depth}; it has {depths}", "depth")
        return {**self.defaults, **given}


LARGEST_ARGUMENT = 4096
_THIN_DEPTHS = tuple(range(8, 111, 6))
_WIDE_DEPTHS = (10, 18, 34)

ARCHITECTURES: dict[str, Architecture] = {
    **{
        f"cifar:resnet{depth}": Architecture(
            "coc_cli.nets.cifar:resnet_thin", {"depth": depth, "width": 16}, _THIN_DEPTHS
        )
        for depth in (20, 32, 44, 56)
    },
    **{
        f"cifar:resnet{depth}": Architecture(
            "coc_cli.nets.cifar:resnet_wide", {"depth": depth, "width": 64}, _WIDE_DEPTHS
        )
        for depth in (18, 34)
    },
    "cifar:vgg19": Architecture("coc_cli.nets.cifar:vgg", {"depth": 19, "width": 64}, (11, 13, 16, 19)),
    "cifar:mobilenet_v2": Architecture("coc_cli.nets.cifar:mobilenet_v2", {"width": 32}, ()),
}


def resolve(arch: str, args: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Give every argument of an architecture, defaults filled in; raises `StageError` for what it does not know."""
    if arch not in ARCHITECTURES:
        raise StageError(f"no such architecture '{arch}'; {did_you_mean(arch, ARCHITECTURES)}", "arch")
    return ARCHITECTURES[arch].arguments(arch, args)


def create(arch: str, args: Mapping[str, Scalar], *, outputs: int, channels: int) -> nn.Module:
    """Make the module of an architecture with fresh random weights from torch's global generator.

    `outputs` is the number of classes or of regression targets, `channels` that of the input images.
    """
    architecture = ARCHITECTURES[arch]
    module, function = architecture.function.split(":")
    made: nn.Module = getattr(importlib.import_module(module), function)(outputs=outputs, channels=channels, **args)
    return made
