"""Who is new, and who is gone; on masks that are drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from make_archive import box_mask

from ops import RunLengths, encode_run_lengths, run_iou
from sam2ray.modes.discovery import DiscoveryRules, choose_new

HEIGHT, WIDTH = 12, 20


def runs(*boxes: tuple[int, int, int, int]) -> RunLengths:
    """Masks of boxes (x0, y0, x1, y1)."""
    masks = [box_mask(HEIGHT, WIDTH, box) for box in boxes]
    array = np.array(masks, bool).reshape(len(boxes), HEIGHT, WIDTH)
    return encode_run_lengths(torch.from_numpy(array))


def chosen(found, tracked=(), scores=None, below_iou=0.5, room=99) -> list[int]:
    scores = [1.0] * len(found) if scores is None else scores
    return choose_new(runs(*found), scores, runs(*tracked), below_iou=below_iou, room=room)


LEFT, RIGHT, TOP = (0, 0, 8, 12), (12, 0, 20, 12), (0, 0, 20, 3)


def test_at_first_everything_is_new_best_first():
    assert chosen([LEFT, RIGHT, TOP], scores=[0.5, 0.9, 0.7]) == [1, 2, 0]


def test_what_is_tracked_is_not_new():
    assert chosen([LEFT, RIGHT], tracked=[LEFT]) == [1]
    assert chosen([LEFT, RIGHT], tracked=[RIGHT, LEFT]) == []


def test_the_limit_itself_is_no_longer_new():
    half = (0, 0, 8, 6)  # IoU 0.5 with LEFT
    assert chosen([half], tracked=[LEFT], below_iou=0.5) == []
    assert chosen([half], tracked=[LEFT], below_iou=0.51) == [0]
    assert chosen([RIGHT], tracked=[LEFT], below_iou=0.0) == []


def test_overlaps_with_several_tracked_objects_do_not_add_up():
    assert chosen([(0, 0, 16, 12)], tracked=[(0, 0, 7, 12), (9, 0, 16, 12)]) == [0]


def test_of_two_that_are_alike_the_better_one_is_new():
    almost = (0, 0, 8, 11)
    assert chosen([almost, LEFT, RIGHT], scores=[0.6, 0.8, 0.7]) == [1, 2]


def test_there_is_no_more_than_there_is_room_for():
    assert chosen([LEFT, RIGHT, TOP], scores=[0.5, 0.9, 0.7], room=2) == [1, 2]
    assert chosen([LEFT], room=0) == []
    assert chosen([LEFT], room=-3) == []


def test_nothing_found_is_nothing_new():
    assert chosen([], tracked=[LEFT]) == []


def test_an_empty_tracked_mask_hides_nothing():
    assert chosen([LEFT], tracked=[(5, 5, 5, 5)]) == [0]


boxes = st.tuples(
    st.integers(0, 9), st.integers(0, 5), st.integers(10, WIDTH), st.integers(6, HEIGHT)
)


@given(
    found=st.lists(boxes, max_size=8),
    tracked=st.lists(boxes, max_size=4),
    below=st.floats(0, 1),
    room=st.integers(0, 6),
    data=st.data(),
)
def test_new_ones_are_new_to_all_and_to_each_other(found, tracked, below, room, data):
    size = len(found)
    scores = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    new = chosen(found, tracked, scores, below, room)
    assert len(new) <= room
    assert [scores[n] for n in new] == sorted((scores[n] for n in new), reverse=True)
    if new and tracked:
        assert run_iou(runs(*[found[n] for n in new]), runs(*tracked)).max() < below
    for n, one in enumerate(new):
        for other in new[:n]:
            assert run_iou(runs(found[one]), runs(found[other])).item() < below
    if len(new) < room:  # whoever was left out is like somebody
        known = runs(*tracked, *[found[n] for n in new])
        for n in set(range(size)) - set(new):
            assert len(known) == 0 or run_iou(runs(found[n]), known).max() >= below


@pytest.mark.parametrize(("every", "keys"), [(1, [0, 1, 2, 3, 4, 5]), (3, [0, 3]), (9, [0])])
def test_key_frames_begin_with_the_first(every, keys):
    rules = DiscoveryRules(
        key_every_frames=every, new_below_iou=0.5, retire_after_absent_frames=3, max_objects=2
    )
    assert [position for position in range(6) if rules.is_key(position)] == keys
    assert [rules.is_gone(absent) for absent in (0, 2, 3, 4)] == [False, False, True, True]
