"""The shape of every tensor in a network, worked out on the meta device: no data, no memory, no arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from coc_cli.errors import StageError
from coc_cli.nets.architectures import user_code_errors
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec

NO_TENSOR = "not one tensor"  # how tracing says that a network gives a dict or a tuple
ONE_TENSOR = "return the logits alone, as in a module around it with: return self.net(x)['out'], or [0] of a tuple"


class _Shapes(Interpreter):
    def __init__(self, network: Network) -> None:
        super().__init__(network, graph=network.graph)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result


def node_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of each node's tensor for a batch of one; the network lies on the meta device."""
    interpreter = _Shapes(network)
    network.eval()
    with torch.no_grad():
        interpreter.run(torch.empty(1, *network.spec.input_shape, device="meta"))
    return interpreter.shapes


def check_runs(spec: Spec) -> None:
    """Raise `StageError` if a network cannot be made, traced or run on its images, or lacks one output per class."""
    try:
        network = build(spec, device="meta").eval()
    except StageError as error:
        if not error.what.endswith(NO_TENSOR):
            raise
        what = error.what.replace("immutable_", "")  # as tracing calls its own dicts
        raise StageError(f"{what}; {ONE_TENSOR}", error.key) from error
    try:
        with torch.no_grad(), user_code_errors(spec.arch):
            outputs = network(torch.empty(1, *spec.input_shape, device="meta"))
    except RuntimeError as error:
        size = "x".join(map(str, spec.input_shape))
        raise StageError(f"cannot run on images of {size}: {str(error).splitlines()[0]}", "arch") from error
    if not network.layers:
        raise StageError("has no convolution or linear layer, so there is nothing to compress", "arch")
    counts = [*[spec.head_outputs] * len(spec.exits), len(spec.labels)]
    noun = "classes" if spec.task == "classification" else "targets"
    for output, count in zip(outputs, counts, strict=True):
        if output.shape != (1, count):
            got = "x".join(map(str, output.shape[1:])) or "a number without a dimension of its own"
            raise StageError(f"gives {got} for an image, not one number for each of {count} {noun}", "arch")
