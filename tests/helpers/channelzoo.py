"""Small networks that move, part, join and share channels in all kinds of ways."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coc_cli.nets import architectures
from coc_cli.nets.architectures import Architecture
from coc_cli.nets.spec import Spec


def conv(channels: int, out: int, kernel: int = 1, groups: int = 1, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU())


class Between(nn.Module):
    """A stem of 16 channels, whatever `between` does with them, a convolution, and a classifier."""

    behind = 16  # channels that `between` gives

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.stem = conv(channels, 16, 3)
        self.add_parts()
        self.last = conv(self.behind, 12)
        self.linear = nn.Linear(12, outputs)

    def add_parts(self) -> None: ...

    def between(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.last(self.between(self.stem(x))).mean((2, 3)))


class Normed(Between):
    """A group norm: each of its groups loses as many channels."""

    def add_parts(self) -> None:
        self.norm = nn.GroupNorm(4, 16)
        self.one, self.two = conv(16, 8), conv(16, 16)
        self.joint = nn.GroupNorm(3, 24)

    behind = 24

    def between(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.joint(torch.cat([self.one(x), self.two(x)], 1))


class Chunked(Between):
    """Halves that go different ways, and halves of which one gates the other."""

    behind = 10

    def add_parts(self) -> None:
        self.one, self.two, self.wide = conv(8, 10), conv(8, 10, 3), conv(10, 20)

    def between(self, x: Tensor) -> Tensor:
        one, two = x.chunk(2, 1)
        value, gate = torch.split(self.wide(self.one(one) + self.two(two)), 10, dim=1)
        return value * gate.sigmoid()


class Gated(Between):
    """torch's own gated linear unit."""

    behind = 8

    def between(self, x: Tensor) -> Tensor:
        return F.glu(x, 1)


class Shuffled(Between):
    """Pixels to channels and back."""

    behind = 16

    def add_parts(self) -> None:
        self.up, self.down, self.mid = nn.PixelShuffle(2), nn.PixelUnshuffle(2), conv(4, 4, 3)

    def between(self, x: Tensor) -> Tensor:
        return self.down(self.mid(self.up(x)))


class SpaceToDepth(Between):
    """The same by hand."""

    behind = 64

    def between(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, c * 4, h // 2, w // 2)


class ChannelShuffle(Between):
    """A grouped convolution, a shuffle of channels, another one, in both ways of writing it."""

    def add_parts(self) -> None:
        self.one, self.two = conv(16, 24, groups=2), conv(24, 16, 3, groups=4)
        self.shuffle = nn.ChannelShuffle(2)

    def between(self, x: Tensor) -> Tensor:
        x = self.one(x)
        n, c, h, w = x.shape
        return self.shuffle(self.two(x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)))


class Padded(Between):
    """A shortcut that adds channels of zeros, as the ResNets of the first paper on CIFAR-10."""

    behind = 24

    def add_parts(self) -> None:
        self.wide = conv(16, 24, 3)

    def between(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 4, 4)) + self.wide(F.pad(x, (1, 1, 0, 0)))[..., 1:-1]


class Flattened(Between):
    """Maps of 2x2 are columns of a linear layer, in two orders; a token is a channel's place."""

    def add_parts(self) -> None:
        self.pool = nn.MaxPool2d(4)
        self.first, self.second = nn.Linear(64, 12), nn.Linear(64, 12)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        return self.linear(self.first(x.view(x.size(0), -1)) + self.second(tokens.reshape(x.size(0), -1)))


class Scaled(Between):
    """Bare parameters along channels, along places, and one for all; squeeze and excitation."""

    def add_parts(self) -> None:
        self.gamma = nn.Parameter(torch.rand(16, 1, 1) + 0.5)
        self.position = nn.Parameter(torch.randn(1, 1, 8, 8))
        self.table = nn.Parameter(torch.rand(1, 16, 8, 8))
        self.one = nn.Parameter(torch.tensor(1.5))
        self.squeeze, self.excite = conv(16, 4), nn.Conv2d(4, 16, 1)
        self.attention = nn.Conv2d(16, 1, 3, padding=1)

    def between(self, x: Tensor) -> Tensor:
        x = x * self.gamma * self.table * self.one * self.position.sigmoid()
        x = x * self.excite(self.squeeze(F.adaptive_avg_pool2d(x, 1))).sigmoid()
        return x * self.attention(x).sigmoid()


