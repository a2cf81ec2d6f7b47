"""From a network to its integer graph.

A layer with rounded weights becomes one integer operation where codes come in and a quantiser stands behind its norm,
its activation and whatever only moves values. Norms are folded exactly: a gain goes into the scale of its channel, its
sign into the codes. The bias is rounded to the step of the sum; weights of few bits are written as larger codes with a
finer step for that, as far as they fit.
"""

from __future__ import annotations

import operator
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
from coc_cli.nets.quantizer_places import AVERAGES
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
from coc_cli.runtime.patterns import MOVES, NOTHING, OTHER, Patterns, window_of

BOTH = 2
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
        self.patterns = Patterns(network, self.modules, self.runs[0])
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

    def _rounding(self, node: FxNode) -> tuple[Grid, tuple[int, int], list[FxNode]] | str:
        """Return how a node's output is rounded: the grid, its lowest and highest code, and the nodes that clip it.

        Where it is not, return what is in the way.
        """
        limits, may_clip = [(-np.inf, np.inf)], True
        clips: list[FxNode] = []
        for follower, kind in self.patterns.behind(node):
            if kind == "activationquantizer":
                grid = self._grid_of(follower)
                low, high = grid.low, grid.high
                for least, most in limits:
                    low = max(low, int(np.rint(np.float32(least) / np.float32(grid.scale)))) if least > -np.inf else low
                    high = min(high, int(np.rint(np.float32(most) / np.float32(grid.scale)))) if most < np.inf else high
                return (grid, (low, max(low, high)), clips) if grid.low <= low <= grid.high else "clip"
            between = self.patterns.limits(follower, kind)
            if between is not None and may_clip:
                limits.append(between)
                clips.append(follower)
            elif kind in MOVES | NOTHING:
                may_clip = False
            else:
                return kind
        return "nothing"

    # Layers

    def _layer(self, node: FxNode) -> None:
        module, name = self.modules[str(node.target)], layer_name(node)
        (reads,) = node.all_input_nodes
        source = self.made[reads]
        norm = self.patterns.norm_behind(node)
        end = norm or node
        window = window_of(module)
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
        window = self.patterns.averaged(node, source)
        if not found or found[2] or window == OTHER:
            return False
        windows = window if isinstance(window, Window) else None
        self._add(Average(node.name, (self.made[source],), windows), node, found[0])
        return True

    # Everything else

    def _operation(self, node: FxNode, kind: str, layer: str = "") -> None:
        tensors = [arg for arg in node.all_input_nodes if not is_number(arg)]
        grids = {self._grid(self.made[arg]) for arg in tensors}
        keeps = self.patterns.only_moves(node, kind) and len(grids) == 1
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


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, tuple | list) else value
