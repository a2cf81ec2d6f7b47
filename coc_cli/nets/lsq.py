"""The arithmetic of quantisation: learned step sizes, calibrated starts, packed integer codes.

Esser et al. 2020, "Learned Step Size Quantization", sections 2 and 2.1. Symmetric and narrow: weights of b bits take
the codes -(2^(b-1)-1) .. 2^(b-1)-1, so a channel's sign can be flipped exactly when a norm is folded into it.
One bit is sign times a learned scale, with the clipped straight-through gradient (Courbariaux et al. 2016).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from coc_cli.errors import first_line

SMALLEST_SCALE = 1e-8
MOST_LAYOUTS = 64  # of tensors for which the compiled quantisers may be compiled


def code_range(bits: int, *, signed: bool, low: int | None = None) -> tuple[int, int]:
    """Return the lowest and the highest integer code; 1 bit means the two codes -1 and 1."""
    if not signed:
        return 0, 2**bits - 1
    highest = max(2 ** (bits - 1) - 1, 1)
    return low or -highest, highest


class _LearnedStep(Function):
    """v -> round(clip(v / s)) * s with the gradients of Esser et al. 2020, equations 2, 3 and 5.

    Codes are computed in float32 whatever v is, and what is rounded has the type of v.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, scale: Tensor, low: int, high: int, gradient_scale: float) -> Tensor:
        u = _wide(v) / scale
        q = u.round().clamp_(low, high)
        ctx.save_for_backward(u, q)
        ctx.limits = (low, high, gradient_scale, scale.shape, v.dtype)
        return (q * scale).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        u, q = ctx.saved_tensors
        low, high, gradient_scale, shape, dtype = ctx.limits
        # v: straight through, but zero where clipped. s: q - u inside (the rounding error), the code q where clipped.
        inside = (u > low) & (u < high)
        grad = _wide(grad)
        grad_v = grad * inside
        grad_scale = (grad * q - grad_v * u).sum_to_size(shape) * gradient_scale
        return grad_v.to(dtype), grad_scale, None, None, None


class _CompiledStep(Function):
    """`_LearnedStep` of one scale for the whole tensor, compiled: one pass over memory each way, u is not kept."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, scale: Tensor, low: int, high: int, gradient_scale: float) -> Tensor:
        limits = _limits(low, high, v.device)
        ctx.save_for_backward(v, scale, limits)
        ctx.gradient_scale = gradient_scale
        return _compiled(_rounded)(v.detach(), scale.detach(), limits)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # type: ignore[override]
        v, scale, limits = ctx.saved_tensors
        grad_v, grad_scale = _compiled(_gradients)(grad.detach(), v.detach(), scale.detach(), limits)
        return grad_v, grad_scale * ctx.gradient_scale, None, None, None


def _wide(v: Tensor) -> Tensor:
    """Return a tensor in float32 at least, for of larger codes bfloat16 has too few digits."""
    return v if v.dtype == torch.float64 else v.float()


@cache
def _limits(low: int, high: int, device: torch.device) -> Tensor:
    """Return the lowest and the highest code as a tensor, so that one compiled function serves all bits."""
    return torch.tensor([low, high], dtype=torch.float32, device=device)


def _rounded(v: Tensor, scale: Tensor, limits: Tensor) -> Tensor:
    return ((v.float() / scale).round().clamp(limits[0], limits[1]) * scale).to(v.dtype)


def _gradients(grad: Tensor, v: Tensor, scale: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
    u = v.float() / scale
    q = u.round().clamp(limits[0], limits[1])
    inside = (u > limits[0]) & (u < limits[1])
    grad = grad.float()
    grad_v = torch.where(inside, grad, 0.0)
    return grad_v.to(v.dtype), (grad * q - grad_v * u).sum()


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function compiled once for all shapes; raises whatever torch raises where nothing can be compiled."""
    import torch._dynamo

    config = torch._dynamo.config  # noqa: SLF001
    config.recompile_limit = max(config.recompile_limit, MOST_LAYOUTS)
    return torch.compile(function, dynamic=True)


def check_compiler(device: str) -> str:
    """Compile the quantisers for a device; return the first line of what went wrong, empty if nothing."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # which speaks of CUDA where there is none
    v, scale = torch.linspace(-2, 2, 4096, device=device, requires_grad=True), torch.tensor(0.5, device=device)
    try:
        _CompiledStep.apply(v, scale.requires_grad_(), 0, 3, 1.0).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  # a compiler fails in many ways
        return first_line(error)
    return ""


class _LearnedSign(Function):
    """v -> sign(v) * s; v's gradient passes straight through where |v| <= 1, s has its exact one."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, scale: Tensor, gradient_scale: float) -> Tensor:
        sign = torch.where(v < 0, -1.0, 1.0).to(v.dtype)
        ctx.save_for_backward(v, sign)
        ctx.limits = (gradient_scale, scale.shape)
        return sign * scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        v, sign = ctx.saved_tensors
        gradient_scale, shape = ctx.limits
        return grad * (v.abs() <= 1), (grad * sign).sum_to_size(shape) * gradient_scale, None


