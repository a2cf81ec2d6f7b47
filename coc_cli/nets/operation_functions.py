"""What runs where torch's own function takes other arguments, or where sizes are computed beside tensors."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LARGEST_NUMBER = 1 << 53  # of a size, or what is computed from sizes


def _number(value: Any) -> Any:
    """Return a number computed from sizes; raises `ValueError` where it leaves all bounds."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"needs numbers or tensors, got {type(value).__name__}")
    if abs(value) > LARGEST_NUMBER:
        raise ValueError(f"a size of {value:g} is beyond all bounds")
    return value


def _binary(number: Any, tensors: Any, x: Any, y: Any) -> Any:
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        return tensors(x, y)
    return _number(number(_number(x), _number(y)))


def add(x: Any, y: Any, alpha: float = 1) -> Any:
    return _binary(operator.add, operator.add, x, y if alpha == 1 else y * alpha)


def sub(x: Any, y: Any, alpha: float = 1) -> Any:
    return _binary(operator.sub, operator.sub, x, y if alpha == 1 else y * alpha)


def mul(x: Any, y: Any) -> Any:
    return _binary(operator.mul, operator.mul, x, y)


def div(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return _binary(operator.truediv, operator.truediv, x, y)
    return torch.div(x, y, rounding_mode=rounding_mode)


def lerp(x: Tensor, y: Tensor, weight: Any) -> Tensor:
    """Interpolate; in a training in bfloat16 one of the tensors may still be float32, which torch.lerp refuses."""
    kind = torch.promote_types(x.dtype, y.dtype)
    if isinstance(weight, Tensor):
        kind = torch.promote_types(kind, weight.dtype) if weight.dim() else kind
        weight = weight.to(kind)
    return torch.lerp(x.to(kind), y.to(kind), weight)


def floordiv(x: Any, y: Any) -> Any:
    return _binary(operator.floordiv, operator.floordiv, x, y)


def mod(x: Any, y: Any) -> Any:
    return _binary(operator.mod, operator.mod, x, y)


def reversed_sub(x: Any, y: Any) -> Any:
    return sub(y, x)


def reversed_div(x: Any, y: Any) -> Any:
    return div(y, x)


def power(x: Any, y: Any) -> Any:
    if not isinstance(x, Tensor) and not isinstance(y, Tensor):
        raise TypeError("takes a power of a number; compute it outside forward")
    return operator.pow(x, y)


def identity(x: Tensor) -> Tensor:
    return x


def as_float(x: Tensor) -> Tensor:
    return x.float()


def filled(like: Tensor, shape: Any, value: float) -> Tensor:
    return like.new_full(tuple(shape), value)


def squeeze(x: Tensor, dim: Any = None) -> Tensor:
    return x.squeeze() if dim is None else x.squeeze(dim)


def split(x: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    sizes = split_size if isinstance(split_size, int) else list(split_size)
    return tuple(torch.split(x, sizes, dim))


def getitem(x: Any, index: Any) -> Any:
    return x[index]


def expand(x: Tensor, sizes: Any) -> Tensor:
    return x.expand(tuple(sizes))


def repeat(x: Tensor, sizes: Any) -> Tensor:
    return x.repeat(tuple(sizes))


def mean(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return x.mean() if dim is None else x.mean(dim, keepdim)


def sum(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:  # noqa: A001
    return x.sum() if dim is None else x.sum(dim, keepdim)


def max(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A001
    if dim is None or isinstance(dim, Tensor):
        return x.max() if dim is None else torch.maximum(x, dim)
    return tuple(x.max(dim, keepdim))


def min(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:  # noqa: A001
    if dim is None or isinstance(dim, Tensor):
        return x.min() if dim is None else torch.minimum(x, dim)
    return tuple(x.min(dim, keepdim))


def var(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: float | None = None
) -> Tensor:
    return torch.var(x, dim, correction=int(unbiased) if correction is None else correction, keepdim=keepdim)


def std(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, correction: float | None = None
) -> Tensor:
    return torch.std(x, dim, correction=int(unbiased) if correction is None else correction, keepdim=keepdim)


def norm(x: Tensor, p: Any = 2.0, dim: Any = None, keepdim: bool = False) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(x, 2.0 if p == "fro" else p, dim, keepdim)
    return found


def stochastic_depth(x: Tensor, p: float, mode: str = "row", training: bool = True) -> Tensor:
    """Drop whole images' branches at random while training (Huang et al. 2016, "Deep Networks with Stochastic Depth").

    Mode "row" decides for each image, "batch" for all at once.
    """
    if not training or p == 0.0:
        return x
    size = [x.shape[0] if mode == "row" else 1] + [1] * (x.dim() - 1)
    noise = torch.empty(size, dtype=x.dtype, device=x.device).bernoulli_(1 - p)
    return x * (noise.div_(1 - p) if p < 1 else noise)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    training: bool = True,
) -> Tensor:
    dropout = dropout_p if training else 0.0
    return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout, is_causal, scale=scale)


def size(x: Tensor, dim: int) -> int:
    return x.size(dim)


def numel(x: Tensor) -> int:
    return x.numel()


def expand_as(x: Tensor, y: Tensor) -> Tensor:
    return x.expand_as(y)


def amax(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return x.amax(() if dim is None else dim, keepdim)


def amin(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    return x.amin(() if dim is None else dim, keepdim)
