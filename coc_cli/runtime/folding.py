"""A layer's rounded weights and the norm behind it, as whole numbers with one step for each output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coc_cli.nets import lsq
from coc_cli.nets.layers import QuantizedWeight
from coc_cli.runtime.graph import Array, Grid

LARGEST_SUM = 2**31 - 1
EXACT = 2**20  # the bias of a channel that is that bias alone


@dataclass(frozen=True, eq=False)
class Folded:
    """What `Layer` holds, and how the network is told that its bias was rounded."""

    codes: Array
    scale: Array
    bias: Array
    place: Any  # the module that adds the bias: the norm, else the layer
    change: Tensor  # of that bias

    @torch.no_grad()
    def write_back(self) -> None:
        """Round the bias in the network too, in place."""
        if self.place.bias is not None:
            self.place.bias += self.change


@torch.no_grad()
def folded(module: QuantizedWeight, norm: nn.Module | None, grid: Grid, largest_code: int) -> Folded:
    """Fold a norm into a layer that reads codes of a grid.

    Args:
        module: The layer.
        norm: A batch norm with running statistics, or None.
        grid: Of what the layer reads.
        largest_code: To which codes may be enlarged; not so far that two products leave 16 bits.

    Returns:
        Codes (int8), scale (float32) and bias (int32) by output channel.
    """
    bias: Any = module.bias
    gain, shift = torch.ones(len(module.weight)), torch.zeros(len(module.weight)) if bias is None else bias.clone()
    if norm is not None:
        norm_any: Any = norm
        gain = (norm_any.running_var + norm_any.eps).rsqrt() * (1 if norm_any.weight is None else norm_any.weight)
        beta = 0 if norm_any.bias is None else norm_any.bias
        shift = (shift - norm_any.running_mean) * gain + beta
    codes = lsq.codes(module.weight, module.scale_for_weight(), module.bits, signed=True).numpy()
    highest = lsq.code_range(module.bits, signed=True)[1]
    reads = grid.high + (128 if grid.low < 0 else 0)
    finer = max(1, min(largest_code, (2**15 - 1) // (2 * reads)) // highest)
    codes = codes * finer * np.sign(gain.numpy()).astype(np.int32).reshape(-1, *[1] * (codes.ndim - 1))
    scale = (lsq.positive(module.used(module.weight_scale)) * gain.abs() / finer).numpy().astype(np.float64)
    wanted = shift.numpy().astype(np.float64)
    largest = LARGEST_SUM - np.abs(codes).reshape(len(codes), -1).sum(1, dtype=np.int64) * max(grid.high, -grid.low)
    # A channel whose weights can be left out beside its bias is the bias alone, with a step that holds it.
    is_bias = (scale == 0) | (np.abs(wanted) > largest * scale * grid.scale)
    codes[is_bias] = 0
    scale[is_bias] = np.maximum(np.abs(wanted[is_bias]), 1e-30) / EXACT / grid.scale
    step = np.float32(grid.scale) * scale.astype(np.float32)
    whole = np.rint(wanted / step).astype(np.int32)
    change = torch.from_numpy((whole * step.astype(np.float64) - wanted).astype(np.float32))
    return Folded(codes.astype(np.int8), scale.astype(np.float32), whole, norm if norm is not None else module, change)
