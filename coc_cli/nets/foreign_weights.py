"""Weights from elsewhere: files that coc did not write, whose names may differ from the architecture's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coc_cli.errors import UserError
from coc_cli.nets.entry import raw
from coc_cli.nets.foreign_files import HERE, FaultAt, Place, tensors_in
from coc_cli.nets.foreign_names import Rules, Shapes, suggestion, unwrapped, without_counters
from coc_cli.nets.network import fresh
from coc_cli.nets.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network

Keys = Mapping[Place, Rules]  # passes over the names, in order, each with its place below `checkpoint.keys`
PREFIX = "module."  # that torch's data-parallel wrappers add to every name; `keys` see names without it
SHOWN = 3  # of each kind of misfit


def check_foreign(path: Path, keys: Keys, spec: Spec, fault: FaultAt, *, entry: str | None = None) -> None:
    """Check, by names and shapes alone, that a file fits an architecture; raises `UserError`."""
    with torch.device("meta"):
        module = raw(spec)
    _fitting(path, tensors_in(path, entry, fault, "meta"), keys, spec, module.state_dict(), fault)


def load_foreign(path: Path, keys: Keys, spec: Spec, fault: FaultAt, *, entry: str | None = None) -> Network:
    """Return a network filled with weights from a .safetensors, .pt or .pth file; raises `UserError` listing misfits.

    `entry` is the one that holds the weights, if the file has several; see `tensors_in`.
    """
    module = raw(spec)
    own, state = module.state_dict(), tensors_in(path, entry, fault, "cpu")
    with torch.no_grad():
        for name, value in _fitting(path, state, keys, spec, own, fault).items():
            if not value.isfinite().all():
                raise UserError([fault(HERE, f"{path} holds numbers that are none: '{name}' is not finite throughout")])
            own[name].copy_(value)
    network = fresh(spec, module)
    return network if spec.scale is None else in_deviations(network, fault)


def in_deviations(network: Network, fault: FaultAt) -> Network:
    """Rescale a network's outputs, in place, from the targets' units to standard deviations from their mean.

    That is what fresh students and heads learn as well. The last layer absorbs mean and deviation; raises `UserError`
    where that would change the predictions, which random images test.
    """
    assert network.spec.scale is not None
    example = torch.randn(4, *network.spec.input_shape, generator=torch.Generator().manual_seed(0))
    network.eval()
    layer = network.get_submodule(str(network.layer_nodes[-1].target))
    mean, std = (torch.tensor(part) for part in (network.spec.scale.mean, network.spec.scale.std))
    with torch.no_grad():
        expected = network(example)[-1]
        if isinstance(layer.bias, torch.Tensor) and layer.bias.shape == mean.shape:
            layer.bias.sub_(mean).div_(std)
            assert isinstance(layer.weight, torch.Tensor)
            layer.weight.div_(std.view(-1, *[1] * (layer.weight.dim() - 1)))
        actual = network.spec.scale.values(network(example)[-1])
    if not torch.allclose(actual, expected, rtol=1e-3, atol=1e-3 * float(std.min())):
        what = (
            "its outputs cannot be brought to standard deviations: the last layer must be linear, with a bias, and give"
        )
        raise UserError([fault(HERE, f"{what} the {len(mean)} targets in the order of the data")])
    return network.train()


def _fitting(
    path: Path, state: dict[str, Tensor], keys: Keys, spec: Spec, own: Mapping[str, Tensor], fault: FaultAt
) -> dict[str, Tensor]:
    """Return a file's tensors by the architecture's names, all of them in its shapes."""
    bare = _without_prefix(state)
    state = bare if any(keys.values()) else state
    for place, renaming in keys.items():
        at = (*HERE, "keys", *place)
        state = {new: state[old] for old, new in renamed(list(state), renaming, at, fault).items()}
    tensors = {new: state[old] for old, new in unwrapped(state, own).items()}
    tensors = {name: tensors[name] for name in without_counters(tensors, own)}
    expected, stored = ({name: tuple(value.shape) for name, value in each.items()} for each in (own, tensors))
    noun = "classes" if spec.task == "classification" else "targets"
    if misfit := _misfit(expected, stored, len(spec.labels), noun):
        seen = state if any(keys.values()) else bare
        shapes = {name: tuple(value.shape) for name, value in seen.items()}
        raise UserError([fault(HERE, f"{path} does not fit {spec.arch}: {misfit}{_advice(shapes, expected, keys)}")])
    return tensors


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the prefix of data-parallel wrappers, if every name has it: what `keys` see."""
    if not all(name.startswith(PREFIX) for name in state):
        return state
    return {name.removeprefix(PREFIX): value for name, value in state.items()}


def _advice(stored: Shapes, expected: Shapes, keys: Keys) -> str:
    """Return the end of a message: the line of `keys` that would make names fit, if one is found."""
    found = suggestion(stored, expected)
    if found is None:
        return ""
    return f"; add the pass {found} to keys" if any(keys.values()) else f"; write keys: {found}"


def renamed(names: list[str], renaming: Rules, at: Place, fault: FaultAt) -> dict[str, str]:
    """Return the new name of each name that is not dropped; the first pattern that matches a full name decides.

    Raises `UserError` for each pattern that decides nothing and for two names that become one.
    """
    new_names: dict[str, str] = {}
    used: Counter[str] = Counter()
    faults = []
    for name in names:
        new: str | None = name
        for pattern, replacement in renaming.items():
            match = re.fullmatch(pattern, name)
            if match:
                used[pattern] += 1
                try:
                    new = match.expand(replacement) if replacement else None
                except (re.error, IndexError) as error:
                    faults.append(fault((*at, pattern), f"'{replacement}' does not fit: {error}"))
                break
        if new:
            new_names[name] = new
    for pattern in renaming:
        if not used[pattern]:
            near = f"; the first is '{names[0]}'" if names else ""
            faults.append(fault((*at, pattern), f"matches no name that the patterns before it leave{near}"))
    twice = [new for new, count in Counter(new_names.values()).items() if count > 1]
    for new in twice[:SHOWN]:
        both = " and ".join(f"'{old}'" for old in new_names if new_names[old] == new)
        faults.append(fault(at, f"{both} both become '{new}'"))
    if faults:
        raise UserError(dict.fromkeys(faults))
    return new_names


def _misfit(expected: Shapes, stored: Shapes, classes: int, noun: str) -> str:
    """Describe how a file differs from the architecture; empty if it fits."""
    missing = [name for name in expected if name not in stored and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in stored if name not in expected]
    differing = [name for name in expected if name in stored and expected[name] != stored[name]]
    others = {stored[name][:1] for name in differing}
    is_classifier = all(
        expected[name][:1] == (classes,) and expected[name][1:] == stored[name][1:] and stored[name]
        for name in differing
    )
    if differing and not missing and not unexpected and is_classifier and len(others) == 1:
        return f"the checkpoint has {others.pop()[0]} {noun}, the data {classes}"
    shapes = [f"'{name}' is {_written(stored[name])}, not {_written(expected[name])}" for name in differing]
    kinds = (("missing", _quoted(missing)), ("unexpected", _quoted(unexpected)), ("of another shape", shapes))
    return "; ".join(f"{len(items)} {kind}: {', '.join(_first(items))}" for kind, items in kinds if items)


def _quoted(names: list[str]) -> list[str]:
    return [f"'{name}'" for name in names]


def _first(items: list[str]) -> Iterator[str]:
    yield from items[:SHOWN]
    if len(items) > SHOWN:
        yield "..."


def _written(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
