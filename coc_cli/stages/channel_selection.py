"""Which channels of a network are removed, so that a fraction of its MACs is left.

Which channels belong together is found by DepGraph (Fang et al. 2023, the library torch-pruning, used here only); how
many of each group to remove is chosen by coc, to hit the fraction. The library works on a float copy whose tensors hold
the flat indices of their own elements: what is left of these after pruning says which elements stay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from coc_cli.errors import StageError, did_you_mean
from coc_cli.nets.cost import cost
from coc_cli.nets.graph import WEIGHTED
from coc_cli.nets.layers import QuantizedWeight, numbers_of
from coc_cli.nets.names import is_edge, is_head, layer_at
from coc_cli.nets.network import Network, build, changed_numbers, changed_parameters, without_quantizers
from coc_cli.nets.slicing import SliceIndices, sliced_spec
from coc_cli.nets.spec import Spec
from coc_cli.stages.pruning_widths import TOLERANCE, Group, counts_for


def backbone_macs(spec: Spec) -> int:
    """Return the MACs of the full path without heads, which pruning counts."""
    return sum(layer.macs for layer in cost(spec).layers if not layer.is_head)


@dataclass(frozen=True)
class SelectionSettings:
    """How channels are compared, and which layers may lose some."""

    importance: str = "group_norm"
    scope: str = "global"  # or "layer"
    prunable: Mapping[str, bool] = field(default_factory=dict)  # by pattern of layer names; the last match decides


def choose_channels(
    network: Network, settings: SelectionSettings, fraction: float, *, exactly: bool = True
) -> SliceIndices:
    """Choose the channels to keep so that this fraction of the backbone's MACs is left; the network stays as it is.

    Raises `StageError` that names a layer that cannot be pruned, or, if the fraction is to be met `exactly`, says by
    how much it is missed, if by more than the tolerance.
    """
    copy = build(without_quantizers(network.spec)).eval()
    copy.load_state_dict(_float_state(network))
    groups = _groups(copy, settings)
    counts = counts_for(copy, groups, fraction, settings.scope)
    # A weight [2, 3] becomes [[0, 1, 2], [3, 4, 5]]; once the library has removed its middle input it reads
    # [[0, 2], [3, 5]]: the flat indices of the elements that remain.
    for tensor in (*copy.parameters(), *copy.buffers()):
        tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape)
    for group, count in zip(groups, counts, strict=True):
        if count < len(group.importance):
            removed = group.importance.argsort(stable=True)[: len(group.importance) - count]
            group.remove(sorted(removed.tolist()))
    indices = _remaining(copy, network)
    _check(network.spec, indices, fraction if exactly else None)
    return indices


def sliced_dry(spec: Spec, settings: SelectionSettings, fraction: float) -> Spec:
    """Return the spec that pruning would leave of fresh random weights: all that is known without the real ones."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return sliced_spec(spec, choose_channels(build(spec), settings, fraction))


def _remaining(copy: Network, network: Network) -> SliceIndices:
    """Return the indices that the library left in a copy whose tensors count their own elements."""
    modules = changed_numbers(copy, network.spec)
    for name, numbers in modules.items():
        if min(numbers.values()) < 1 or numbers.get("in", 0) % numbers.get("groups", 1):
            raise _unprunable(name, "torch-pruning does not see which of its channels belong together")
    tensors = (*copy.named_parameters(), *copy.named_buffers())
    indices = {name: tensor.detach().long() for name, tensor in tensors if name in network.state_dict()}
    parameters = changed_parameters(copy, network.spec.with_changes(modules=modules))
    return SliceIndices({name: index for name, index in indices.items() if index.dim()}, modules, parameters)


def _float_state(network: Network) -> dict[str, Tensor]:
    state = {name: t.detach().cpu().clone() for name, t in network.state_dict().items()}
    for path, layer in network.named_modules():
        if isinstance(layer, QuantizedWeight):
            state[f"{path}.weight"] = layer.rounded_weight().detach().cpu()
            del state[f"{path}.weight_scale"]
    return {name: t for name, t in state.items() if not is_edge(name)}


