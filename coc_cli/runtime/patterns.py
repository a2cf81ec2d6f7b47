"""What lowering sees in a graph: norms and clips behind a layer, windows of averages, what only moves values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn
from torch.fx import Node as FxNode

from coc_cli.nets.graph import operation
from coc_cli.nets.network import Network
from coc_cli.nets.quantizer_places import VALUE_PRESERVING
from coc_cli.runtime.graph import Window

NOTHING = frozenset(("identity", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout", "alpha_dropout"))
NOTHING |= frozenset(("featurealphadropout", "feature_alpha_dropout", "stochastic_depth", "detach", "as_float"))
MOVES = (VALUE_PRESERVING | frozenset(("channel_shuffle", "stack", "movedim", "unflatten", "select"))) - {"pad"}
MAP, OTHER = "map", "other"  # what an average is over, beside windows
POOL = {"kernel_size": None, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}
POOL |= {"divisor_override": None}
MAP_DIMS = 4


@dataclass(frozen=True)
class Patterns:
    """A network's graph, its modules by path, and what each node gives for an image."""

    network: Network
    modules: Mapping[str, nn.Module]
    shapes: Mapping[FxNode, Any]

    def behind(self, node: FxNode) -> Iterator[tuple[FxNode, str]]:
        """Yield the nodes behind one as long as each has one user, with what they do."""
        while len(node.users) == 1:
            (node,) = node.users
            yield node, operation(node, self.network)

    def limits(self, node: FxNode, kind: str) -> tuple[float, float] | None:
        """Return between which values an activation clips, if it does nothing else."""
        if kind in ("relu", "relu6"):
            return 0.0, 6.0 if kind == "relu6" else np.inf
        if kind == "hardtanh":
            module = self.modules.get(str(node.target))
            low, high = (
                (module.min_val, module.max_val) if module else (*node.args[1:], *(-1.0, 1.0)[len(node.args) - 1 :])
            )
        elif kind in ("clamp", "clamp_min", "clamp_max"):
            given = (*node.args[1:], None, None)
            low, high = {"clamp": given[:2], "clamp_min": (given[0], None), "clamp_max": (None, given[0])}[kind]
        else:
            return None
        if not all(isinstance(limit, int | float | None) for limit in (low, high)):
            return None
        least, most = low, high
        return -np.inf if least is None else float(least), np.inf if most is None else float(most)  # type: ignore[arg-type]

    def norm_behind(self, node: FxNode) -> FxNode | None:
        for follower, kind in self.behind(node):
            module = self.modules.get(str(follower.target))
            is_norm = kind in ("batchnorm2d", "batchnorm1d") and module.running_mean is not None  # type: ignore[union-attr]
            return follower if is_norm and self.shapes[follower].shape == self.shapes[node].shape else None
        return None

    def averaged(self, node: FxNode, source: FxNode) -> Window | str:
        """Return over which windows a node takes means; or MAP, or OTHER."""
        shape, kind = self.shapes[source].shape, operation(node, self.network)
        module: Any = self.modules.get(str(node.target))
        if len(shape) != MAP_DIMS:
            return OTHER
        if kind == "mean":
            dims: Any = node.args[1] if len(node.args) > 1 else None
            is_map = isinstance(dims, tuple | list) and {dim % 4 for dim in dims if isinstance(dim, int)} == {2, 3}
            return MAP if is_map else OTHER
        if kind.startswith("adaptive"):
            return _adaptive(_pair(module.output_size if module is not None else node.args[1]), shape[2:])
        given = tuple(getattr(module, name) for name in POOL) if module is not None else tuple(node.args[1:])
        complete: tuple[Any, ...] = (*given, *tuple(POOL.values())[len(given) :])
        kernel, stride, padding, ceil_mode, include, divisor = complete
        top, left = _pair(padding)
        if ceil_mode or divisor or (not include and (top or left)):
            return OTHER
        return Window(_pair(kernel), _pair(stride or kernel), (top, left, top, left))

    def only_moves(self, node: FxNode, kind: str) -> bool:
        if kind in ("pad", "zeropad2d", "constantpad2d"):
            value = getattr(self.modules.get(str(node.target)), "value", None) if node.op == "call_module" else None
            given = node.args[2:] if node.op == "call_function" else ()
            return all(part in ("constant", None, 0) for part in (*given, value))
        if kind in ("interpolate", "upsample", "upsamplingnearest2d"):
            module = self.modules.get(str(node.target)) if node.op == "call_module" else None
            mode: Any = getattr(module, "mode", None) or next(iter(node.args[3:]), "nearest")
            return bool(mode == "nearest")
        return kind in MOVES


def _adaptive(wanted: tuple[Any, Any], size: tuple[int, ...]) -> Window | str:
    """Return the windows of an adaptive average, if they are all alike."""
    target = [old if new is None else new for new, old in zip(wanted, size, strict=True)]
    if target == [1, 1]:
        return MAP
    if any(old % new for new, old in zip(target, size, strict=True)):
        return OTHER
    down, right = (old // new for new, old in zip(target, size, strict=True))
    return Window((down, right), (down, right))


def _pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)  # type: ignore[return-value]


def window_of(module: nn.Module) -> Window | None:
    """Return how a convolution goes over a map; None where what it adds around it is not zeros."""
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros":
        return None
    kernel, dilation = _pair(module.kernel_size), _pair(module.dilation)
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        padding = (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)
    else:
        top, left = (0, 0) if module.padding == "valid" else _pair(module.padding)
        padding = (top, left, top, left)
    return Window(kernel, _pair(module.stride), padding, dilation)
