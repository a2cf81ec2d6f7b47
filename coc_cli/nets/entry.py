"""How a network comes in: made by its architecture, made plain, traced once, and from then on carried as a graph."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from coc_cli.errors import StageError
from coc_cli.nets import architectures
from coc_cli.nets.assembly import described, tensors_of
from coc_cli.nets.canonical import canonicalize
from coc_cli.nets.names import BACKBONE, plain_path
from coc_cli.nets.spec import Spec
from coc_cli.nets.traced_graph import NetworkGraph
from coc_cli.nets.tracing import drawn, trace

_KEPT = 64  # graphs that were traced lately
_traced: OrderedDict[str, NetworkGraph] = OrderedDict()


def raw(spec: Spec) -> nn.Module:
    """Return the architecture of a spec just as its source makes it, with fresh random weights."""
    return architectures.create(spec.arch, spec.args, outputs=len(spec.labels), channels=spec.input_shape[0])


def entered(spec: Spec, backbone: nn.Module) -> tuple[NetworkGraph, dict[str, Tensor]]:
    """Trace a backbone that its architecture made, and make it plain, in place.

    Returns:
        Its graph, and its tensors by their names in the graph.

    Raises:
        StageError: If it cannot be traced; the text names module, file and line.
    """
    with architectures.user_code_errors(spec.arch, is_about_all=True):
        backbone = canonicalize(backbone, spec.input_shape)
        traced = trace(backbone, spec.input_shape, BACKBONE)
    parameters = {plain_path(name) for name, _ in backbone.named_parameters(remove_duplicate=False)}
    trained = frozenset((*parameters, *(new for new, old in traced.sources.items() if old in parameters)))
    return described(traced, trained), tensors_of(traced, backbone)


def check_same(spec: Spec, graph: NetworkGraph, other: NetworkGraph) -> None:
    """Raise `StageError` if an architecture, made again, is another network."""
    if graph != other:
        with architectures.user_code_errors(spec.arch, is_about_all=True):
            what = (
                "does another thing each time it is made; let it depend on its arguments alone, as by random.Random(0)"
            )
            raise StageError(what, "arch")


def with_graph(spec: Spec) -> Spec:
    """Return a spec that carries the graph of its architecture; raises `StageError` if that cannot be traced."""
    if spec.graph is not None:
        return spec
    inputs = spec.arch, dict(spec.args), architectures.fingerprint(spec.arch), len(spec.labels), spec.input_shape
    key = repr(inputs)
    if key not in _traced:
        with torch.random.fork_rng([]), torch.device("meta"):
            before = drawn()
            graph = entered(spec, raw(spec))[0]
            if drawn() != before:  # by the maker; what it draws must not be what the network does
                check_same(spec, graph, entered(spec, raw(spec))[0])
            _traced[key] = graph
        while len(_traced) > _KEPT:
            _traced.popitem(last=False)
    _traced.move_to_end(key)
    return spec.with_changes(graph=_traced[key])
