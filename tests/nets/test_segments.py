"""Tracing what people write: changes in place, shape arithmetic, and what is refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coc_cli.errors import StageError
from coc_cli.nets import tracing
from coc_cli.nets.graph import node_named
from coc_cli.nets.segments import segments
from coc_cli.nets.tracing import trace


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)
        self.relu = nn.ReLU(inplace=True)


class InPlace(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        z = self.b(self.relu(y))
        z += y  # y is what the activation left of it
        z = F.relu(z - 0.1, inplace=True)
        w = z * 2
        z.sub_(0.05)
        return w + z


class Shapes(Net):
    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.size()
        y = self.b(self.a(x))
        return y.view(n, 2 * h * w).sum(1, keepdim=True) / x.shape[2]


class Flagged(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) if self.training else self.b(self.a(x)) * 2


class Functional(Net):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.a(x), self.b.weight * 2)


class Twice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.b(self.a(x)))


class Two(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), x


def run(net: nn.Module, x: Tensor, *, cut: str | None = None) -> Tensor:
    """Run a net by its graph, cut behind the node of that name."""
    graph = trace(net, tuple(x.shape[1:])).graph
    if cut:
        at = node_named(graph, cut)
        graph.output_node().args = ((at, graph.output_node().args[0]),)
    live: tuple[Tensor, ...] = (x,)
    for piece in segments(graph):
        output, *rest = piece.run(net, *live)
        assert all(isinstance(tensor, Tensor) for tensor in rest), "only tensors pass a cut"
        live = tuple(rest)
    return output


@pytest.mark.parametrize("cut", [None, "a", "b"])
@pytest.mark.parametrize("kind", [InPlace, Shapes])
def test_a_graph_gives_what_the_module_gives(kind: type[Net], cut: str | None) -> None:
    net, x = kind(), torch.randn(3, 1, 4, 5)
    expected = net(x.clone())
    torch.testing.assert_close(run(net, x, cut=cut), expected)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            Flagged,
            "cannot be traced: in the network's forward: it does another thing in training than in evaluation; only dropout may differ",
        ),
        (
            Functional,
            "in the network's forward: calls conv2d with weights that it computes; make it a layer, a torch.nn module with plain weights or with a parametrization (torch.nn.utils.parametrize)",
        ),
        (Twice, "in the network's forward: layer 'b' runs twice in one pass; give each run a layer of its own"),
        (Two, f"gives a tuple, not one tensor; {tracing.ONE_TENSOR}"),
    ],
)
def test_what_is_refused_says_where(kind: type[Net], message: str) -> None:
    with pytest.raises(StageError) as caught:
        trace(kind(), (1, 4, 5))
    assert caught.value.what.removeprefix("cannot be traced: ") == message.removeprefix("cannot be traced: ")
