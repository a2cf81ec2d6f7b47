"""The quantisers against a slow twin written from the paper's equations, Brevitas, and hand-computed codes."""

from __future__ import annotations

import math

import pytest
import torch

from coc_cli.nets import lsq
from coc_cli.nets.layers import ActivationQuantizer
from coc_cli.nets.spec import Edge


def twin(
    v: list[float], s: float, low: int, high: int, upstream: list[float]
) -> tuple[list[float], list[float], float]:
    """Esser et al. 2020: equations 1 and 2 for the value, 3 for the step's gradient, 5 for the data's."""
    values, grad_v, grad_s = [], [], 0.0
    for value, up in zip(v, upstream, strict=True):
        ratio = value / s
        clipped = min(max(ratio, low), high)
        nearest = math.floor(clipped)
        rest = clipped - nearest
        if rest > 0.5 or (rest == 0.5 and nearest % 2):
            nearest += 1
        values.append(nearest * s)
        inside = low < ratio < high
        grad_v.append(up if inside else 0.0)
        grad_s += up * ((-ratio + nearest) if inside else (low if ratio <= low else high))
    return values, grad_v, grad_s / math.sqrt(len(v) * high)


@pytest.mark.parametrize(("bits", "signed"), [(2, True), (3, True), (4, False), (8, True), (8, False), (2, False)])
def test_values_and_both_gradients_equal_the_twin_in_double(bits: int, signed: bool) -> None:
    v = torch.randn(200, dtype=torch.float64).requires_grad_()
    s = torch.tensor(0.31 if bits < 5 else 0.013, dtype=torch.float64).requires_grad_()
    upstream = torch.randn(200, dtype=torch.float64)
    lsq.fake_quantize(v, s, bits, signed=signed, count=200).backward(upstream)
    low, high = lsq.code_range(bits, signed=signed)
    values, grad_v, grad_s = twin(v.tolist(), s.item(), low, high, upstream.tolist())
    made = lsq.fake_quantize(v, s, bits, signed=signed, count=200)
    torch.testing.assert_close(made.detach(), torch.tensor(values, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(v.grad, torch.tensor(grad_v, dtype=torch.float64), rtol=0, atol=0)
    assert float(s.grad) == pytest.approx(grad_s, rel=1e-12)


def test_each_channel_has_its_own_scale_and_gradient() -> None:
    v = torch.randn(3, 20, dtype=torch.float64)
    s = torch.tensor([[0.1], [0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    lsq.fake_quantize(v, s, 4, signed=True, count=20).sum().backward()
    for row in range(3):
        _, _, expected = twin(v[row].tolist(), s[row].item(), -7, 7, [1.0] * 20)
        assert float(s.grad[row]) == pytest.approx(expected, rel=1e-12)


def test_one_bit_is_sign_times_scale_with_a_clipped_straight_through_gradient() -> None:
    v = torch.tensor([-1.5, -0.5, 0.0, 0.25, 2.0], dtype=torch.float64, requires_grad=True)
    s = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    made = lsq.fake_quantize(v, s, 1, signed=True, count=5)
    assert made.tolist() == [-0.7, -0.7, 0.7, 0.7, 0.7]
    made.backward(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64))
    assert v.grad.tolist() == [0.0, 2.0, 3.0, 4.0, 0.0]
    assert float(s.grad) == pytest.approx((-1 - 2 + 3 + 4 + 5) / math.sqrt(5))


@pytest.mark.parametrize("bits", range(2, 9))
def test_forward_equals_brevitas(bits: int) -> None:
    pytest.importorskip("brevitas", reason="the dev extra is not installed")
    from brevitas.core.bit_width import BitWidthConst
    from brevitas.core.function_wrapper import RoundSte, TensorClamp
    from brevitas.core.quant import IntQuant

    quantise = IntQuant(
        narrow_range=True,
        signed=True,
        input_view_impl=torch.nn.Identity(),
        float_to_int_impl=RoundSte(),
        tensor_clamp_impl=TensorClamp(),
    )
    v, s = torch.randn(4, 50), torch.rand(4, 1) * 0.3 + 0.02
    theirs = quantise(s, torch.tensor(0.0), BitWidthConst(bits)(), v)
    ours = lsq.fake_quantize(v, s, bits, signed=True, count=50)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 8, 1001])
def test_codes_round_trip(bits: int, count: int) -> None:
    low, high = lsq.code_range(bits, signed=True)
    codes = torch.randint(low, high + 1, (count, 1), dtype=torch.int32)
    codes = torch.where(codes == 0, 1, codes) if bits == 1 else codes
    packed = lsq.pack(codes, bits)
    assert packed.numel() == lsq.packed_bytes(count, bits) == -(-count * bits // 8)
    assert torch.equal(lsq.unpack(packed, bits, (count, 1)), codes)


def test_packing_by_hand() -> None:
    # 2 bits, lowest first, codes plus 1: (-1, 0, 1, 1) is 00 01 10 10, the byte 0b10_10_01_00; then (0) alone is 01
    assert lsq.pack(torch.tensor([-1, 0, 1, 1, 0]), 2).tolist() == [0b10100100, 0b01]
    assert lsq.pack(torch.tensor([1, -1, -1, 1]), 1).tolist() == [0b1001]


@pytest.mark.parametrize("bits", range(1, 9))
def test_quantising_twice_is_quantising_once_and_a_channel_has_at_most_2_to_the_bits_values(bits: int) -> None:
    v, s = torch.randn(3, 4000), torch.rand(3, 1) * 0.05 + 0.01
    once = lsq.fake_quantize(v, s, bits, signed=True, count=4000)
    assert torch.equal(lsq.fake_quantize(once, s, bits, signed=True, count=4000), once)
    assert all(len(row.unique()) <= 2**bits for row in once)
    assert torch.equal(lsq.codes(v, s, bits, signed=True) * s, once)


def test_signed_activations_of_8_bits_begin_at_minus_128() -> None:
    edge = Edge(source="x", bits=8, signed=True)
    v = torch.tensor([-200.0, -128.4, -127.4, 126.6, 300.0])
    for made, codes in ((edge, [-127, -127, -127, 127, 127]), (edge.with_sign(True), [-128, -128, -127, 127, 127])):
        assert ActivationQuantizer(made)(v).tolist() == codes
    assert edge.model_copy(update={"bits": 4}).with_sign(True).low is None
    assert edge.with_sign(True).with_sign(False).low is None


@pytest.mark.parametrize(
    ("bits", "signed", "low"), [(2, False, None), (4, True, None), (8, True, -128), (8, False, None)]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_codes_in_bfloat16_are_those_of_float32(bits: int, signed: bool, low: int | None, compiled: bool) -> None:
    """Of the same values; u = v / s in bfloat16 would fall to 8 bits, and codes of 8 bits with it."""
    v = (torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 3).bfloat16().requires_grad_()
    scale = torch.tensor(0.0234, requires_grad=True)
    expected = (v.float() / scale).round().clamp(*lsq.code_range(bits, signed=signed, low=low))
    made = lsq.fake_quantize(v, scale, bits, signed=signed, low=low, count=4000, compiled=compiled)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, (expected * scale).bfloat16())
    made.sum().backward()
    assert v.grad is not None
    assert (v.grad.dtype, scale.grad is not None and scale.grad.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_quantisers_are_the_eager_ones_to_rounding(dtype: torch.dtype) -> None:
    assert lsq.check_compiler("cpu") == ""
    for shape, bits, signed in (((64,), 2, False), ((3, 5, 7, 9), 4, True), ((2, 16, 8, 8), 8, False)):
        found = []
        for compiled in (False, True):
            generator = torch.Generator().manual_seed(bits)
            v = torch.randn(shape, generator=generator).to(dtype)
            v = (v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v).requires_grad_()
            scale = torch.tensor(0.21, requires_grad=True)
            made = lsq.fake_quantize(v, scale, bits, signed=signed, count=64, compiled=compiled)
            made.backward(torch.randn(shape, generator=generator).to(dtype))
            found.append((made.detach(), v.grad, scale.grad))
        assert torch.equal(found[0][0], found[1][0]), "the same codes"
        assert torch.equal(found[0][1], found[1][1])
        torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-5)


def test_a_compiler_that_fails_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        raise RuntimeError("no compiler\nas it seems")

    monkeypatch.setattr(lsq, "_compiled", broken)
    assert lsq.check_compiler("cpu") == "no compiler"


def test_best_scale_beats_the_neighbours_and_the_full_range() -> None:
    rows = torch.randn(5, 3000)
    for bits in (2, 3, 4):
        best = lsq.best_scale(rows, bits, signed=True)
        full = rows.abs().amax(1) / lsq.code_range(bits, signed=True)[1]

        def error(scale: torch.Tensor, bits: int = bits) -> torch.Tensor:
            return (lsq.codes(rows, scale[:, None], bits, signed=True) * scale[:, None] - rows).square().mean(1)

        assert (error(best) < error(full)).all()
        assert (error(best) <= error(best * 0.9)).all()
        assert (error(best) <= error(best * 1.1)).all()
    assert torch.allclose(lsq.best_scale(rows, 1, signed=True), rows.abs().mean(1))
