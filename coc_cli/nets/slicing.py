"""Slicing a network: weights, norms, scales and heads, cut by the indices that pruning keeps."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec


@dataclass(frozen=True)
class SliceIndices:
    """The part of a network that remains: for each tensor the flat indices of its elements, in their new shape."""

    indices: dict[str, Tensor]
    modules: dict[str, dict[str, int]]  # the constructor numbers that go with it
    parameters: dict[str, tuple[int, ...]]  # and the shapes of bare parameters


def sliced_spec(spec: Spec, keep: SliceIndices) -> Spec:
    """Return the spec of the remaining network."""
    return spec.with_changes(modules=keep.modules, parameters=keep.parameters)


def sliced(network: Network, keep: SliceIndices) -> Network:
    """Return the remaining network: weights, norms, scales and heads cut by the same indices."""
    smaller = build(sliced_spec(network.spec, keep))
    state = {}
    for name, tensor in network.state_dict().items():
        if name in keep.indices:
            state[name] = tensor.flatten()[keep.indices[name].to(tensor.device)]
        elif name.endswith(".weight_scale") and name.removesuffix("_scale") in keep.indices:
            weight = name.removesuffix("_scale")
            rows = keep.indices[weight].flatten(1)[:, 0] // network.get_parameter(weight)[0].numel()
            state[name] = tensor[rows.to(tensor.device)]
        else:
            state[name] = tensor
    smaller.load_state_dict(state)
    return smaller.train(network.training)
