"""Judges components by scipy.ndimage.label with its 3 x 3 structure."""

from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from ops import (
    clean_up_logits,
    component_areas,
    components,
    drop_small_specks,
    fill_small_holes,
    set_pixels,
)

SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 11), st.integers(1, 11)))


def scipy_areas(masks_NHW: torch.Tensor) -> torch.Tensor:
    areas = np.zeros(masks_NHW.shape, np.int32)
    for mask, area in zip(masks_NHW.numpy(), areas, strict=True):
        labels, _ = ndimage.label(mask, np.ones((3, 3)))
        area[mask] = np.bincount(labels.ravel())[labels[mask]]
    return torch.from_numpy(areas)


def spiral(side: int) -> torch.Tensor:
    """Return one arm of pixels, one apart from itself, from a corner to the middle."""
    mask = np.zeros((side + 2, side + 2), bool)
    y, x, step = 1, 0, np.array([0, 1])
    for length in [side, *(n for n in range(side - 1, 0, -2) for _ in range(2))]:
        for _ in range(length):
            y, x = y + step[0], x + step[1]
            mask[y, x] = True
        step = np.array([step[1], -step[0]])
    return torch.from_numpy(mask[1:-1, 1:-1].copy())


def snake(side: int) -> torch.Tensor:
    """Return rows joined at alternating ends: one component whose every bend is at an edge."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    return mask


def comb(side: int) -> torch.Tensor:
    """Return teeth that only the last row joins, so that the joint is found last."""
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[:, ::2] = mask[-1] = True
    return mask


@settings(deadline=None, max_examples=200)
@given(masks=SMALL_MASKS)
def test_areas_are_those_of_scipy(masks):
    masks_NHW = torch.from_numpy(masks)
    assert torch.equal(component_areas(masks_NHW), scipy_areas(masks_NHW))


@settings(deadline=None, max_examples=50)
@given(masks=SMALL_MASKS)
def test_chunks_of_a_few_masks_give_the_same_areas(masks):
    masks_NHW = torch.from_numpy(masks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_pixels, "CPU_CHUNK_BYTES", 100)
        assert torch.equal(component_areas(masks_NHW), scipy_areas(masks_NHW))


@pytest.mark.parametrize("density", [0.05, 0.3, 0.4, 0.5, 0.7, 1.0])
def test_noise_of_every_density_has_the_areas_of_scipy(density):
    random = torch.Generator().manual_seed(int(density * 100))
    masks_NHW = torch.rand(10, 101, 67, generator=random) < density
    assert torch.equal(component_areas(masks_NHW), scipy_areas(masks_NHW))


@pytest.mark.parametrize("shape", [spiral, snake, comb])
@pytest.mark.parametrize("side", [15, 127])
def test_winding_shapes_are_one_component_in_every_orientation(shape, side):
    mask = shape(side)
    turned = torch.stack([m for k in range(4) for m in (mask.rot90(k), mask.rot90(k).T)])
    areas = component_areas(turned)
    assert torch.equal(areas, turned * mask.sum(dtype=torch.int32))
    assert torch.equal(areas, scipy_areas(turned))
    assert torch.equal(component_areas(~turned), scipy_areas(~turned))


def test_merging_takes_few_rounds_on_winding_shapes_and_noise(monkeypatch):
    rounds = 0
    jump = components._jump_to_roots

    def counting_jump(parent):
        nonlocal rounds
        rounds += 1
        return jump(parent)

    monkeypatch.setattr(components, "_jump_to_roots", counting_jump)
    random = torch.Generator().manual_seed(0)
    noise = torch.rand(8, 255, 255, generator=random) < 0.4
    component_areas(torch.cat((noise, torch.stack((spiral(255), snake(255), comb(255).flip(0))))))
    assert 0 < rounds <= np.log2(255 * 255)


def test_components_of_neighbouring_masks_and_rows_do_not_join():
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    masks[0, 2] = masks[1, 0] = True  # last row of one, first row of the next
    masks[1, 2, 0] = masks[0, 0, 3] = True
    assert component_areas(masks).unique().tolist() == [0, 1, 4]


def test_three_thousand_masks_and_a_huge_one_are_measured():
    masks_NHW = torch.rand(3000, 14, 19, generator=torch.Generator().manual_seed(0)) < 0.35
    assert torch.equal(component_areas(masks_NHW), scipy_areas(masks_NHW))
    huge_1HW = torch.zeros(1, 8192, 8192, dtype=torch.bool)
    huge_1HW[0, ::64] = huge_1HW[0, :, 4000] = True
    whole = huge_1HW.sum(dtype=torch.int32)
    assert torch.equal(component_areas(huge_1HW), huge_1HW * whole)


@pytest.mark.parametrize(
    "masks", [torch.ones(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.uint8), torch.ones(3, 4).bool()]
)
def test_what_is_not_a_batch_of_bool_masks_is_refused_with_its_shape(masks):
    with pytest.raises(ValueError, match=r"component_areas got torch\.\w+ \[.*3, 4\]; pass bool"):
        component_areas(masks)


def logits_with_holes() -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    smooth = torch.nn.functional.avg_pool2d(torch.randn(6, 1, 60, 45, generator=random), 3, 1, 1)
    return smooth[:, 0] * 9 + 1


@pytest.mark.parametrize("max_area", [1, 8, 40])
@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_small_holes_are_filled_and_nothing_else(max_area, threshold):
    logits = logits_with_holes()
    areas = scipy_areas(logits <= threshold)
    expected = torch.where((areas > 0) & (areas <= max_area), 7.0, logits)
    filled = fill_small_holes(logits, max_area, threshold, fill_value=7.0)
    assert torch.equal(filled, expected)
    assert not torch.equal(filled, logits)


@pytest.mark.parametrize("max_area", [1, 8, 40])
@pytest.mark.parametrize("threshold", [0.0, 1.5])
def test_small_specks_are_dropped_and_nothing_else(max_area, threshold):
    logits = -logits_with_holes()
    areas = scipy_areas(logits > threshold)
    expected = torch.where((areas > 0) & (areas <= max_area), -7.0, logits)
    dropped = drop_small_specks(logits, max_area, threshold, fill_value=-7.0)
    assert torch.equal(dropped, expected)
    assert not torch.equal(dropped, logits)


def test_a_logit_at_the_threshold_is_background():
    logits = torch.full((1, 3, 3), 2.0)
    logits[0, 1, 1] = 0.5
    assert fill_small_holes(logits, 1, threshold=0.5, fill_value=9.0)[0, 1, 1] == 9.0
    assert fill_small_holes(logits, 1, threshold=0.25, fill_value=9.0)[0, 1, 1] == 0.5


def test_holes_and_specks_are_both_found_in_the_mask_as_it_came_in():
    # A ring of 8 pixels is a speck, and its middle a hole: filling the hole must not save the ring.
    logits = torch.full((1, 7, 7), -3.0)
    logits[0, 2:5, 2:5] = 3.0
    logits[0, 3, 3] = -3.0
    clean = clean_up_logits(logits, max_hole_area=1, max_speck_area=8, threshold=0.0)
    assert clean[0, 3, 3] == 10.0
    ring = clean[0, 2:5, 2:5].flatten()[[0, 1, 2, 3, 5, 6, 7, 8]]
    assert ring.eq(-10.0).all()
    assert clean[0, 0].eq(-3.0).all()


@pytest.mark.parametrize(("hole", "speck"), [(0, 0), (0, 5), (5, 0), (5, 5)])
def test_cleaning_up_shifts_by_10_from_the_threshold_and_an_area_of_0_leaves_a_half_out(
    hole, speck
):
    logits = logits_with_holes() - 1
    holes, specks = scipy_areas(logits <= 0.5), scipy_areas(logits > 0.5)
    expected = torch.where((holes > 0) & (holes <= hole), 10.5, logits)
    expected = torch.where((specks > 0) & (specks <= speck), -9.5, expected)
    assert torch.equal(clean_up_logits(logits, hole, speck, threshold=0.5), expected)


@pytest.mark.parametrize("clean_up", [fill_small_holes, drop_small_specks])
def test_the_logits_handed_in_are_left_alone_even_as_a_strided_view(clean_up):
    logits = logits_with_holes().transpose(1, 2)
    before = logits.clone()
    changed = clean_up(logits, 8)
    assert torch.equal(logits, before)
    assert torch.equal(changed, clean_up(logits.contiguous(), 8))
    assert not torch.equal(changed, before)


def test_no_masks_have_no_components():
    assert component_areas(torch.zeros(0, 4, 5, dtype=torch.bool)).shape == (0, 4, 5)
    assert clean_up_logits(torch.zeros(0, 4, 5), 8, 8, 0.0).shape == (0, 4, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_areas_of_the_cpu():
    masks_NHW = torch.rand(20, 90, 77, generator=torch.Generator().manual_seed(0)) < 0.4
    assert torch.equal(component_areas(masks_NHW.cuda()).cpu(), component_areas(masks_NHW))
    logits = logits_with_holes()
    assert torch.equal(fill_small_holes(logits.cuda(), 8).cpu(), fill_small_holes(logits, 8))


@pytest.mark.reference
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # the reference uses it
def test_cleaning_up_is_what_the_reference_does_with_a_component_finder(monkeypatch):
    misc = import_module("sam2.utils.misc")
    transforms = import_module("sam2.utils.transforms")

    # The reference's finder is a CUDA extension; scipy stands in for it.
    def find(masks_N1HW):
        areas = scipy_areas(masks_N1HW[:, 0])[:, None]
        return areas, areas

    monkeypatch.setattr(misc, "get_connected_components", find)
    logits = logits_with_holes()
    processing = transforms.SAM2Transforms(
        resolution=64, mask_threshold=0.5, max_hole_area=8, max_sprinkle_area=6
    )
    expected = processing.postprocess_masks(logits[:, None], logits.shape[1:])[:, 0]
    assert torch.equal(clean_up_logits(logits, 8, 6, threshold=0.5), expected)
    expected = misc.fill_holes_in_mask_scores(logits[:, None], 8)[:, 0]
    assert torch.equal(fill_small_holes(logits, 8), expected)
