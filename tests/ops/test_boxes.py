"""Judges boxes by torchvision and by plain numpy."""

from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import box_convert, masks_to_boxes

from ops import mask_boxes_xyxy, touches_crop_edge, xywh_to_xyxy, xyxy_to_xywh

SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)))


@settings(deadline=None, max_examples=100)
@given(masks=SMALL_MASKS)
def test_boxes_are_those_of_torchvision_and_zeros_for_empty_masks(masks):
    masks_NHW = torch.from_numpy(masks)
    boxes = mask_boxes_xyxy(masks_NHW)
    filled = masks_NHW.flatten(1).any(1)
    assert boxes.shape == (len(masks), 4)
    assert boxes.dtype == torch.int64
    assert torch.equal(boxes[filled], masks_to_boxes(masks_NHW[filled]).long())
    assert not boxes[~filled].any()


def test_the_box_of_one_pixel_starts_and_ends_there():
    mask = torch.zeros(2, 5, 7, dtype=torch.bool)
    mask[0, 0, 0] = mask[1, 4, 6] = True
    assert mask_boxes_xyxy(mask).tolist() == [[0, 0, 0, 0], [6, 4, 6, 4]]


def test_strided_and_huge_masks_are_measured_as_they_look():
    mask_1HW = torch.zeros(1, 8192, 8192, dtype=torch.bool)
    mask_1HW[0, 5000:6000, 17:8190] = True
    assert mask_boxes_xyxy(mask_1HW).tolist() == [[17, 5000, 8189, 5999]]
    assert mask_boxes_xyxy(mask_1HW.transpose(1, 2)).tolist() == [[5000, 17, 5999, 8189]]


def test_three_thousand_masks_are_measured_at_once():
    masks_NHW = torch.rand(3000, 14, 19, generator=torch.Generator().manual_seed(0)) < 0.05
    assert torch.equal(mask_boxes_xyxy(masks_NHW), masks_to_boxes(masks_NHW).long())


@pytest.mark.parametrize(
    "masks", [torch.ones(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.uint8), torch.ones(3, 4).bool()]
)
def test_what_is_not_a_batch_of_bool_masks_is_refused_with_its_shape(masks):
    with pytest.raises(ValueError, match=r"mask_boxes_xyxy got torch\.\w+ \[.*3, 4\]; pass bool"):
        mask_boxes_xyxy(masks)


@settings(deadline=None, max_examples=50)
@given(
    boxes=arrays(np.int64, st.tuples(st.integers(0, 3), st.just(4)), elements=st.integers(0, 99))
)
def test_box_conversions_agree_with_torchvision_and_undo_each_other(boxes):
    boxes_xywh = torch.from_numpy(boxes)
    boxes_xyxy = box_convert(boxes_xywh, "xywh", "xyxy")
    assert torch.equal(xywh_to_xyxy(boxes_xywh), boxes_xyxy)
    assert torch.equal(xyxy_to_xywh(boxes_xyxy), boxes_xywh)


def test_a_single_box_is_converted_without_a_batch_axis():
    assert xyxy_to_xywh(torch.tensor([2, 3, 2, 9])).tolist() == [2, 3, 0, 6]


# A crop from (100, 0) to (300, 200) of an image of 200 x 400: its left and right edges cut masks.
@pytest.mark.parametrize(
    ("box_in_crop", "touches"),
    [
        ((50, 50, 150, 150), False),
        ((20, 50, 150, 150), True),  # 20 px from the left edge: still within the tolerance
        ((21, 50, 150, 150), False),
        ((50, 50, 180, 150), True),
        ((50, 50, 179, 150), False),
        ((50, 0, 150, 199), False),  # at the top and bottom, which are the image's own
    ],
)
def test_only_edges_inside_the_image_count_as_crop_edges(box_in_crop, touches):
    boxes = torch.tensor([box_in_crop])
    assert touches_crop_edge(boxes, (100, 0, 300, 200), (200, 400)).tolist() == [touches]


def test_a_crop_edge_close_to_the_image_edge_cuts_nothing():
    boxes = torch.tensor([[0.0, 80.0, 90.0, 90.0]])
    near, far = (15, 50, 200, 200), (45, 50, 200, 200)
    assert touches_crop_edge(boxes, near, (200, 200)).tolist() == [False]
    assert touches_crop_edge(boxes, far, (200, 200)).tolist() == [True]


def test_the_whole_image_as_a_crop_touches_nothing():
    boxes = torch.tensor([[0, 0, 639, 479], [0, 0, 0, 0]])
    assert touches_crop_edge(boxes, (0, 0, 640, 480), (480, 640)).tolist() == [False, False]


def test_no_boxes_touch_nothing():
    boxes = torch.zeros(0, 4, dtype=torch.int64)
    assert touches_crop_edge(boxes, (0, 0, 9, 9), (9, 9)).tolist() == []


@pytest.mark.reference
def test_edges_and_boxes_are_judged_as_by_the_reference():
    amg = import_module("sam2.utils.amg")
    random = torch.Generator().manual_seed(0)
    masks_NHW = torch.rand(50, 40, 30, generator=random) < 0.002
    assert torch.equal(mask_boxes_xyxy(masks_NHW), amg.batched_mask_to_box(masks_NHW))
    boxes = torch.randint(0, 200, (4000, 4), generator=random)
    for crop in [(0, 0, 200, 150), (90, 0, 300, 200), (15, 25, 290, 260)]:
        expected = amg.is_box_near_crop_edge(boxes, list(crop), [0, 0, 320, 280])
        assert torch.equal(touches_crop_edge(boxes, crop, (280, 320)), expected)
        assert expected.any()
        assert not expected.all()
