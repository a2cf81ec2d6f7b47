"""A network with some of its exits only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from coc_cli.errors import StageError
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Edge, ExitRule, Spec

_OF_HEAD = re.compile(r"^((?:edges\.)?exits[._])(\d+)(?=[._])")  # of modules, nodes of the graph, and edges
Value = TypeVar("Value")


def with_exits(network: Network, kept: Sequence[int], rule: ExitRule | None) -> Network:
    """Return a network that has the exits `kept`, rising, with their heads, and no others.

    Args:
        network: Stays as it is.
        kept: Numbers of its exits; without any there is no rule.
        rule: When images leave, with one threshold or as many as there are exits.

    Returns:
        The network, in eval mode on the same device; what it computes up to each exit is what it was.

    Raises:
        StageError: If the rule compares an exit with the one before, and that is left out.
    """
    spec = network.spec
    if rule is not None and rule.measure == "agreement" and len(kept) < len(spec.exits):
        raise StageError("leaves where two exits agree, so none of them can be left out")
    new = {old: place for place, old in enumerate(kept)}
    smaller = spec.with_changes(
        exits=tuple(spec.exits[exit_] for exit_ in kept),
        rule=rule if kept else None,
        edges=_edges(spec, new),
        **{key: _kept(getattr(spec, key), new) for key in ("modules", "parameters", "bits")},
    )
    result, state = build(smaller).to(network.device), network.state_dict()
    old = {place: exit_ for exit_, place in new.items()}
    names = {name: _renamed(name, old) for name in result.state_dict()}
    with torch.no_grad():
        result.load_state_dict({name: state[str(before)] for name, before in names.items()})
    return result.eval()


def _renamed(name: str, new: Mapping[int, int]) -> str | None:
    """Return a name with another number of its exit, if it belongs to a head; None for a head that is left out."""
    found = _OF_HEAD.match(name)
    if found is None:
        return name
    place = new.get(int(found[2]))
    return None if place is None else f"{found[1]}{place}{name[found.end() :]}"


def _kept(values: Mapping[str, Value], new: Mapping[int, int]) -> dict[str, Value]:
    names = {name: _renamed(name, new) for name in values}
    return {after: values[name] for name, after in names.items() if after is not None}


def _edges(spec: Spec, new: Mapping[int, int]) -> dict[str, Edge]:
    """Return the edges that something still reads."""
    edges: dict[str, Edge] = {}
    for name, edge in _kept(spec.edges, new).items():
        users = [after for user in edge.users if (after := _renamed(user, new)) is not None]
        source: Any = _renamed(edge.source, new)
        if source is not None and (users or not edge.users):
            edges[name] = edge.model_copy(update={"source": source, "users": tuple(users)})
    return edges