IMPORTANCES: dict[str, Callable[[Any], Any]] = {  # from the library's module
    "group_norm": lambda tp: tp.importance.GroupMagnitudeImportance(p=2),
    "magnitude": lambda tp: tp.importance.GroupMagnitudeImportance(p=1, group_reduction="first", normalizer=None),
    "bn_scale": lambda tp: tp.importance.BNScaleImportance(),
    "lamp": lambda tp: tp.importance.LAMPImportance(),
    "random": lambda tp: tp.importance.RandomImportance(),
}


def _groups(network: Network, settings: SelectionSettings) -> list[Group]:
    """Return the groups of a float network that may be pruned, with the importance of each channel."""
    import torch_pruning as tp

    names = {module: layer_at(path) for path, module in network.named_modules()}
    held, graph = _held(network, settings), _dependencies(network)
    score = IMPORTANCES[settings.importance](tp)
    ignored = [module for module in network.modules() if isinstance(module, WEIGHTED) and names[module] in held]
    groups = []
    for members in graph.get_all_groups(ignored_layers=ignored, root_module_types=[nn.Conv2d, nn.Linear]):
        outs, ins = _channels(members, graph, names)
        if any(name in held for name in outs) or _is_grouped(network, {*outs, *ins}):
            continue
        root = members[0].dep.target.module
        try:
            importance = score(members)
        except (IndexError, RuntimeError) as error:
            raise _unprunable(names[root], f"torch-pruning loses count of its channels: {error}") from error
        if importance is not None:
            channels = importance.detach()[: len(members[0].idxs)]
            groups.append(Group(names[root], channels, outs, ins, _remover(graph, root, members[0].dep.handler)))
    if not groups:
        raise StageError("no layer of this network can be pruned: each is held by a pattern or tied to the output")
    return groups


def _dependencies(network: Network) -> Any:
    """Return the library's graph of which channels belong together."""
    import torch_pruning as tp

    example = torch.zeros(1, *network.spec.input_shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about bare parameters, which it prunes correctly
            return tp.DependencyGraph().build_dependency(network, example_inputs=example)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StageError(f"torch-pruning cannot follow this network: {first}") from error


def _channels(members: Any, graph: Any, names: Mapping[nn.Module, str]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many output and input channels of each layer belong to a group."""
    outs: dict[str, int] = {}
    ins: dict[str, int] = {}
    for dep, indices in members:
        module = dep.target.module
        if isinstance(module, WEIGHTED):
            into = ins if graph.is_in_channel_pruning_fn(dep.handler) else outs
            into[names[module]] = len(indices)
    return outs, ins


def _remover(graph: Any, root: nn.Module, pruning: Any) -> Callable[[list[int]], None]:
    return lambda gone: graph.get_pruning_group(root, pruning, gone).prune()  # type: ignore[no-any-return]


def _is_grouped(network: Network, names: Iterable[str]) -> bool:
    numbers = [numbers_of(network.layer(name)) or {} for name in names]
    return any(1 < layer.get("groups", 1) < layer["in"] for layer in numbers)


def _held(network: Network, settings: SelectionSettings) -> set[str]:
    """Return the layers whose output channels stay: classifiers, layers of heads, and those that patterns hold."""
    names = list(network.layers)
    classifiers = {name for name in names if is_head(name)} | {[name for name in names if not is_head(name)][-1]}
    held: set[str] = set()
    for pattern, prunable in settings.prunable.items():
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            raise StageError(f"pattern '{pattern}' matches no layer; {did_you_mean(pattern, names)}", "layers")
        held = held - matched if prunable else held | matched
    return held | classifiers


def _unprunable(layer: str, why: str) -> StageError:
    return StageError(f"layer '{layer}' cannot be pruned: {why}; keep it with layers: {{'{layer}': {{prune: false}}}}")


def _check(spec: Spec, indices: SliceIndices, fraction: float | None) -> None:
    """Raise `StageError` unless the indices leave a network that runs, with the requested fraction of MACs."""
    try:
        fraction_left = backbone_macs(sliced_spec(spec, indices)) / backbone_macs(spec)
    except (RuntimeError, AssertionError) as error:
        layer = next(iter(indices.modules), "the network")
        raise _unprunable(layer, f"what is left does not fit together: {str(error).splitlines()[0]}") from error
    if fraction is not None and abs(fraction_left - fraction) > TOLERANCE:
        why = "the other channels are held or too few"
        raise StageError(f"cannot leave {fraction:.1%} of the MACs, the nearest is {fraction_left:.1%}: {why}", "ratio")
