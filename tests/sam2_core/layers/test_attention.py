"""Folded attention equals the plain one, head by head."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam2_core.layers.attention import (
    Attention,
    gather_from,
    gather_projected,
    join_heads,
    scatter_projected,
    scatter_to,
    split_heads,
)

SHAPES = [(32, 4, None), (32, 4, 16), (24, 1, None), (16, 8, 8)]
shapes = pytest.mark.parametrize(("dim", "heads", "inner"), SHAPES)


def _attention(dim: int, heads: int, inner: int | None) -> Attention:
    """Weights with biases that matter."""
    made = Attention(dim, heads, inner_dim=inner)
    generator = torch.Generator().manual_seed(dim * heads)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    return made.requires_grad_(False)


def _tokens(count: int, length: int, dim: int, seed: int) -> Tensor:
    return torch.randn(count, length, dim, generator=torch.Generator().manual_seed(seed))


def _plain(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention as the paper writes it, one head after the other."""
    q, k, v = attention.query(query), attention.key(key), attention.value(value)
    width = q.shape[-1] // attention.heads
    heads = []
    for head in range(attention.heads):
        part = slice(head * width, (head + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width)
        heads.append(torch.softmax(scores, dim=-1) @ v[..., part])
    return attention.out(torch.cat(heads, dim=-1))


@shapes
@pytest.mark.parametrize("count", [0, 1, 3])
def test_attention_equals_one_head_after_the_other(
    dim: int, heads: int, inner: int | None, count: int
) -> None:
    attention = _attention(dim, heads, inner)
    query, key = _tokens(count, 5, dim, 1), _tokens(count, 17, dim, 2)
    value = _tokens(count, 17, dim, 3)
    expected = _plain(attention, query, key, value)
    assert expected.shape == (count, 5, dim)
    assert torch.allclose(attention(query, key, value), expected, atol=1e-5)


@shapes
def test_few_tokens_gather_from_many_pixels(dim: int, heads: int, inner: int | None) -> None:
    attention = _attention(dim, heads, inner)
    query, keys, values = (_tokens(3, n, dim, n) for n in (5, 64, 64))
    values = values + 1
    found = gather_from(attention, query, keys, values)
    assert torch.allclose(found, _plain(attention, query, keys, values), atol=1e-4)


@shapes
def test_many_pixels_look_at_few_tokens_and_keep_what_they_were(
    dim: int, heads: int, inner: int | None
) -> None:
    attention = _attention(dim, heads, inner)
    pixels, queries = _tokens(3, 64, dim, 1), _tokens(3, 64, dim, 2)
    key, value = _tokens(3, 5, dim, 3), _tokens(3, 5, dim, 4)
    found = scatter_to(attention, pixels, queries, key, value)
    expected = pixels + _plain(attention, queries, key, value)
    assert torch.allclose(found, expected, atol=1e-4)


@shapes
def test_gathering_from_projected_pixels_is_the_same(
    dim: int, heads: int, inner: int | None
) -> None:
    attention = _attention(dim, heads, inner)
    query, keys, values = _tokens(3, 5, dim, 1), _tokens(3, 64, dim, 2), _tokens(3, 64, dim, 3)
    found = gather_projected(
        attention,
        query,
        split_heads(attention.key(keys), heads),
        split_heads(attention.value(values), heads),
    )
    assert torch.allclose(found, _plain(attention, query, keys, values), atol=1e-4)


@shapes
def test_scattering_to_projected_pixels_is_the_same(
    dim: int, heads: int, inner: int | None
) -> None:
    attention = _attention(dim, heads, inner)
    pixels, queries = _tokens(3, 64, dim, 1), _tokens(3, 64, dim, 2)
    key, value = _tokens(3, 5, dim, 3), _tokens(3, 5, dim, 4)
    projected = split_heads(attention.query(queries), heads)
    found = scatter_projected(attention, pixels, projected, key, value)
    expected = pixels + _plain(attention, queries, key, value)
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("function", [scatter_to, scatter_projected])
def test_the_pixels_that_come_in_are_not_overwritten(function: object) -> None:
    attention = _attention(32, 4, 16)
    pixels = _tokens(2, 9, 32, 1)
    before = pixels.clone()
    queries = pixels if function is scatter_to else split_heads(attention.query(pixels), 4)
    function(attention, pixels, queries, _tokens(2, 5, 32, 2), _tokens(2, 5, 32, 3))
    assert torch.equal(pixels, before)


def test_heads_are_split_and_joined_in_order() -> None:
    x = torch.arange(2 * 3 * 8.0).reshape(2, 3, 8)
    split = split_heads(x, 4)
    assert split.shape == (2, 4, 3, 2)
    assert split[1, 2, 0].tolist() == x[1, 0, 4:6].tolist()
    assert torch.equal(join_heads(split), x)


def test_a_gradient_reaches_every_weight() -> None:
    attention = _attention(32, 4, 16).requires_grad_()
    gathered = gather_from(
        attention, _tokens(2, 3, 32, 1), _tokens(2, 9, 32, 2), _tokens(2, 9, 32, 3)
    )
    scattered = scatter_to(
        attention, _tokens(2, 9, 32, 1), _tokens(2, 9, 32, 2), gathered, gathered
    )
    scattered.square().sum().backward()
    for name, weight in attention.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
