"""Simulated users: where they click, what they box, and that the reference's would do the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ops import mask_boxes_xyxy
from sam2_core.learning.interaction import (
    careless_boxes,
    depth_inside,
    next_clicks,
)
from sam2_core.learning.world import World


def _masks(count: int = 6, size: int = 64) -> Tensor:
    world, found = World(5, size=size), []
    for number in range(count):
        picture = world.picture(number)
        found.append(torch.from_numpy(picture.masks(picture.object_ids(20)[:2])))
    return torch.cat(found)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_depth_is_the_distance_to_the_nearest_pixel_outside():
    masks = torch.cat([_masks(), torch.ones(1, 64, 64, dtype=torch.bool)])
    expected = [distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for mask in masks.numpy()]
    torch.testing.assert_close(depth_inside(masks), torch.from_numpy(np.stack(expected)).float())
    assert depth_inside(masks[:0]).shape == (0, 64, 64)
    assert not depth_inside(torch.zeros(2, 5, 7, dtype=torch.bool)).any()


@pytest.mark.parametrize("where", ["anywhere", "middle"])
def test_a_first_click_is_on_its_object(where):
    masks = _masks()
    points, labels = next_clicks(masks, None, _generator(), where)
    x, y = points.long().unbind(1)
    assert masks[torch.arange(len(masks)), y, x].all()
    assert labels.eq(1).all()


def test_a_further_click_is_where_the_answer_is_wrong_and_says_what_is_right():
    masks = _masks()
    answers = masks.roll((3, 5), (1, 2))
    for seed in range(5):
        points, labels = next_clicks(masks, answers, _generator(seed))
        x, y = points.long().unbind(1)
        rows = torch.arange(len(masks))
        wrong = masks != answers
        assert wrong[rows, y, x].all()
        assert labels.bool().equal(masks[rows, y, x])


def test_all_wrong_pixels_are_as_likely():
    target, answer = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    target[0, :2, :2] = True  # four missed
    answer[0, 4:, 4:6] = True  # eight invented
    clicks = [next_clicks(target, answer, _generator(seed))[1].item() for seed in range(600)]
    assert np.mean(clicks) == pytest.approx(4 / 12, abs=0.07)


@pytest.mark.parametrize("where", ["anywhere", "middle"])
def test_where_all_is_right_a_click_beside_the_object_changes_nothing(where):
    corner = torch.zeros(1, 64, 64, dtype=torch.bool)
    corner[:, :9, :9] = True
    masks = torch.cat([_masks(), corner])
    points, labels = next_clicks(masks, masks, _generator(), where)
    x, y = points.long().unbind(1)
    rows = torch.arange(len(masks))
    assert not masks[rows, y, x].any()
    assert labels.eq(0).all()
    if where == "middle":
        depth = depth_inside(~masks)
        assert depth[rows, y, x].equal(depth.flatten(1).amax(1))


@pytest.mark.parametrize("where", ["anywhere", "middle"])
def test_beside_what_covers_all_there_is_no_place_so_the_click_is_on_it(where):
    masks = torch.ones(2, 9, 15, dtype=torch.bool)
    points, labels = next_clicks(masks, masks, _generator(), where)
    assert labels.eq(1).all()
    if where == "middle":
        assert points[:, 1].eq(4).all()


@pytest.mark.reference
def test_clicks_in_the_middle_are_those_of_the_reference():
    utils = pytest.importorskip("sam2.modeling.sam2_utils")
    pytest.importorskip("cv2")
    masks = _masks()
    for answers in (None, masks.roll((2, 3), (1, 2)), masks & False):
        given = None if answers is None else answers[:, None]
        theirs, their_labels = utils.get_next_point(masks[:, None], given, "center")
        points, labels = next_clicks(masks, answers, where="middle")
        assert labels.tolist() == their_labels[:, 0].tolist()
        # Two pixels may lie equally deep; and theirs are distances in single precision.
        wrong = masks if answers is None else masks ^ answers
        depth = depth_inside(wrong)
        rows = torch.arange(len(masks))
        ours_x, ours_y = points.long().unbind(1)
        theirs_x, theirs_y = theirs[:, 0].long().unbind(1)
        deep = depth[rows, ours_y, ours_x], depth[rows, theirs_y, theirs_x]
        torch.testing.assert_close(*deep, atol=1e-3, rtol=0)


def test_careless_boxes_miss_by_a_tenth_of_a_side_and_stay_in_the_picture():
    masks = _masks()
    exact = mask_boxes_xyxy(masks).float()
    sides = (exact[:, 2:] - exact[:, :2]).repeat(1, 2)
    missed = torch.stack([careless_boxes(masks, 0.1, _generator(seed)) for seed in range(50)])
    assert ((missed - exact).abs() <= 0.1 * sides + 1e-4).all()
    assert ((missed - exact).abs() > 0.05 * sides).any()
    assert missed.min() >= 0
    assert missed.max() <= 63


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_careless_boxes_miss_by_few_pixels_of_the_picture_whatever_the_size_of_masks(stride: int):
    side = 512 // stride
    masks = torch.zeros(1, side, side, dtype=torch.bool)
    masks[:, side // 8 : -side // 8, side // 8 : -side // 8] = True
    exact = mask_boxes_xyxy(masks).float()
    missed = torch.stack([careless_boxes(masks, 0.5, _generator(n), 512) for n in range(50)])
    most = (missed - exact).abs().max() * stride
    assert 19 < most <= 20 + 1e-3


def test_boxes_without_slack_are_exact():
    exact = mask_boxes_xyxy(_masks()).float()
    assert torch.equal(careless_boxes(_masks(), 0.0, _generator(0)), exact)
