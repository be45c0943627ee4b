"""Scaled dot-product attention: plain, to what is projected already, and folded.

Folding: softmax(q k') v with k = W x and v = U x equals softmax((q W) x') x U'. Where queries are
few, this leaves one product per side that reads x itself, and keys and values are never made.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with separate projections; inner width may be smaller than outer."""

    def __init__(self, dim: int, heads: int, *, inner_dim: int | None = None) -> None:
        super().__init__()
        inner = inner_dim or dim
        self.heads = heads
        self.query = nn.Linear(dim, inner)
        self.key = nn.Linear(dim, inner)
        self.value = nn.Linear(dim, inner)
        self.out = nn.Linear(inner, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from [N, T, C] to [N, L, C]."""
        mixed = F.scaled_dot_product_attention(
            split_heads(self.query(query), self.heads),
            split_heads(self.key(key), self.heads),
            split_heads(self.value(value), self.heads),
        )
        return self.out(join_heads(mixed))


def split_heads(x_NLC: Tensor, heads: int) -> Tensor:
    """[N, L, C] -> [N, heads, L, C / heads]."""
    return x_NLC.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x_NHLD: Tensor) -> Tensor:
    """[N, heads, L, D] -> [N, L, heads * D]."""
    return x_NHLD.transpose(1, 2).flatten(2)


def head_weights(linear: nn.Linear, heads: int) -> Tensor:
    """Rows of a projection by head: [heads, D, C]."""
    return linear.weight.unflatten(0, (heads, -1))


def gather_from(
    attention: Attention, query_NTC: Tensor, keys_NPC: Tensor, values_NPC: Tensor
) -> Tensor:
    """Few tokens attend to many pixels, folded: [N, T, C].

    `keys_NPC` are pixels with their position, `values_NPC` the same pixels without. Tokens and
    weights may be in higher precision than pixels: only the two large products are in theirs.
    """
    heads = attention.heads
    query = split_heads(attention.query(query_NTC), heads)
    scale = 1 / math.sqrt(query.shape[-1])
    # The key bias adds the same to every pixel's score, and softmax does not see it.
    probe = ((query * scale) @ head_weights(attention.key, heads)).flatten(1, 2)
    scores = probe.to(keys_NPC.dtype) @ keys_NPC.transpose(1, 2)
    gathered = torch.softmax(scores, dim=-1) @ values_NPC
    gathered = gathered.to(query.dtype).unflatten(1, (heads, -1))
    values = gathered @ head_weights(attention.value, heads).transpose(1, 2)
    return attention.out(join_heads(values) + attention.value.bias)


def scatter_to(
    attention: Attention,
    pixels_NPC: Tensor,
    queries_NPC: Tensor,
    key_NTC: Tensor,
    value_NTC: Tensor,
) -> Tensor:
    """Many pixels attend to few tokens, folded, and the answer is added to them: [N, P, C]."""
    heads = attention.heads
    key = split_heads(attention.key(key_NTC), heads)
    key = key / math.sqrt(key.shape[-1])
    probe = (key @ head_weights(attention.query, heads)).flatten(1, 2)
    offset = (key @ attention.query.bias.view(heads, -1, 1)).flatten(1, 2)
    dtype = queries_NPC.dtype
    scores = torch.baddbmm(offset.to(dtype), probe.to(dtype), queries_NPC.transpose(1, 2))
    return _spread(attention, pixels_NPC, scores.unflatten(1, (heads, -1)), value_NTC)


def gather_projected(
    attention: Attention, query_NTC: Tensor, keys_NHPD: Tensor, values_NHPD: Tensor
) -> Tensor:
    """Few tokens attend to pixels whose keys and values are at hand: [N, T, C]."""
    query = split_heads(attention.query(query_NTC), attention.heads)
    mixed = F.scaled_dot_product_attention(query.to(keys_NHPD.dtype), keys_NHPD, values_NHPD)
    return attention.out(join_heads(mixed).to(query.dtype))


def scatter_projected(
    attention: Attention,
    pixels_NPC: Tensor,
    queries_NHPD: Tensor,
    key_NTC: Tensor,
    value_NTC: Tensor,
) -> Tensor:
    """Pixels whose queries are at hand attend to few tokens, and the answer is added to them."""
    key = split_heads(attention.key(key_NTC), attention.heads)
    key = (key / math.sqrt(key.shape[-1])).to(queries_NHPD.dtype)
    return _spread(attention, pixels_NPC, key @ queries_NHPD.transpose(2, 3), value_NTC)


def _spread(
    attention: Attention, pixels_NPC: Tensor, scores_NHTP: Tensor, value_NTC: Tensor
) -> Tensor:
    heads = attention.heads
    shares = torch.softmax(scores_NHTP, dim=2).flatten(1, 2)
    value = split_heads(attention.value(value_NTC), heads)
    answer = value @ attention.out.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)
    # Shares of a head sum to one, so the output bias can ride on the first head's answers.
    first = torch.zeros(heads, 1, 1, dtype=answer.dtype, device=answer.device)
    first[0] = 1
    answer = (answer + first * attention.out.bias).flatten(1, 2)
    return torch.baddbmm(pixels_NPC, shares.transpose(1, 2), answer.to(pixels_NPC.dtype))
