"""What a clip hands out when many frames are asked for at once, as accelerators ask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from make_clip import moving_shapes
from prompt_factories import SMALL
from small_models import lively_model

from sam2_core import FramePrompt, TrackingConfig
from sam2_core.inference.clip_track import ClipTrack
from sam2_core.inference.frame_prompts import check_frame_prompts
from sam2_core.inference.frame_sources import Frames, open_frames

BROKEN = np.zeros((3, 3, 3), dtype=np.uint8)


def _pictures(length: int) -> list[np.ndarray]:
    return moving_shapes(length, SMALL.height, SMALL.width)


def _track(frames: Frames, prompts: list[FramePrompt], direction: str = "forward") -> ClipTrack:
    model = lively_model(64).config
    source = open_frames(frames)
    checked = check_frame_prompts(prompts, source, model)
    return ClipTrack(source, checked, direction, TrackingConfig(), model)


def _all_batches(track: ClipTrack, count: int) -> Iterator[int]:
    while fetched := track.fetch(count):
        yield from (visit.frame for visit, _ in fetched)


@pytest.mark.parametrize("count", [1, 3, 8, 99])
def test_frames_before_a_broken_one_come_before_its_error(count: int) -> None:
    track = _track([*_pictures(11), BROKEN], [SMALL.point(2)])
    found = list(_all_batches(track, count))
    assert found == list(range(2, 11))
    assert "frame 11 is 3 x 3" in str(track.error)


@pytest.mark.parametrize("count", [1, 8])
def test_frames_before_the_end_come_before_the_error_about_a_prompt_behind_it(count: int) -> None:
    track = _track(iter(_pictures(20)), [SMALL.point(0), SMALL.box(30)])
    found = list(_all_batches(track, count))
    assert found == list(range(20))
    assert "the prompt on frame 30 was never reached" in str(track.error)


@pytest.mark.parametrize("count", [1, 4, 99])
def test_a_pass_that_breaks_off_is_followed_by_the_next(count: int) -> None:
    track = _track([*_pictures(7), BROKEN, *_pictures(2)], [SMALL.point(3)], "both")
    found = list(_all_batches(track, count))
    assert found == [3, 4, 5, 6, 3, 2, 1, 0]  # the first once more, to turn round
    assert "frame 7 is 3 x 3" in str(track.error)
