"""The names of a network's parts: layers are named as in the backbone, or exits.N.NAME in a head. No torch here."""

from __future__ import annotations

import re

BACKBONE, EXITS, EDGES = "backbone.", "exits.", "edges."  # prefixes of module names in a network


def is_head(layer: str) -> bool:
    """Return whether a layer belongs to an exit's head."""
    return layer.startswith(EXITS)


def module_path(layer: str) -> str:
    """Return the path of a layer in the network."""
    return layer if is_head(layer) else f"{BACKBONE}{layer}"


def layer_at(path: str) -> str:
    """Return the name of the layer at a path in the network; the inverse of `module_path`."""
    return path.removeprefix(BACKBONE)


def head_part(exit_: int, name: str) -> str:
    """Return the name of a part of an exit's head."""
    return f"{EXITS}{exit_}.{name}"


def edge_path(edge: str) -> str:
    """Return the path of an edge's quantiser in the network."""
    return f"{EDGES}{edge}"


def is_edge(path: str) -> bool:
    """Return whether a path leads to a quantiser of an edge."""
    return path.startswith(EDGES)


def plain_path(path: str) -> str:
    """Return a module's path as a graph has it: of letters, digits, underscores and dots."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", path)
