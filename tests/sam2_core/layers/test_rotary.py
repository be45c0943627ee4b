"""Rotation by place: the two ways to compute it, and what makes it a rotation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam2_core.layers.rotary import rotary_table, rotate


def _tokens(batch: int, length: int, channels: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, length, channels, generator=torch.Generator().manual_seed(seed))


def _rotated(x: Tensor, side: int) -> Tensor:
    angles = rotary_table(side, x.shape[-1])
    return rotate(x, angles.cos(), angles.sin())


@pytest.mark.parametrize(("side", "channels"), [(1, 4), (3, 8), (4, 64)])
def test_the_table_follows_its_formula(side: int, channels: int) -> None:
    table = rotary_table(side, channels)
    assert table.shape == (side * side, channels // 2)
    for place in range(side * side):
        for index in range(channels // 4):
            frequency = 10000 ** (-4 * index / channels)
            across, down = table[place, index], table[place, channels // 4 + index]
            assert across.item() == pytest.approx(place % side * frequency, abs=1e-5)
            assert down.item() == pytest.approx(place // side * frequency, abs=1e-5)


@pytest.mark.parametrize("repeats", [1, 3])
def test_every_pair_of_channels_is_turned_by_its_angle(repeats: int) -> None:
    side, channels = 3, 8
    x = _tokens(2, repeats * side * side, channels)
    table, found = rotary_table(side, channels), _rotated(x, side)
    for place in range(x.shape[1]):
        for pair in range(channels // 2):
            angle = table[place % (side * side), pair].item()
            a, b = x[1, place, 2 * pair].item(), x[1, place, 2 * pair + 1].item()
            expected = (
                a * math.cos(angle) - b * math.sin(angle),
                a * math.sin(angle) + b * math.cos(angle),
            )
            assert tuple(found[1, place, 2 * pair : 2 * pair + 2].tolist()) == pytest.approx(
                expected, abs=1e-5
            )


@pytest.mark.parametrize("repeats", [1, 4])
def test_complex_and_real_arithmetic_agree(monkeypatch: pytest.MonkeyPatch, repeats: int) -> None:
    x = _tokens(2, repeats * 16, 32)
    on_cpu = _rotated(x, 4)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.allclose(_rotated(x, 4), on_cpu, atol=1e-6)


def test_repeats_are_turned_alike() -> None:
    once = _tokens(1, 9, 8)
    assert torch.equal(_rotated(once.repeat(1, 5, 1), 3), _rotated(once, 3).repeat(1, 5, 1))


def test_turning_keeps_the_length_of_every_token() -> None:
    x = _tokens(2, 16, 32)
    assert torch.allclose(_rotated(x, 4).norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert not torch.allclose(_rotated(x, 4)[:, 1:], x[:, 1:])


def test_the_first_place_is_not_turned() -> None:
    x = _tokens(2, 16, 32)
    assert torch.equal(_rotated(x, 4)[:, 0], x[:, 0])


def test_scores_depend_on_how_far_apart_two_places_are_not_on_where() -> None:
    side, channels = 6, 32
    query, key = (_tokens(1, 1, channels, seed).expand(1, side * side, channels) for seed in (1, 2))
    scores = _rotated(query, side)[0] @ _rotated(key, side)[0].T
    by_distance: dict[tuple[int, int], list[float]] = {}
    for one in range(side * side):
        for other in range(side * side):
            step = (other % side - one % side, other // side - one // side)
            by_distance.setdefault(step, []).append(scores[one, other].item())
    for step, found in by_distance.items():
        assert found == pytest.approx([found[0]] * len(found), abs=1e-4), step
    assert len({round(found[0], 3) for found in by_distance.values()}) > side


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_precision_that_came_in_comes_out_and_the_work_is_done_in_full(
    dtype: torch.dtype,
) -> None:
    x = _tokens(2, 16, 32).to(dtype)
    found = _rotated(x, 4)
    assert found.dtype == dtype
    assert torch.equal(found, _rotated(x.float(), 4).to(dtype))
