"""Judges what is computed on runs by computing it on pixels, and by pycocotools."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as pycoco
from torchvision.ops import masks_to_boxes

from ops import (
    RunLengths,
    decode_run_lengths,
    encode_run_lengths,
    run_algebra,
    run_areas,
    run_boxes_xyxy,
    run_iou,
    run_union,
)

SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9)))


def pixel_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a.flatten(1).double(), b.flatten(1).double()
    common = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - common
    return torch.where(union > 0, common / union, 0.0)


@settings(deadline=None, max_examples=100)
@given(masks=SMALL_MASKS)
def test_areas_count_the_pixels(masks):
    areas = run_areas(encode_run_lengths(torch.from_numpy(masks)))
    assert areas.dtype == torch.int64
    assert areas.tolist() == masks.sum((1, 2)).tolist()


@settings(deadline=None, max_examples=100)
@given(masks=SMALL_MASKS)
def test_boxes_are_those_of_torchvision_and_zeros_for_empty_masks(masks):
    masks_NHW = torch.from_numpy(masks)
    boxes = run_boxes_xyxy(encode_run_lengths(masks_NHW))
    filled = masks_NHW.flatten(1).any(1)
    assert boxes.shape == (len(masks), 4)
    assert boxes.dtype == torch.int64
    assert torch.equal(boxes[filled], masks_to_boxes(masks_NHW[filled]).long())
    assert not boxes[~filled].any()


def test_an_interval_that_enters_the_next_column_spans_the_full_height():
    mask = torch.zeros(1, 5, 4, dtype=torch.bool)
    mask[0, 4, 1] = mask[0, 0, 2] = True
    assert run_boxes_xyxy(encode_run_lengths(mask)).tolist() == [[1, 0, 2, 4]]


def test_runs_of_no_pixels_stretch_no_box():
    runs = RunLengths(2, 2, torch.tensor([0, 0, 3, 1]), torch.tensor([0, 4]))
    assert run_boxes_xyxy(runs).tolist() == [[1, 1, 1, 1]]
    assert run_areas(runs).tolist() == [1]


@settings(deadline=None, max_examples=100)
@given(masks=SMALL_MASKS)
def test_the_union_of_all_masks_is_any_of_them(masks):
    masks_NHW = torch.from_numpy(masks)
    union = run_union(encode_run_lengths(masks_NHW))
    assert torch.equal(decode_run_lengths(union)[0], masks_NHW.any(0))
    assert torch.equal(union.counts, encode_run_lengths(masks_NHW.any(0)[None]).counts)


@settings(deadline=None, max_examples=100)
@given(masks=SMALL_MASKS.filter(len), data=st.data())
def test_the_union_of_groups_is_any_within_each_group(masks, data):
    masks_NHW = torch.from_numpy(masks)
    ids = st.lists(st.integers(0, 3), min_size=len(masks), max_size=len(masks))
    groups = torch.tensor(data.draw(ids))
    unions = run_union(encode_run_lengths(masks_NHW), groups)
    expected = torch.stack([masks_NHW[groups == g].any(0) for g in range(int(groups.max()) + 1)])
    assert torch.equal(decode_run_lengths(unions), expected)
    assert torch.equal(unions.counts, encode_run_lengths(expected).counts)


def test_the_union_of_no_masks_is_one_empty_mask_or_no_group():
    runs = encode_run_lengths(torch.zeros(0, 2, 3, dtype=torch.bool))
    assert run_union(runs).counts.tolist() == [6]
    assert len(run_union(runs, torch.zeros(0, dtype=torch.int64))) == 0


@pytest.mark.parametrize(
    ("groups", "words"),
    [([0], "1.* for 2 masks"), ([0, -1], "group id -1"), ([0.0, 1.0], "float32")],
)
def test_groups_that_do_not_name_every_mask_are_refused(groups, words):
    runs = encode_run_lengths(torch.ones(2, 2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=words):
        run_union(runs, torch.tensor(groups))


@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    counts=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    data=st.data(),
)
def test_iou_is_that_of_the_pixels_whatever_the_chunk(size, counts, data):
    a, b = (torch.from_numpy(data.draw(arrays(np.bool_, (n, *size)))) for n in counts)
    expected = pixel_iou(a, b)
    a, b = encode_run_lengths(a), encode_run_lengths(b)
    assert torch.equal(run_iou(a, b), expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_algebra, "PAIRS_PER_CHUNK", 2)
        assert torch.equal(run_iou(a, b), expected)


def test_iou_of_many_masks_is_that_of_pycocotools():
    random = torch.Generator().manual_seed(3)
    centres = torch.rand(150, 1, 1, 2, generator=random) * torch.tensor([60.0, 90.0])
    pixels = torch.stack(torch.meshgrid(torch.arange(60), torch.arange(90), indexing="ij"), -1)
    masks_NHW = (pixels - centres).norm(dim=-1) < 4 + 20 * torch.rand(150, 1, 1, generator=random)
    a, b = masks_NHW[:100], masks_NHW[70:]
    encoded = [[pycoco.encode(np.asfortranarray(mask.byte())) for mask in side] for side in (a, b)]
    expected = pycoco.iou(*encoded, [0] * len(b))
    found = run_iou(encode_run_lengths(a), encode_run_lengths(b))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_two_empty_masks_have_iou_0():
    empty = encode_run_lengths(torch.zeros(1, 3, 3, dtype=torch.bool))
    assert run_iou(empty, empty).tolist() == [[0.0]]


def test_iou_of_masks_of_different_sizes_is_refused():
    a, b = (encode_run_lengths(torch.ones(1, *s, dtype=torch.bool)) for s in [(2, 3), (3, 2)])
    with pytest.raises(ValueError, match="2 x 3 and of 3 x 2"):
        run_iou(a, b)


def test_three_thousand_masks_are_measured_at_once():
    masks_NHW = torch.rand(3000, 16, 12, generator=torch.Generator().manual_seed(1)) < 0.3
    runs = encode_run_lengths(masks_NHW)
    assert torch.equal(run_areas(runs), masks_NHW.sum((1, 2)))
    assert torch.equal(run_boxes_xyxy(runs), masks_to_boxes(masks_NHW).long())
    some = encode_run_lengths(masks_NHW[:50])
    assert torch.equal(run_iou(runs, some), pixel_iou(masks_NHW, masks_NHW[:50]))
    groups = torch.arange(3000) % 9
    expected = torch.stack([masks_NHW[groups == group].any(0) for group in range(9)])
    assert torch.equal(decode_run_lengths(run_union(runs, groups)), expected)


def test_masks_of_8192_by_8192_are_measured():
    masks_NHW = torch.zeros(2, 8192, 8192, dtype=torch.bool)
    masks_NHW[0, 100:8000, 3000:3100] = masks_NHW[0, -1, -1] = True
    masks_NHW[1, 7900:, 3050:3300] = masks_NHW[1, 0, 0] = True
    runs = encode_run_lengths(masks_NHW)
    assert run_areas(runs).tolist() == [790_001, 73_001]
    assert run_boxes_xyxy(runs).tolist() == [[3000, 100, 8191, 8191], [0, 0, 3299, 8191]]
    common = 100 * 50
    assert run_iou(runs, runs)[0, 1].item() == common / (790_001 + 73_001 - common)
    assert torch.equal(decode_run_lengths(run_union(runs))[0], masks_NHW.any(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_figures_of_the_cpu():
    masks_NHW = torch.rand(40, 33, 27, generator=torch.Generator().manual_seed(1)) < 0.3
    cpu, gpu = encode_run_lengths(masks_NHW), encode_run_lengths(masks_NHW.cuda())
    groups = torch.arange(40) % 7
    assert torch.equal(run_boxes_xyxy(gpu).cpu(), run_boxes_xyxy(cpu))
    assert torch.equal(run_iou(gpu, gpu).cpu(), run_iou(cpu, cpu))
    assert torch.equal(run_union(gpu, groups.cuda()).counts.cpu(), run_union(cpu, groups).counts)
