"""Weights from elsewhere: files that coc did not write, whose names may differ from the architecture's."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from coc_cli.errors import Fault, UserError
from coc_cli.nets.checkpoint_header import raw_header
from coc_cli.nets.entry import fresh, raw
from coc_cli.nets.spec import Spec

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network

Place = tuple[str | int, ...]
FaultAt = Callable[[Place, str], Fault]  # makes a fault at a key of the recipe's model
Renaming = Mapping[str, str | None]  # regular expressions for full names, and what they become; None drops them
Keys = Mapping[Place, Renaming]  # passes over the names, in order, each with its place below `checkpoint.keys`
HERE = ("checkpoint",)
WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys under which training scripts save the weights
PREFIX = "module."  # that torch's data-parallel wrappers add to every name
SHOWN = 3  # of each kind of misfit


def check_foreign(path: Path, keys: Keys, spec: Spec, fault: FaultAt) -> None:
    """Check, by names and shapes alone, that a file fits an architecture; raises `UserError`."""
    with torch.device("meta"):
        module = raw(spec)
    _fitting(path, keys, spec, dict(module.state_dict()), fault, device="meta")


def load_foreign(path: Path, keys: Keys, spec: Spec, fault: FaultAt) -> Network:
    """Return a network filled with weights from a .safetensors, .pt or .pth file; raises `UserError` listing misfits.

    A pickle is read with `weights_only`: a plain state dict passes, also under one of the usual names beside other
    entries; anything with code in it is refused.
    """
    module = raw(spec)
    own = module.state_dict()
    with torch.no_grad():
        for name, value in _fitting(path, keys, spec, own, fault, device="cpu").items():
            if not value.isfinite().all():
                raise UserError([fault(HERE, f"{path} holds numbers that are none: '{name}' is not finite throughout")])
            own[name].copy_(value)
    network = fresh(spec, module)
    return network if spec.scale is None else _in_deviations(network, fault)


def _in_deviations(network: Network, fault: FaultAt) -> Network:
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
    path: Path, keys: Keys, spec: Spec, own: Mapping[str, Tensor], fault: FaultAt, *, device: str
) -> dict[str, Tensor]:
    """Return the file's tensors by the architecture's names, all of them in its shapes."""
    state = _state(path, fault, device)
    if state and all(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    tensors = state
    for place, renaming in keys.items():
        at = (*HERE, "keys", *place)
        tensors = {new: tensors[old] for old, new in renamed(list(tensors), renaming, at, fault).items()}
    misfit = _misfit(
        {name: tuple(value.shape) for name, value in own.items()},
        {name: tuple(value.shape) for name, value in tensors.items()},
        len(spec.labels),
        "classes" if spec.task == "classification" else "targets",
    )
    if misfit:
        raise UserError([fault(HERE, f"{path} does not fit {spec.arch}: {misfit}")])
    return tensors


def _state(path: Path, fault: FaultAt, device: str) -> dict[str, Tensor]:
    """Read a file's tensors by name; on the device "meta" they have shapes only."""
    if path.suffix == ".safetensors":
        header = raw_header(path)
        if device != "meta":
            return load_file(path)
        shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
        return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    advice = "save model.state_dict() with torch.save and name that file"
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except PermissionError as error:
        raise UserError([fault(HERE, f"{path} cannot be read: {error.strerror}")]) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise UserError([fault(HERE, f"{path} is not a plain state dict; {advice}")]) from error
    if isinstance(content, dict):
        wrapped = [key for key in WRAPPERS if isinstance(content.get(key), dict)]
        if len(wrapped) > 1:
            raise UserError([fault(HERE, f"{path} holds {' and '.join(map(repr, wrapped))}; save one of them alone")])
        content = content[wrapped[0]] if wrapped else content
    if not isinstance(content, dict) or not content:
        raise UserError([fault(HERE, f"{path} is not a plain state dict; {advice}")])
    for name, value in content.items():
        if not isinstance(value, torch.Tensor) or not isinstance(name, str) or value.is_complex():
            what = f"{path} is not a plain state dict, its '{name}' is no tensor; {advice}"
            raise UserError([fault(HERE, what)])
    return dict(content)


def renamed(names: list[str], renaming: Renaming, at: Place, fault: FaultAt) -> dict[str, str]:
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


Shapes = Mapping[str, tuple[int, ...]]


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
