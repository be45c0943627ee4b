"""Which frames of a clip are shown, and what is counted of its masks."""

from __future__ import annotations

from collections import Counter

import pytest
from made_outputs import Ended, Output, clip

import sam2ray
from sam2ray.pages.unit_masks import FRAMES, MaskTally, frames_to_show, masks_to_draw, tally_masks
from sam2ray.storage import LocalStore


def _tally(*frames: int) -> MaskTally:
    return MaskTally(frames=Counter(frames))


@pytest.mark.parametrize(
    ("masks_on", "looked_at", "shown"),
    [
        ([], None, []),
        ([4, 9], None, [4, 9]),
        (range(100), None, [0, 20, 40, 59, 79, 99]),
        ([], range(3), [0, 1, 2]),
        (range(0, 90, 10), range(0, 90, 10), [0, 20, 30, 50, 60, 80]),
        ([3], range(100), [3, 20, 40, 59, 79, 99]),  # lost behind its fourth frame
        ([200], range(100), [0, 40, 80, 120, 160, 200]),  # frames are not always known
    ],
)
def test_frames_go_from_the_first_to_the_last_and_prefer_masks(masks_on, looked_at, shown):
    found = frames_to_show(_tally(*masks_on), looked_at)
    assert found == shown
    assert len(found) <= FRAMES


def test_a_clip_of_a_million_frames_is_quickly_chosen_from():
    shown = frames_to_show(_tally(500_001), range(0, 2_000_000, 2))
    assert len(shown) == FRAMES
    assert shown[0] == 0
    assert all(number % 2 == 0 or number == 500_001 for number in shown)


def test_masks_are_counted_by_frame_label_and_object(tmp_path):
    output, unit = Output(LocalStore(tmp_path / "out")), clip("street")
    output.list([unit], "1")
    output.commit([Ended(unit, label="cat", objects=(5, 7))])
    data = sam2ray.open(str(tmp_path / "out"))
    tally = tally_masks(data, unit.unit_id)
    assert (tally.masks, tally.score, tally.score_range) == (6, 0.5, (0.5, 0.5))
    assert (tally.labels, tally.objects) == ({"cat": 6}, {5, 7})
    assert tally.frames == {0: 2, 1: 2, 2: 2}
    drawn = masks_to_draw(data, unit.unit_id, [0, 2])
    assert list(drawn) == [0, 2]
    for masks in drawn.values():
        areas = [mask["area"] for mask in masks]
        assert areas == sorted(areas, reverse=True)
