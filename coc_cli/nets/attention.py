"""torch's multi-head attention, written with linear layers and products of tensors, which are counted and rounded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coc_cli.errors import StageError


class PlainAttention(nn.Module):
    """What nn.MultiheadAttention computes (Vaswani et al. 2017), its projections four linear layers of their own."""

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.batch_first = original.embed_dim, original.num_heads, original.batch_first
        if original.bias_k is not None or original.add_zero_attn:
            raise StageError(
                "nn.MultiheadAttention with add_bias_kv or add_zero_attn is not taken; leave these out", "arch"
            )
        is_one = original.in_proj_weight is not None
        three = (original.q_proj_weight, original.k_proj_weight, original.v_proj_weight)
        weights = original.in_proj_weight.chunk(3) if is_one else three
        biases = (None,) * 3 if original.in_proj_bias is None else original.in_proj_bias.chunk(3)
        projections = [_linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]
        self.q_proj, self.k_proj, self.v_proj = projections
        self.out_proj = _linear(original.out_proj.weight, original.out_proj.bias)
        self.dropout = nn.Dropout(original.dropout)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # noqa: ARG002  (a hint; the mask is there as well)
    ) -> tuple[Tensor, Tensor | None]:
        """Return the attended values and, if they are wanted, the weights, as nn.MultiheadAttention does."""
        if query.dim() != len("BLE") or (attn_mask is not None and attn_mask.dim() != len("LS")):
            raise StageError("takes batches [B, L, E] and masks [L, S] only", "arch")
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        parts = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        q, k, v = (x.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for x in parts)
        scores = torch.matmul(q * (self.embed_dim // self.num_heads) ** -0.5, k.transpose(2, 3))
        for mask in (attn_mask, None if key_padding_mask is None else key_padding_mask[:, None, None]):
            if mask is not None:
                scores = scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        weights = self.dropout(scores.softmax(-1))
        y = self.out_proj(torch.matmul(weights, v).transpose(1, 2).flatten(2))
        y = y if self.batch_first else y.transpose(0, 1)
        return y, (weights.mean(1) if average_attn_weights else weights) if need_weights else None


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with copies of these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().clone()))
    return layer
