"""Run lengths that are made at borders alone are those of all pixels, to the last bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from ops import (
    cell_grid,
    cell_runs,
    encode_run_lengths,
    set_pixels,
    upsampled_run_lengths,
    upsampling,
)
from ops.cell_grid import Axis, CellGrid
from ops.cell_runs import cell_run_lengths
from ops.run_lengths import RunLengths

NONE = (0, 0, 0, 0)
margins_of = st.tuples(*[st.integers(0, 5)] * 4)


def _smooth(count: int, height: int, width: int, seed: int, scale: float = 40.0) -> Tensor:
    noise = torch.randn(count, 1, height + 6, width + 6, generator=torch.manual_seed(seed))
    return avg_pool2d(noise, 7, 1)[:, 0] * scale


def _discs(*radii: float) -> Tensor:
    away = torch.hypot(*torch.meshgrid(*[torch.arange(64.0) - 31.3] * 2, indexing="ij"))
    return torch.stack([radius - away for radius in radii])


def _plain(logits: Tensor, size: tuple[int, int], threshold: float, margins=NONE) -> RunLengths:
    full = interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    return encode_run_lengths(pad(full > threshold, margins).contiguous())


def _of(runs: RunLengths, number: int) -> list[int]:
    return runs.counts[runs.offsets[number] : runs.offsets[number + 1]].tolist()


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
    margins_of,
    st.sampled_from([0.0, 0.7, -3.0]),
)
def test_masks_that_are_decided_are_exact(height, width, low_h, low_w, seed, margins, threshold):
    logits = _smooth(3, low_h, low_w, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_runs, "_CROWDED", 1.0)
        found = cell_run_lengths(logits, (height, width), threshold, margins)
    expected = _plain(logits, (height, width), threshold, margins)
    assert len(found.runs) == 3
    for number in range(3):
        if found.is_undecided_N[number]:
            assert _of(found.runs, number) == [found.runs.height * found.runs.width]
        else:
            assert _of(found.runs, number) == _of(expected, number)


@pytest.mark.parametrize("logits", [1, 2, 3, 5, 20, 21, 22, 60, 80, 88, 144, 160, 200, 256])
def test_places_and_weights_are_those_that_torch_uses(logits: int):
    """Also where rounding decides which logits a pixel lies between."""
    values = torch.randn(logits, generator=torch.manual_seed(logits), dtype=torch.float32) * 5
    for pixels in {1, 7, 62, 133, 480, 496, 592, 620, 912, 1072, 1184, 1250, *range(200, 1200, 37)}:
        axis = Axis.of(logits, pixels)
        behind = (axis.place + 1).clamp(max=logits - 1)
        found = values[axis.place] * (1 - axis.weight) + values[behind] * axis.weight
        asked = interpolate(values[None, None, :, None], (pixels, 1), mode="bilinear")[0, 0, :, 0]
        near = torch.maximum(values[axis.place].abs(), values[behind].abs())
        assert bool(((found - asked).abs() <= 1.3e-7 * near).all()), pixels
        assert int(axis.count.sum()) == pixels
        assert bool((axis.place.diff() >= 0).all())


@pytest.mark.parametrize(
    ("side", "size", "low", "edge"),
    [
        (80, 1072, -30, 2e-5),
        (80, 496, -30, 2e-5),
        (160, 1184, -100, 1.5e-4),
        (144, 912, -50, 5e-5),
        (200, 1000, -50, 5e-5),
    ],
)
def test_a_pixel_whose_place_rounding_decides_is_where_torch_has_it(side, size, low, edge):
    for line in range(1, side - 1):
        logits = torch.full((1, side, side), 5.0)
        logits[:, :line], logits[:, line] = low, edge
        both = torch.cat([logits, logits.mT])
        runs = upsampled_run_lengths(both, (size, size))
        assert torch.equal(runs.counts, _plain(both, (size, size), 0.0).counts), line


def test_few_masks_are_undecided():
    """As doubt is rare, and borders take few cells."""
    found = cell_run_lengths(_discs(*torch.linspace(2, 29, 200).tolist()), (800, 1250), 0.0)
    assert int(found.is_undecided_N.sum()) < 20


def test_few_pixels_are_made(monkeypatch):
    made: list[int] = []
    through = CellGrid._made

    def counting(grid: CellGrid, cells: Tensor, *size: int):
        made.append(len(cells))
        return through(grid, cells, *size)

    monkeypatch.setattr(CellGrid, "_made", counting)
    found = cell_run_lengths(_discs(20.0), (1024, 1024), 0.0)
    assert not found.is_undecided_N.any()
    assert 0 < sum(made) < 0.06 * 64 * 64


@pytest.mark.parametrize("pixels", [1, 500, 1 << 30])
def test_how_many_are_made_at_once_makes_no_difference(monkeypatch, pixels):
    monkeypatch.setattr(cell_grid, "_PIXELS_AT_ONCE", pixels)
    found, expected = (
        make(_discs(12.0, 3.0, 40.0), (99, 340), 0.0) for make in (cell_run_lengths, _plain)
    )
    assert torch.equal(found.runs.counts, expected.counts)


@pytest.mark.parametrize("logit", [-9.0, 9.0])
def test_masks_without_borders_have_one_run(logit):
    found = cell_run_lengths(torch.full((2, 8, 8), logit), (64, 96), 0.0)
    assert not found.is_undecided_N.any()
    assert torch.equal(found.runs.counts, _plain(torch.full((2, 8, 8), logit), (64, 96), 0).counts)


@pytest.mark.parametrize("logit", [0.0, torch.nan])
def test_what_lies_on_the_threshold_or_is_no_number_is_undecided(logit):
    logits = _discs(12.0, 12.0)
    logits[0, 30, 30] = logit
    # Nine pixels a logit: one has its middle where the logit has its own.
    assert cell_run_lengths(logits, (576, 576), 0.0).is_undecided_N.tolist() == [True, False]
    runs = upsampled_run_lengths(logits, (576, 576))
    assert torch.equal(runs.counts, _plain(logits, (576, 576), 0.0).counts)


def test_rough_masks_are_made_of_pixels_and_the_others_are_not(monkeypatch):
    rough = torch.randn(2, 64, 64, generator=torch.manual_seed(1))
    logits = torch.stack([rough[0], _discs(15.0)[0], rough[1], _discs(7.0)[0]])
    asked: list[int] = []
    through = upsampling._runs_of_pixels

    def counting(some: Tensor, *others):
        asked.append(len(some))
        return through(some, *others)

    monkeypatch.setattr(upsampling, "_runs_of_pixels", counting)
    runs = upsampled_run_lengths(logits, (500, 700), margins=(1, 2, 3, 4))
    assert asked == [2]
    assert torch.equal(runs.counts, _plain(logits, (500, 700), 0.0, (1, 2, 3, 4)).counts)


def test_many_masks_are_looked_at_some_at_a_time(monkeypatch):
    sizes: list[int] = []
    through = CellGrid.of

    def counting(logits: Tensor, size: tuple[int, int]) -> CellGrid:
        sizes.append(len(logits))
        return through(logits, size)

    monkeypatch.setattr(CellGrid, "of", counting)
    monkeypatch.setattr(set_pixels, "CPU_CHUNK_BYTES", 4 * 64 * 64 * 4)
    logits = _discs(*torch.linspace(2, 29, 10).tolist())
    runs = upsampled_run_lengths(logits, (300, 320))
    assert torch.equal(runs.counts, _plain(logits, (300, 320), 0.0).counts)
    measures = upsampling.measure_upsampled(logits, (300, 320), 0.0, 1.0)
    assert measures.boxes_xyxy_N4.shape == (10, 4)
    assert sizes == [4, 4, 2, 4, 4, 2]


def test_no_masks_have_no_runs():
    assert len(upsampled_run_lengths(torch.zeros(0, 16, 12), (640, 480))) == 0


def test_another_default_device_leaves_nothing_behind():
    cell_grid._asked.cache_clear()
    logits = _discs(12.0, 20.0)
    expected = _plain(logits, (500, 510), 0.0)
    with torch.device("meta"):
        axis = Axis.of(64, 500)
    assert axis.weight.device.type == "cpu"
    assert torch.equal(upsampled_run_lengths(logits, (500, 510)).counts, expected.counts)