class Transposed(Between):
    """Convolutions that enlarge a map, plain and depthwise; interpolation; an instance norm."""

    def add_parts(self) -> None:
        self.up = nn.ConvTranspose2d(16, 12, 2, 2)
        self.each = nn.ConvTranspose2d(12, 12, 3, 1, 1, groups=12, bias=False)
        self.twice = nn.Conv2d(12, 24, 3, padding=1, groups=12)
        self.norm = nn.InstanceNorm2d(24, affine=True)
        self.narrow = conv(24, 16)

    def between(self, x: Tensor) -> Tensor:
        return F.interpolate(self.narrow(self.norm(self.twice(self.each(self.up(x))))), scale_factor=0.5)


class Rearranged(Between):
    """Channels turned round, repeated, stacked and sliced."""

    behind = 40

    def add_parts(self) -> None:
        self.two = conv(16, 16)

    def between(self, x: Tensor) -> Tensor:
        y = self.two(x)
        both = torch.stack([x, y.flip(1)], 2).flatten(1, 2)  # each beside the other
        return torch.cat([both[:, ::2] + y, both.chunk(2, 1)[0], x.repeat(1, 2, 1, 1).chunk(4, 1)[1]], 1)


class FixedView(Between):
    """Numbers written into the code hold the stem, and nothing else."""

    def between(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 16, 64).view(-1, 16, 8, 8)


class Attention(Between):
    """What mixes channels by no weights keeps them; the rest can be pruned."""

    def add_parts(self) -> None:
        self.query, self.key, self.value = (nn.Conv2d(16, 16, 1) for _ in range(3))
        self.after = conv(16, 16)

    def between(self, x: Tensor) -> Tensor:
        query, key, value = (part(x).flatten(2) for part in (self.query, self.key, self.value))
        mixed = (query @ key.transpose(1, 2)).softmax(-1) @ value
        return self.after(mixed.unflatten(2, (8, 8)))


class Swish(nn.Module):
    """An activation of one's own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class LayerScale(nn.Module):
    """A scale of each channel, of one's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(channels, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Custom(Between):
    """Modules that are none of torch's own, without layers inside; two paths stacked and summed."""

    def add_parts(self) -> None:
        self.swish, self.scale = Swish(), LayerScale(16)

    def between(self, x: Tensor) -> Tensor:
        return torch.stack([self.swish(x), self.scale(x)], 1).sum(1)


EXACT = (
    Normed,
    Chunked,
    Gated,
    Shuffled,
    SpaceToDepth,
    ChannelShuffle,
    Padded,
    Flattened,
    Scaled,
    Transposed,
    Rearranged,
    FixedView,
    Attention,
    Custom,
)
NAMES = tuple(kind.__name__ for kind in EXACT)


def _maker(kind: type[nn.Module]) -> Callable[..., nn.Module]:
    def make(*, outputs: int, channels: int) -> nn.Module:
        return kind(outputs, channels)

    return make


globals().update({f"make_{kind.__name__}": _maker(kind) for kind in EXACT})


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let coc know the networks of this file."""
    for name in NAMES:
        monkeypatch.setitem(architectures.ARCHITECTURES, f"zoo:{name}", Architecture(f"channelzoo:make_{name}", {}, ()))


def spec_of(name: str) -> Spec:
    """Return the spec of a network of this file, on images of 8x8 for three classes; needs the fixture `zoo`."""
    return Spec(arch=f"zoo:{name}", input_shape=(1, 8, 8), mean=(0.5,), std=(0.25,), labels=("a", "b", "c"))
