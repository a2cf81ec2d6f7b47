"""The names of a network's parts: layers are named as in the backbone, or exits.N.NAME in a head. No torch here."""

from __future__ import annotations

BACKBONE, EXITS, EDGES = "backbone.", "exits.", "edges."  # what names of modules in a network begin with


def is_head(layer: str) -> bool:
    """Return whether a layer belongs to an exit's head."""
    return layer.startswith(EXITS)


def module_path(layer: str) -> str:
    """Return where in the network the layer of that name is."""
    return layer if is_head(layer) else f"{BACKBONE}{layer}"


def layer_at(path: str) -> str:
    """Return the name of the layer at a path in the network."""
    return path.removeprefix(BACKBONE)


def head_part(exit_: int, name: str) -> str:
    """Return the name of a part of an exit's head."""
    return f"{EXITS}{exit_}.{name}"


def edge_path(edge: str) -> str:
    """Return where in the network the quantiser of an edge is."""
    return f"{EDGES}{edge}"


def is_edge(path: str) -> bool:
    """Return whether a path leads to a quantiser of an edge."""
    return path.startswith(EDGES)
