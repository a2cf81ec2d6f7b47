"""Where exits can be: the places behind convolutions and max-pools, and how far through the network each is."""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import Node

from coc_cli.nets.graph import ELEMENTWISE, belongs_to_layer, is_layer, operation
from coc_cli.nets.macs import macs_by_node
from coc_cli.nets.names import is_head, module_path
from coc_cli.nets.network import Network, build, without_quantizers
from coc_cli.nets.shapes import node_shapes
from coc_cli.nets.spec import Spec

MAX_POOLS = frozenset(("maxpool2d", "max_pool2d"))


@dataclass(frozen=True)
class Place:
    """A tensor [N, channels, H, W] that a head could read."""

    source: str  # the fx node
    channels: int
    macs_fraction: float  # of the network's MACs, done up to here
    is_single: bool  # no other tensor is needed for what follows: a boundary between blocks


class Places:
    """All places of a network without exits, in order."""

    def __init__(self, spec: Spec) -> None:
        backbone = {name: numbers for name, numbers in spec.modules.items() if not is_head(name)}
        self.network = build(
            without_quantizers(spec).with_changes(exits=(), rule=None, modules=backbone), device="meta"
        )
        self.body = [node for node in self.network.graph.nodes if node.op != "output"]
        self.position = {node: index for index, node in enumerate(self.body)}
        self.shapes = node_shapes(self.network)
        self.macs = macs_by_node(self.network)

    def at(self, node: Node) -> Place:
        """Return the place behind a node."""
        end = self.position[node]
        done = sum(macs for layer, macs in self.macs.items() if self.position[layer] <= end)
        live = [n for n in self.body[: end + 1] if any(self.position.get(user, -1) > end for user in n.users)]
        return Place(node.name, self.shapes[node.name][1], done / sum(self.macs.values()), live == [node])

    def _is_map(self, node: Node) -> bool:
        """Return whether a node gives one map [C, H, W] for each image."""
        shape = self.shapes.get(node.name, ())
        return len(shape) == len("NCHW") and shape[0] == 1

    def every_conv(self) -> list[Place]:
        """Return the places behind each convolution (its norm, activation and sum included) and each max-pool.

        The last, which only the classifier follows, is left out. 32 on ResNet-34, 20 on VGG-19.
        """
        ends = set()
        for node in self.body:
            if is_layer(node, self.network) and self._is_map(node):
                ends.add(_end(node, self.network))
            elif operation(node, self.network) in MAX_POOLS and self._is_map(node):
                ends.add(node)
        return [self.at(node) for node in sorted(ends, key=self.position.__getitem__)[:-1]]

    def every_block(self) -> list[Place]:
        """Return those at which no other tensor is alive: the boundaries between blocks."""
        return [place for place in self.every_conv() if place.is_single]

    def named(self, name: str) -> Place | None:
        """Return the place behind a module of the backbone or a node of the graph; None if there is no such tensor."""
        path = module_path(name)
        inside = [node for node in self.body if node.name == name or f"{_place(node)}.".startswith(f"{path}.")]
        if not inside or not self._is_map(inside[-1]):
            return None
        return self.at(inside[-1])

    def names(self) -> list[str]:
        """Return the names of the backbone's modules that have a place behind them."""
        return [name for name, _ in self.network.backbone.named_modules() if name and self.named(name)]


def _place(node: Node) -> str:
    """Return the path of the module that a node calls, else of that in whose forward it stands."""
    return str(node.target if node.op == "call_module" else node.meta.get("scope", ""))


def _end(node: Node, network: Network) -> Node:
    """Return the last node of a convolution with its norm, activation and sum."""
    while len(node.users) == 1:
        (user,) = node.users
        if not (belongs_to_layer(user, network) or operation(user, network) in ELEMENTWISE):
            break
        node = user
    return node


def spread(places: list[Place], fractions: list[float]) -> list[Place]:
    """Choose, for each fraction of the MACs in turn, the nearest place still free; fewer if there are fewer."""
    chosen: list[Place] = []
    for target in fractions:
        free = [place for place in places if place not in chosen]
        if free:
            chosen.append(min(free, key=lambda place, target=target: abs(place.macs_fraction - target)))  # type: ignore[misc]
    return sorted(chosen, key=places.index)