class _PowerOfTwo(Function):
    """The nearest power of two of the absolute value; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return positive(scale).log2().round().exp2()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (scale,) = ctx.saved_tensors
        return grad * torch.where(scale < 0, -1.0, 1.0)


def power_of_two(scale: Tensor) -> Tensor:
    """Return the nearest power of two of each scale; differentiable, straight through."""
    return _PowerOfTwo.apply(scale)  # type: ignore[no-any-return,no-untyped-call]


def positive(scale: Tensor) -> Tensor:
    """Return the scale as it is used: its absolute value, never zero."""
    return scale.abs().clamp_min(SMALLEST_SCALE)


def fake_quantize(
    v: Tensor,
    scale: Tensor,
    bits: int,
    *,
    signed: bool,
    count: float,
    low: int | None = None,
    compiled: bool = False,
) -> Tensor:
    """Round v [any shape] to the codes of `bits` times `scale` [broadcasts to v]; differentiable in both.

    `count` is N in the gradient scale 1 / sqrt(N * Qp): the weights, or the features of one input, that share a scale.
    `low` is the lowest code where it is not minus the highest. `compiled` runs faster on large tensors of one scale,
    to the same codes.
    """
    if v.is_meta:
        return v  # only the shape matters
    low, high = code_range(bits, signed=signed, low=low)
    gradient_scale = (count * high) ** -0.5
    scale = positive(scale)
    if bits == 1:
        return _LearnedSign.apply(v, scale, gradient_scale)  # type: ignore[no-any-return,no-untyped-call]
    step = _CompiledStep if compiled and not scale.dim() and v.requires_grad else _LearnedStep
    return step.apply(v, scale, low, high, gradient_scale)  # type: ignore[no-any-return,no-untyped-call]


def codes(v: Tensor, scale: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Return the integer codes (int32, the shape of v) that `fake_quantize` would use."""
    if bits == 1:
        return torch.where(v < 0, -1, 1).to(torch.int32)
    low, high = code_range(bits, signed=signed)
    return (v / positive(scale)).round().clamp(low, high).to(torch.int32)


def best_scale(rows: Tensor, bits: int, *, signed: bool, low: int | None = None, steps: int = 60) -> Tensor:
    """Return, for each row of [R, M], the scale [R] with the smallest mean square error of rounding.

    One bit has a closed form, the mean of |v| (Rastegari et al. 2016); else the best of `steps` fractions of the scale
    that clips nothing.
    """
    if bits == 1:
        return positive(rows.abs().mean(1))
    low, high = code_range(bits, signed=signed, low=low)
    # A smaller scale clips outliers but rounds the rest more finely: at 2 bits, of a thousand values in -1..1 and one
    # of 10, a scale of 1 beats the 10 that clips nothing. The error has many local minima, so a grid is searched.
    largest = positive(rows.abs().amax(1)) / high
    best, smallest_error = largest.clone(), torch.full_like(largest, torch.inf)
    for step in range(steps):
        scale = largest * (1 - step / steps)
        rounded = (rows / scale[:, None]).round_().clamp_(low, high).mul_(scale[:, None])
        error = rounded.sub_(rows).square_().mean(1)
        better = error < smallest_error
        best, smallest_error = torch.where(better, scale, best), torch.where(better, error, smallest_error)
    return best


_AT_ONCE = 1 << 20  # codes, a multiple of 8, that lie in memory as single bits


def pack(values: Tensor, bits: int) -> Tensor:
    """Pack signed codes (any shape) into bytes, `bits` a code, lowest bit first; uint8 [ceil(n * bits / 8)]."""
    return torch.cat([_packed(part, bits) for part in values.flatten().split(_AT_ONCE)])


def _packed(flat: Tensor, bits: int) -> Tensor:
    unsigned = ((flat + 1) // 2 if bits == 1 else flat + code_range(bits, signed=True)[1]).to(torch.uint8)
    stream = (unsigned[:, None] >> torch.arange(bits, dtype=torch.uint8)) & 1  # [n, bits]
    stream = torch.nn.functional.pad(stream.flatten(), (0, -stream.numel() % 8)).view(-1, 8)
    return (stream << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack(packed: Tensor, bits: int, shape: tuple[int, ...]) -> Tensor:
    """Return the codes (int32, [shape]) that `pack` packed."""
    count = torch.Size(shape).numel()
    parts = [_unpacked(part, bits) for part in packed.split(_AT_ONCE // 8 * bits)]
    return torch.cat(parts)[:count].view(shape)


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    stream = ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()
    stream = stream[: stream.numel() // bits * bits].view(-1, bits)
    unsigned = (stream << torch.arange(bits, dtype=torch.uint8)).sum(1, dtype=torch.int32)
    return unsigned * 2 - 1 if bits == 1 else unsigned - code_range(bits, signed=True)[1]


def packed_bytes(count: int, bits: int) -> int:
    """Return the bytes that `pack` needs for `count` codes."""
    return (count * bits + 7) // 8
