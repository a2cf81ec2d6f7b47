"""Gradient equilibrium: no part of a backbone learns from more exits than another.

Li et al. 2019, "Improved Techniques for Training Adaptive Deep Networks", section 3.2.
"""

from __future__ import annotations

from torch import nn
from torch.utils.hooks import RemovableHandle

from coc_cli.nets.network import Network
from coc_cli.nets.running import attribute


def balance(network: Network, weights: list[float]) -> list[RemovableHandle]:
    """Let each parameter of the backbone learn from the weighted mean of the exits behind it, heads as before.

    Args:
        network: Whose loss is the mean over all exits, by `weights`, so that its first parts learn from all of them.
        weights: Of the exits and the final output.

    Returns:
        The hooks on the parameters; the caller removes them.
    """
    targets = {node.name: str(node.target) for node in network.graph.nodes if node.op in ("call_module", "get_attr")}
    hooks, seen = [], set(network.exits.parameters())
    for index, segment in enumerate(network.segments):
        share = sum(weights[index:]) / sum(weights)  # of the loss, that is behind here
        parts = [attribute(network, targets[name]) for name in segment.nodes if name in targets]
        own = [one for part in parts for one in (part.parameters() if isinstance(part, nn.Module) else [part])]
        new = [one for one in own if one.requires_grad and one not in seen] if share else []
        seen.update(new)
        hooks += [one.register_hook(lambda gradient, share=share: gradient / share) for one in new]
    return hooks
