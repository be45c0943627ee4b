"""Upsampled masks and their measures, against interpolating everything at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ops import (
    decode_run_lengths,
    mask_boxes_xyxy,
    measure_upsampled,
    set_pixels,
    upsample_masks,
    upsampled_run_lengths,
    upsampling,
)

SIZES = [(1, 1), (7, 5), (16, 16), (37, 61), (64, 9), (3, 200)]


def _logits(count: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, 12, generator=torch.Generator().manual_seed(seed)) * 3


def _plain(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threshold", [0.0, 0.7, -1.5])
def test_masks_are_where_interpolated_logits_exceed_the_threshold(
    size: tuple[int, int], threshold: float
) -> None:
    masks = upsample_masks(_logits(), size, threshold)
    assert masks.dtype == torch.bool
    assert torch.equal(masks, _plain(_logits(), size) > threshold)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.5, 0.25), (-1.0, 0.0)])
def test_measures_are_those_of_the_interpolated_logits(
    size: tuple[int, int], threshold: float, offset: float
) -> None:
    found = measure_upsampled(_logits(), size, threshold, offset)
    full = _plain(_logits(), size)
    above = (full > threshold + offset).sum((1, 2))
    below = (full > threshold - offset).sum((1, 2))
    assert torch.equal(found.area_above_N, above)
    assert torch.equal(found.area_below_N, below)
    assert torch.allclose(found.stability, above / below, equal_nan=True)
    for mask, box in zip(full > threshold, found.boxes_xyxy_N4, strict=True):
        ys, xs = torch.nonzero(mask, as_tuple=True)
        expected = [xs.min(), ys.min(), xs.max(), ys.max()] if len(xs) else [0, 0, 0, 0]
        assert box.tolist() == [int(value) for value in expected]


@pytest.mark.parametrize("pixels", [1, 37 * 61, 2 * 37 * 61, 5 * 37 * 61 - 1, 5 * 37 * 61])
def test_where_a_batch_is_cut_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    size = (37, 61)
    masks, measures = upsample_masks(_logits(), size), measure_upsampled(_logits(), size, 0.0, 1.0)
    monkeypatch.setattr(set_pixels, "CPU_CHUNK_BYTES", 4 * pixels)
    again = measure_upsampled(_logits(), size, 0.0, 1.0)
    assert torch.equal(upsample_masks(_logits(), size), masks)
    assert torch.equal(again.boxes_xyxy_N4, measures.boxes_xyxy_N4)
    assert torch.equal(again.area_above_N, measures.area_above_N)
    assert torch.equal(again.area_below_N, measures.area_below_N)


def test_no_more_float_logits_are_alive_at_once_than_the_chunk_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    largest = []
    through = upsampling.upsample_logits

    def noted(logits: Tensor, size: tuple[int, int]) -> Tensor:
        full = through(logits, size)
        largest.append(full.numel())
        return full

    monkeypatch.setattr(upsampling, "upsample_logits", noted)
    monkeypatch.setattr(set_pixels, "CPU_CHUNK_BYTES", 4 * 2 * 40 * 30)
    upsample_masks(_logits(7), (40, 30))
    measure_upsampled(_logits(7), (40, 30), 0.0, 1.0)
    upsampled_run_lengths(_logits(7), (40, 30))
    assert max(largest) == 2 * 40 * 30
    assert len(largest) == 12


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (3, 0, 0, 5), (1, 2, 3, 4)])
def test_run_lengths_are_those_of_the_masks_with_unset_pixels_around_them(
    monkeypatch: pytest.MonkeyPatch, count: int, margins: tuple[int, int, int, int]
) -> None:
    monkeypatch.setattr(set_pixels, "CPU_CHUNK_BYTES", 4 * 2 * 40 * 30)
    left, right, above, below = margins
    expected = torch.zeros(count, above + 37 + below, left + 29 + right, dtype=torch.bool)
    masks = upsample_masks(_logits(count), (37, 29), 0.5)
    expected[:, above : above + 37, left : left + 29] = masks
    runs = upsampled_run_lengths(_logits(count), (37, 29), 0.5, margins=margins)
    assert torch.equal(decode_run_lengths(runs), expected)


@pytest.mark.parametrize(("count", "size"), [(3000, (9, 14)), (1, (8192, 8192))])
def test_three_thousand_masks_and_a_huge_one_are_upsampled_and_measured(
    count: int, size: tuple[int, int]
) -> None:
    masks = upsample_masks(_logits(count), size)
    measures = measure_upsampled(_logits(count), size, 0.0, 0.0)
    assert torch.equal(masks, _plain(_logits(count), size) > 0)
    misses = (measures.area_above_N - masks.flatten(1).sum(1)).abs()
    assert int(misses.max()) <= 1e-7 * size[0] * size[1], "one of ten million, where sums round"
    assert torch.equal(measures.boxes_xyxy_N4, mask_boxes_xyxy(masks))


def test_no_logits_give_empty_masks_and_measures() -> None:
    assert upsample_masks(torch.zeros(0, 16, 12), (37, 61)).shape == (0, 37, 61)
    found = measure_upsampled(torch.zeros(0, 16, 12), (37, 61), 0.0, 1.0)
    assert found.boxes_xyxy_N4.shape == (0, 4)
    assert found.stability.shape == (0,)


def test_half_precision_logits_are_upsampled_in_full_precision() -> None:
    half = _logits().bfloat16()
    assert torch.equal(upsample_masks(half, (37, 61)), _plain(half.float(), (37, 61)) > 0)


def test_an_empty_mask_has_no_stability() -> None:
    found = measure_upsampled(torch.full((1, 16, 12), -9.0), (20, 20), 0.0, 1.0)
    assert found.stability.isnan().all()
