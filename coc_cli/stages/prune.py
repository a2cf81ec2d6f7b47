"""Structured pruning: whole channels are removed, with everything that depends on them.

Which channels belong together is found by DepGraph (Fang et al. 2023, the library torch-pruning, used here only); how
many of each group go is chosen here, to hit a share of the network's MACs. The library works on a float twin whose
tensors count their own elements: what is left of the count after pruning says which elements stay.

    - prune: {ratio: 0.5, steps: 2, epochs: 20}
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from coc_cli.errors import StageError, did_you_mean
from coc_cli.frozen import Frozen
from coc_cli.nets.spec import Spec
from coc_cli.stages.shares import TOLERANCE, Group, counts_for
from coc_cli.stages.stage import Lab, TaughtStage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from coc_cli.nets.network import Network


Importance = Literal["group_norm", "magnitude", "bn_scale", "lamp", "random"]


class PruneRule(Frozen):
    """What sets some layers apart."""

    prune: Annotated[bool, Field(description="false keeps all output channels of the layer")]


class Prune(TaughtStage):
    """Remove channels until the network does less work, then train what is left."""

    name: ClassVar[str] = "prune"
    works_on: ClassVar[str] = "neurons"
    advised_place: ClassVar[int | None] = 2

    ratio: Annotated[float, Field(gt=0, lt=1, description="share of the backbone's MACs to remove")]
    importance: Annotated[Importance, Field(description="what tells how much a channel matters")] = "group_norm"
    scope: Annotated[
        Literal["global", "layer"],
        Field(description="compare channels of all layers, or take the same share of each"),
    ] = "global"
    steps: Annotated[int, Field(ge=1, description="prunings, each followed by its part of the epochs")] = 1
    layers: Annotated[
        dict[str, PruneRule], Field(description="by pattern of layer names; the last pattern that matches decides")
    ] = {}

    def expect(self, spec: Spec) -> Spec:
        import torch

        from coc_cli.nets.network import build

        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            keep = choose(build(spec), self, 1 - self.ratio)
        return sliced_spec(spec, keep)

    def notes(self, spec: Spec) -> list[str]:  # noqa: ARG002
        return [f"widths depend on the weights; the MACs left will be {1 - self.ratio:.0%} within {TOLERANCE:.0%}"]

    def change(self, network: Network, lab: Lab) -> Network:
        teacher = self.teaching(network, lab)
        total = backbone_macs(network.spec)
        for step in range(1, self.steps + 1):
            target = total * (1 - self.ratio) ** (step / self.steps)
            share = target / backbone_macs(network.spec)
            keep = choose(network, self, share, exactly=step == self.steps)
            network = sliced(network, keep).to(lab.device)
            epochs = self.epochs * step // self.steps - self.epochs * (step - 1) // self.steps
            part = self.model_copy(update={"epochs": epochs})
            lab.train(network, part, self.loss(teacher), phase=f"step-{step}")
        return network


@dataclass(frozen=True)
class Kept:
    """What stays of a network: for each tensor the flat indices of the elements kept, in their new shape."""

    indices: dict[str, Tensor]
    modules: dict[str, dict[str, int]]  # the constructor numbers that go with it
    parameters: dict[str, tuple[int, ...]]  # and the shapes of bare parameters


def backbone_macs(spec: Spec) -> int:
    """Give the MACs of the full path without heads: what pruning counts."""
    from coc_cli.measure import cost

    return sum(layer.macs for layer in cost(spec).layers if not layer.is_head)


def sliced_spec(spec: Spec, keep: Kept) -> Spec:
    """Give the spec of what stays."""
    return spec.but(modules=keep.modules, parameters=keep.parameters)


def sliced(network: Network, keep: Kept) -> Network:
    """Give what stays of a network: weights, norms, scales and heads cut by the same indices."""
    from coc_cli.nets.network import build

    made = build(sliced_spec(network.spec, keep))
    state = {}
    for name, tensor in network.state_dict().items():
        if name in keep.indices:
            state[name] = tensor.flatten()[keep.indices[name].to(tensor.device)]
        elif name.endswith(".weight_scale"):
            weight = name.removesuffix("_scale")
            rows = keep.indices[weight].flatten(1)[:, 0] // network.get_parameter(weight)[0].numel()
            state[name] = tensor[rows.to(tensor.device)]
        else:
            state[name] = tensor
    made.load_state_dict(state)
    return made.train(network.training)


def choose(network: Network, stage: Prune, share: float, *, exactly: bool = True) -> Kept:
    """Choose the channels to keep so that this share of the backbone's MACs is left; the network stays as it is.

    Raises `StageError` that names the layer where it cannot be, or, if it is to be met `exactly`, where the share is
    missed by more than the tolerance.
    """
    import torch

    from coc_cli.nets.network import build, changed_numbers, changed_parameters, float_twin

    twin = build(float_twin(network.spec)).eval()
    twin.load_state_dict(_float_state(network))
    groups = _groups(twin, stage)
    counts = counts_for(twin, groups, share, stage.scope)
    for tensor in (*twin.parameters(), *twin.buffers()):
        tensor.data = torch.arange(tensor.numel(), dtype=torch.float64).view(tensor.shape)
    for group, count in zip(groups, counts, strict=True):
        if count < len(group.importance):
            gone = group.importance.argsort(stable=True)[: len(group.importance) - count]
            group.remove(sorted(gone.tolist()))
    modules = changed_numbers(twin, network.spec)
    for name, numbers in modules.items():
        if min(numbers.values()) < 1 or numbers.get("in", 0) % numbers.get("groups", 1):
            raise _unprunable(name, "torch-pruning does not see which of its channels belong together")
    tensors = (*twin.named_parameters(), *twin.named_buffers())
    indices = {name: tensor.detach().long() for name, tensor in tensors if name in network.state_dict()}
    parameters = changed_parameters(twin, network.spec.but(modules=modules))
    keep = Kept({name: index for name, index in indices.items() if index.dim()}, modules, parameters)
    _check(network.spec, keep, share if exactly else None)
    return keep


def _float_state(network: Network) -> dict[str, Tensor]:
    from coc_cli.nets.layers import QuantizedWeight

    state = {name: t.detach().cpu().clone() for name, t in network.state_dict().items()}
    for path, layer in network.named_modules():
        if isinstance(layer, QuantizedWeight):
            state[f"{path}.weight"] = layer.rounded_weight().detach().cpu()
            del state[f"{path}.weight_scale"]
    return {name: t for name, t in state.items() if not name.startswith("edges.")}


def _groups(twin: Network, stage: Prune) -> list[Group]:
    """Find the groups of a float network that may be pruned, with how much each channel matters."""
    import torch
    import torch_pruning as tp
    from torch import nn

    from coc_cli.nets.cuts import WEIGHTED

    names = {module: path.removeprefix("backbone.") for path, module in twin.named_modules()}
    held = _held(twin, stage)
    example = torch.zeros(1, *twin.spec.input_shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of bare parameters, which it then prunes rightly
            graph = tp.DependencyGraph().build_dependency(twin, example_inputs=example)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StageError(f"torch-pruning cannot follow this network: {first}") from error
    scorers: dict[str, Callable[[], Any]] = {
        "group_norm": lambda: tp.importance.GroupMagnitudeImportance(p=2),
        "magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=1, group_reduction="first", normalizer=None),
        "bn_scale": tp.importance.BNScaleImportance,
        "lamp": tp.importance.LAMPImportance,
        "random": tp.importance.RandomImportance,
    }
    score = scorers[stage.importance]()
    made = []
    ignored = [module for module in twin.modules() if isinstance(module, WEIGHTED) and names[module] in held]
    for found in graph.get_all_groups(ignored_layers=ignored, root_module_types=[nn.Conv2d, nn.Linear]):
        root, pruning = found[0].dep.target.module, found[0].dep.handler
        channels = len(found[0].idxs)
        outs: dict[str, int] = {}
        ins: dict[str, int] = {}
        for dep, indices in found:
            module = dep.target.module
            if isinstance(module, WEIGHTED):
                into = ins if graph.is_in_channel_pruning_fn(dep.handler) else outs
                into[names[module]] = len(indices)
        if any(name in held for name in outs) or _is_grouped(twin, {*outs, *ins}):
            continue
        try:
            importance = score(found)
        except (IndexError, RuntimeError) as error:
            raise _unprunable(names[root], f"torch-pruning loses count of its channels: {error}") from error
        if importance is None:
            continue

        def remove(gone: list[int], root: nn.Module = root, pruning: Any = pruning) -> None:
            graph.get_pruning_group(root, pruning, gone).prune()

        made.append(Group(names[root], importance.detach()[:channels], outs, ins, remove))
    if not made:
        raise StageError("no layer of this network can be pruned: each is held by a pattern or tied to the output")
    return made


def _is_grouped(twin: Network, names: Iterable[str]) -> bool:
    from coc_cli.nets.layers import numbers_of

    numbers = [numbers_of(twin.layer(name)) or {} for name in names]
    return any(1 < layer.get("groups", 1) < layer["in"] for layer in numbers)


def _held(twin: Network, stage: Prune) -> set[str]:
    """Give the layers whose output channels stay: the classifiers, the heads' layers, and what patterns say."""
    from coc_cli.nets.edges import is_head

    names = list(twin.layers)
    classifiers = {name for name in names if is_head(name)} | {[name for name in names if not is_head(name)][-1]}
    held: set[str] = set()
    for pattern, rule in stage.layers.items():
        matched = {name for name in names if fnmatchcase(name, pattern)}
        if not matched:
            raise StageError(f"pattern '{pattern}' matches no layer; {did_you_mean(pattern, names)}", "layers")
        held = held - matched if rule.prune else held | matched
    return held | classifiers


def _unprunable(layer: str, why: str) -> StageError:
    return StageError(f"layer '{layer}' cannot be pruned: {why}; keep it with layers: {{'{layer}': {{prune: false}}}}")


def _check(spec: Spec, keep: Kept, share: float | None) -> None:
    """Make sure that what stays is a network that runs, with the MACs asked for."""
    try:
        left = backbone_macs(sliced_spec(spec, keep)) / backbone_macs(spec)
    except (RuntimeError, AssertionError) as error:
        layer = next(iter(keep.modules), "the network")
        raise _unprunable(layer, f"what is left does not fit together: {str(error).splitlines()[0]}") from error
    if share is not None and abs(left - share) > TOLERANCE:
        raise StageError(
            f"cannot leave {share:.1%} of the MACs, the nearest is {left:.1%}: the other channels are held or too few",
            "ratio",
        )
