"""The features by which two networks are compared: the last activation at each resolution."""

from __future__ import annotations

from coc_cli.nets.graph import ACTIVATIONS, operation
from coc_cli.nets.network import Network, build
from coc_cli.nets.shapes import node_shapes
from coc_cli.nets.spec import Spec


def _last_by_resolution(spec: Spec) -> dict[tuple[int, ...], str]:
    network = build(spec, device="meta")
    shapes = node_shapes(network)
    maps = [n for n in network.graph.nodes if n.name in shapes and len(shapes[n.name]) == len("NCHW")]
    return {shapes[n.name][2:]: n.name for n in maps if operation(n, network) in ACTIVATIONS}


def common_features(one: Network, other: Network) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the taps of both networks for `Network.run`, in pairs of equal resolution."""
    mine, theirs = _last_by_resolution(one.spec), _last_by_resolution(other.spec)
    common = [size for size in mine if size in theirs]
    return tuple(mine[size] for size in common), tuple(theirs[size] for size in common)
