"""Position encodings against their formulas, number by number; and the value that is kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sam2_core.layers.position import (
    Derived,
    fourier_features,
    fourier_map,
    sine_map,
    sine_times,
)


@pytest.mark.parametrize(("side", "channels"), [(1, 8), (4, 8), (6, 64)])
def test_a_sine_map_follows_its_formula(side: int, channels: int) -> None:
    found = sine_map(side, channels)
    assert found.shape == (side * side, channels)
    half = channels // 2
    for y in range(side):
        for x in range(side):
            expected = []
            for place in (y, x):
                angle = (place + 1) / (side + 1e-6) * 2 * math.pi
                for channel in range(half):
                    phase = angle / 10000 ** (2 * (channel // 2) / half)
                    expected.append(math.cos(phase) if channel % 2 else math.sin(phase))
            assert found[y * side + x].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("channels", [4, 16, 256])
def test_times_have_all_sines_before_all_cosines(channels: int) -> None:
    times = torch.tensor([[0.0, 1.0, -0.4], [2 / 15, 7.0, 1.6]])
    found = sine_times(times, channels)
    assert found.shape == (2, 3, channels)
    half = channels // 2
    for row in range(2):
        for column in range(3):
            time = times[row, column].item()
            phases = [time / 10000 ** (2 * (c // 2) / half) for c in range(half)]
            expected = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
            assert found[row, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_fourier_features_follow_their_formula() -> None:
    frequencies = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[0.0, 0.0], [0.25, 0.9], [1.0, 1.0]])
    found = fourier_features(points, frequencies)
    for (x, y), row in zip(points.tolist(), found, strict=True):
        phases = [
            2 * math.pi * ((2 * x - 1) * a + (2 * y - 1) * b) for a, b in frequencies.T.tolist()
        ]
        expected = [math.sin(p) for p in phases] + [math.cos(p) for p in phases]
        assert row.tolist() == pytest.approx(expected, abs=1e-5)


def test_fourier_features_are_computed_in_full_precision_whatever_comes_in() -> None:
    frequencies = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    points = torch.tensor([[0.25, 0.5]])
    found = fourier_features(points, frequencies)
    assert found.dtype == torch.float32
    assert torch.equal(found, fourier_features(points, frequencies.float()))


def test_fourier_features_are_as_exact_under_autocast() -> None:
    frequencies = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[301.5, 302.5], [302.5, 302.5]]) / 1024
    expected = fourier_features(points, frequencies)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fourier_features(points, frequencies), expected)


def test_a_fourier_map_encodes_pixel_centres_row_by_row() -> None:
    frequencies = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    found = fourier_map(3, frequencies)
    for place in range(9):
        centre = torch.tensor([[(place % 3 + 0.5) / 3, (place // 3 + 0.5) / 3]])
        assert torch.allclose(found[place], fourier_features(centre, frequencies)[0], atol=1e-6)


# ---------------------------------------------------------------- a value kept beside its weights


class _Doubled:
    """A derived value that counts how often it was computed."""

    def __init__(self) -> None:
        self.computed = 0
        self.kept = Derived(self._build)

    def _build(self, *weights: Tensor) -> Tensor:
        self.computed += 1
        return 2 * sum(weights)


def _frozen(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_a_derived_value_is_computed_once_for_the_same_numbers() -> None:
    doubled, weight = _Doubled(), _frozen(1, 2)
    assert doubled.kept.of(weight).tolist() == [2, 4]
    assert doubled.kept.of(weight).tolist() == [2, 4]
    assert doubled.kept.of(weight.clone()).tolist() == [2, 4]
    assert doubled.computed == 1


@pytest.mark.parametrize("how", ["in place", "through .data", "another tensor", "one of two"])
def test_a_derived_value_follows_its_weights(how: str) -> None:
    doubled, weight, other = _Doubled(), _frozen(1, 2), _frozen(10, 20)
    assert doubled.kept.of(weight, other).tolist() == [22, 44]
    if how == "in place":
        weight.mul_(3)
    elif how == "through .data":
        weight.data[:] = _frozen(3, 6)
    elif how == "another tensor":
        weight = _frozen(3, 6)
    else:
        weight, other = _frozen(3, 6), other.clone()
    assert doubled.kept.of(weight, other).tolist() == [26, 52]
    assert doubled.computed == 2


def test_minus_zero_and_nan_are_numbers_like_others() -> None:
    doubled, weight = _Doubled(), _frozen(0.0, math.nan)
    doubled.kept.of(weight)
    doubled.kept.of(weight)
    assert doubled.computed == 1


def test_a_weight_that_is_changed_later_does_not_change_the_value_that_was_given() -> None:
    doubled, weight = _Doubled(), _frozen(1, 2)
    given = doubled.kept.of(weight)
    weight.mul_(5)
    doubled.kept.of(weight)
    assert given.tolist() == [2, 4]


def test_a_weight_that_is_learning_is_computed_every_time_and_gets_its_gradient() -> None:
    doubled = _Doubled()
    weight = _frozen(1, 2).requires_grad_()
    for _ in range(2):
        doubled.kept.of(weight).sum().backward()
    assert weight.grad.tolist() == [4, 4]
    assert doubled.computed == 2


def test_a_value_kept_under_inference_mode_serves_a_training_step_later() -> None:
    doubled, weight = _Doubled(), _frozen(1, 2)
    with torch.inference_mode():
        doubled.kept.of(weight)
    learned = torch.ones(2, requires_grad=True)
    (doubled.kept.of(weight) * learned).sum().backward()
    assert learned.grad.tolist() == [2, 4]
    assert doubled.computed == 1


def test_weights_of_learning_models_are_kept_without_grad_too() -> None:
    doubled, weight = _Doubled(), _frozen(1, 2).requires_grad_()
    with torch.no_grad():
        first, second = doubled.kept.of(weight), doubled.kept.of(weight)
    assert doubled.computed == 1
    assert not first.requires_grad
    assert torch.equal(first, second)


def test_weights_of_any_layout_and_precision_can_be_followed() -> None:
    doubled = _Doubled()
    weight = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(doubled.kept.of(weight), 2 * weight)
    half = torch.arange(6.0).bfloat16()
    assert torch.equal(doubled.kept.of(half), 2 * half)
    half.add_(1)
    assert torch.equal(doubled.kept.of(half), 2 * half)
