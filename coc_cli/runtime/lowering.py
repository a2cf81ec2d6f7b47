"""From a network to its integer graph.

A layer with rounded weights becomes one integer operation where codes come in and a quantiser stands behind its norm,
its activation and whatever only moves values. Norms are folded exactly: a gain goes into the scale of its channel, its
sign into the codes. The bias is rounded to the step of the sum; weights of few bits are written as larger codes with a
finer step for that, as far as they fit.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node as FxNode

from coc_cli.nets import lsq
from coc_cli.nets.graph import is_layer, is_number, layer_name, operation
from coc_cli.nets.layers import ActivationQuantizer, QuantizedWeight
from coc_cli.nets.module_kinds import MODULES
from coc_cli.nets.network import Network, clone
from coc_cli.nets.plain_modules import kind_of
from coc_cli.nets.quantizer_places import AVERAGES, VALUE_PRESERVING
from coc_cli.nets.running import attribute
from coc_cli.runtime.folding import Folded, folded
from coc_cli.runtime.graph import (
    Average,
    Concat,
    Grid,
    IntegerGraph,
    Layer,
    Node,
    Operation,
    PerImage,
    Ref,
    Round,
    Sum,
    Value,
    Window,
)

NOTHING = frozenset(("identity", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout", "alpha_dropout"))
NOTHING |= frozenset(("featurealphadropout", "feature_alpha_dropout", "stochastic_depth", "detach", "as_float"))
MOVES = (VALUE_PRESERVING | frozenset(("channel_shuffle", "stack", "movedim", "unflatten", "select"))) - {"pad"}
MAP, OTHER = "map", "other"  # what an average is over, beside windows
POOL = {"kernel_size": None, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}
POOL |= {"divisor_override": None}
BOTH, MAP_DIMS = 2, 4
IMAGES = (1, 3)  # of the runs that tell which sizes follow the number of images


def lower(network: Network, *, largest_code: int = 127) -> tuple[IntegerGraph, Network]:
    """Return the integer graph of a network, and the network as exported: with biases on the steps of the sums.

    Args:
        network: On the CPU; stays as it is.
        largest_code: To which codes of weights may be enlarged for a finer bias.
    """
    return _Lowering(clone(network).eval(), largest_code).run()


class _Lowering:
    def __init__(self, network: Network, largest_code: int) -> None:
        self.network, self.largest_code = network, largest_code
        self.modules = dict(network.named_modules())
        self.runs = [self._values(count) for count in IMAGES]
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.made: dict[FxNode, str] = {}  # the tensor that stands for what an fx node gives
        self.kept_float: dict[str, str] = {}
        self.folds: list[Folded] = []

    def run(self) -> tuple[IntegerGraph, Network]:
        spec, graph = self.network.spec, self.network.graph
        for node in graph.nodes:
            if node.op != "output" and node not in self.made and not is_number(node):
                self._lower(node)
        outputs = graph.output_node().args[0]
        ends = outputs if isinstance(outputs, tuple) else (outputs,)
        order = {node: index for index, node in enumerate(graph.nodes)}
        inner = sorted(ends[:-1], key=order.__getitem__)
        for fold in self.folds:
            fold.write_back()
        scale = (spec.scale.mean, spec.scale.std) if spec.scale else None
        lowered = IntegerGraph(
            nodes=tuple(self.nodes),
            values=self.values,
            input=next(node.name for node in graph.nodes if node.op == "placeholder"),
            outputs=tuple(self.made[node] for node in (*inner, ends[-1])),
            rule=spec.rule or None,
            classes=len(spec.labels),
            scale=scale if spec.task == "regression" else None,
            kept_float=self.kept_float,
        )
        return lowered, self.network

    @torch.no_grad()
    def _values(self, count: int) -> dict[FxNode, Any]:
        """Return what every node gives for so many images, tensors and sizes."""
        found: dict[FxNode, Any] = {}

        def filled(arg: Any) -> Any:
            return torch.fx.node.map_arg(arg, found.__getitem__)

        for node in self.network.graph.nodes:
            if node.op == "placeholder":
                found[node] = torch.zeros(count, *self.network.spec.input_shape)
            elif node.op == "call_module":
                found[node] = self.modules[str(node.target)](*filled(node.args))
            elif node.op == "call_function":
                found[node] = node.target(*filled(node.args))
            elif node.op == "get_attr":
                found[node] = attribute(self.network, str(node.target))
        return found

    def _value(self, node: FxNode, grid: Grid | None) -> Value:
        one, several = (run[node] for run in self.runs)
        if not isinstance(one, Tensor):
            return Value((), grid)
        follow = [axis for axis, sizes in enumerate(zip(one.shape, several.shape, strict=True)) if len(set(sizes)) > 1]
        if not follow:
            return Value(tuple(one.shape), grid, rows=0)
        (axis,) = follow
        return Value((*one.shape[:axis], *one.shape[axis + 1 :]), grid, one.shape[axis], axis)

    def _add(self, made: Node, node: FxNode, grid: Grid | None, *also: FxNode) -> None:
        self.nodes.append(made)
        self.values[made.name] = self._value(node, grid)
        self.made.update(dict.fromkeys((node, *also), made.name))

    def _lower(self, node: FxNode) -> None:
        kind = operation(node, self.network)
        tensors = [arg for arg in node.all_input_nodes if not is_number(arg)]
        if node.op == "placeholder":
            self.values[node.name] = self._value(node, None)
            self.made[node] = node.name
        elif kind == "activationquantizer":
            self._round(node)
        elif kind in NOTHING:
            self.made[node] = self.made[tensors[0]]
        elif is_layer(node, self.network):
            self._layer(node)
        elif not (
            (kind == "add" and self._sum(node))
            or (kind == "cat" and self._concat(node))
            or (kind in AVERAGES and self._average(node))
        ):
            self._operation(node, kind)

    def _grid(self, name: str) -> Grid | None:
        return self.values[name].grid

    def _grid_of(self, quantizer: FxNode) -> Grid:
        module = self.modules[str(quantizer.target)]
        assert isinstance(module, ActivationQuantizer)
        return Grid(float(lsq.positive(module.used(module.scale)).detach()), *module.codes)

    def _round(self, node: FxNode) -> None:
        source, grid = self.made[node.all_input_nodes[0]], self._grid_of(node)
        if self._grid(source) == grid:
            self.made[node] = source  # already rounded where it was computed
        else:
            self._add(Round(node.name, (source,)), node, grid)

    # What is rounded behind a node, its norm and its clipping activations

    def _behind(self, node: FxNode) -> Iterator[tuple[FxNode, str]]:
        """Yield the nodes behind one as long as each has one user, with what they do."""
        while len(node.users) == 1:
            (node,) = node.users
            yield node, operation(node, self.network)

    def _rounding(self, node: FxNode) -> tuple[Grid, tuple[int, int], list[FxNode]] | str:
        """Return how a node's output is rounded: the grid, its lowest and highest code, and the nodes that clip it.

        Where it is not, return what is in the way.
        """
        limits, may_clip = [(-np.inf, np.inf)], True
        clips: list[FxNode] = []
        for follower, kind in self._behind(node):
            if kind == "activationquantizer":
                grid = self._grid_of(follower)
                low, high = grid.low, grid.high
                for least, most in limits:
                    low = max(low, int(np.rint(np.float32(least) / np.float32(grid.scale)))) if least > -np.inf else low
                    high = min(high, int(np.rint(np.float32(most) / np.float32(grid.scale)))) if most < np.inf else high
                return (grid, (low, max(low, high)), clips) if grid.low <= low <= grid.high else "clip"
            between = self._limits(follower, kind)
            if between is not None and may_clip:
                limits.append(between)
                clips.append(follower)
            elif kind in MOVES | NOTHING:
                may_clip = False
            else:
                return kind
        return "nothing"

    def _limits(self, node: FxNode, kind: str) -> tuple[float, float] | None:
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

    # Layers

    def _layer(self, node: FxNode) -> None:
        module, name = self.modules[str(node.target)], layer_name(node)
        (reads,) = node.all_input_nodes
        source = self.made[reads]
        norm = self._norm_behind(node)
        end = norm or node
        window = _window(module)
        rounding = self._rounding(end)
        is_last = isinstance(module, nn.Linear) and isinstance(rounding, str)
        reason = ""
        if not isinstance(module, QuantizedWeight):
            reason = "its weights are not rounded"
        elif self._grid(source) is None:
            reason = "what it reads is not rounded"
        elif window is None and not isinstance(module, nn.Linear):
            reason = "its padding is not zeros"
        elif isinstance(rounding, str) and not is_last:
            reason = f"what follows it, '{rounding}', is not rounded or clipped codes"
        if reason:
            self.kept_float[name] = reason
            self._operation(node, operation(node, self.network), layer=name)
            return
        assert isinstance(module, QuantizedWeight)
        grid = self._grid(source)
        assert grid is not None
        fold = folded(module, self.modules[str(norm.target)] if norm else None, grid, self.largest_code)
        self.folds.append(fold)
        output, limits, clips = (None, (0, 0), list[FxNode]()) if isinstance(rounding, str) else rounding
        parts = (fold.codes, fold.scale, fold.bias, *limits, window, getattr(module, "groups", 1))
        end = clips[-1] if clips else end
        also = [step for step in (node, norm, *clips) if step is not None]
        self._add(Layer(end.name, (source,), name, *parts), end, output, *also)

    def _norm_behind(self, node: FxNode) -> FxNode | None:
        for follower, kind in self._behind(node):
            module = self.modules.get(str(follower.target))
            is_norm = kind in ("batchnorm2d", "batchnorm1d") and module.running_mean is not None  # type: ignore[union-attr]
            return follower if is_norm and self.runs[0][follower].shape == self.runs[0][node].shape else None
        return None

    # Sums, joins, averages

    def _codes_only(self, node: FxNode, operands: list[FxNode]) -> tuple[Grid, tuple[int, int], list[FxNode]] | None:
        """Return how a node's output is rounded, if it reads codes only and is."""
        if any(self._grid(self.made[operand]) is None for operand in operands):
            return None
        rounding = self._rounding(node)
        return None if isinstance(rounding, str) else rounding

    def _sum(self, node: FxNode) -> bool:
        operands = [arg for arg in node.args if isinstance(arg, FxNode)]
        shapes = {tuple(self.runs[0][operand].shape) if not is_number(operand) else () for operand in operands}
        is_plain = len(node.args) == len(operands) == BOTH and len(shapes) == 1
        found = self._codes_only(node, operands) if is_plain else None
        if not found:
            return False
        grid, limits, clips = found
        end = clips[-1] if clips else node
        self._add(Sum(end.name, tuple(self.made[one] for one in operands), *limits), end, grid, node, *clips)
        return True

    def _concat(self, node: FxNode) -> bool:
        operands: Any = list(node.args[0]) if isinstance(node.args[0], list | tuple) else []
        axis = node.args[1] if len(node.args) > 1 else 0
        found = self._codes_only(node, operands) if operands and axis == 1 else None
        if not found or found[2]:
            return False
        self._add(Concat(node.name, tuple(self.made[one] for one in operands), 1), node, found[0])
        return True

    def _average(self, node: FxNode) -> bool:
        (source, *_) = node.all_input_nodes
        found = self._codes_only(node, [source])
        window = self._averaged(node, source)
        if not found or found[2] or window == OTHER:
            return False
        windows = window if isinstance(window, Window) else None
        self._add(Average(node.name, (self.made[source],), windows), node, found[0])
        return True

    def _averaged(self, node: FxNode, source: FxNode) -> Window | str:
        """Return over which windows a node takes means; or MAP, or OTHER."""
        shape, kind = self.runs[0][source].shape, operation(node, self.network)
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

    # Everything else

    def _operation(self, node: FxNode, kind: str, layer: str = "") -> None:
        tensors = [arg for arg in node.all_input_nodes if not is_number(arg)]
        grids = {self._grid(self.made[arg]) for arg in tensors}
        keeps = self._only_moves(node, kind) and len(grids) == 1
        attributes, parameters = {}, {}
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            known = kind_of(module)
            if isinstance(module, QuantizedWeight):
                known = "Linear" if isinstance(module, nn.Linear) else "Conv2d"
            attributes = {
                name: _plain(getattr(module, name)) for name in MODULES.get(known or "", ()) if name != "bias"
            }
            parameters = {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}
            if isinstance(module, QuantizedWeight):
                parameters["weight"] = module.rounded_weight().detach().numpy().copy()
                parameters.pop("weight_scale")
            kind = (known or type(module).__name__).lower()
        elif node.op == "get_attr":
            kind, parameters = "constant", {"value": self.runs[0][node].detach().numpy().copy()}
        self._add(
            Operation(
                node.name,
                tuple(self.made[arg] for arg in tensors),
                kind,
                tuple(self._argument(arg) for arg in node.args),
                attributes,
                parameters,
                layer,
            ),
            node,
            next(iter(grids)) if keeps else None,
        )

    def _only_moves(self, node: FxNode, kind: str) -> bool:
        if kind in ("pad", "zeropad2d", "constantpad2d"):
            value = getattr(self.modules.get(str(node.target)), "value", None) if node.op == "call_module" else None
            given = node.args[2:] if node.op == "call_function" else ()
            return all(part in ("constant", None, 0) for part in (*given, value))
        if kind in ("interpolate", "upsample", "upsamplingnearest2d"):
            module = self.modules.get(str(node.target)) if node.op == "call_module" else None
            mode: Any = getattr(module, "mode", None) or next(iter(node.args[3:]), "nearest")
            return bool(mode == "nearest")
        return kind in MOVES

    def _argument(self, arg: Any) -> Any:
        """Return an argument with names for tensors and numbers for sizes, those per image marked."""
        if isinstance(arg, FxNode):
            if not is_number(arg):
                return Ref(self.made[arg])
            one, several = (run[arg] for run in self.runs)
            if one == several or isinstance(one, bool):
                return one
            return PerImage(one) if operator.eq(several, one * IMAGES[1]) else one
        if isinstance(arg, tuple | list):
            return tuple(self._argument(item) for item in arg)
        if isinstance(arg, slice):
            return slice(*(self._argument(part) for part in (arg.start, arg.stop, arg.step)))
        return arg


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


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else value


def _window(module: nn.Module) -> Window | None:
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
