"""Our session beside the reference's interactive state, in fp32 with the same lively weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from agreement import assert_close
from make_clip import moving_shapes
from oracle import small, twins
from prompt_factories import LARGER
from reference_video import prompt, propagate, start, write_frames

from sam2_core import FramePrompt, TrackingConfig, TrackingSession, VideoTracker

pytestmark = pytest.mark.reference

HEIGHT, WIDTH, LENGTH = LARGER.height, LARGER.width, 9
_click, _box, _mask = LARGER.point, LARGER.box, LARGER.mask


@cache
def _models(keeps_corrections: bool) -> tuple[Any, Any]:
    switch = f"++model.add_all_frames_to_correct_as_cond={str(keeps_corrections).lower()}"
    ours, reference = twins(small("sam2.1_hiera_tiny", 128), video=True, extra=[switch])
    reference.fill_hole_area = 0
    return ours, reference


@pytest.fixture(
    params=[True, pytest.param(False, marks=[pytest.mark.slow, pytest.mark.long])],
    ids=["corrections hold", "corrections are lost"],
)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    ours, reference = _models(request.param)
    config = TrackingConfig(fill_hole_area=0, add_all_frames_to_correct_as_cond=request.param)
    clip = moving_shapes(LENGTH, HEIGHT, WIDTH, seed=3)
    state = start(reference, write_frames(clip, tmp_path / "clip"))
    return Pair(VideoTracker(ours, config).session(clip), reference, state)


class Pair:
    """One session on each side, told the same things."""

    def __init__(self, ours: TrackingSession, reference: Any, state: dict[str, Any]) -> None:
        self.ours, self.reference, self.state = ours, reference, state

    def prompt(self, item: FramePrompt) -> None:
        theirs = prompt(self.reference, self.state, item)
        assert_close(self.ours.prompt(item).logits, theirs, f"prompt on {item.frame}")

    def correct(self, item: FramePrompt) -> None:
        theirs = prompt(self.reference, self.state, item, clear_old_points=False)
        assert_close(self.ours.correct(item).logits, theirs, f"correction on {item.frame}")

    def propagate(self, *, backward: bool = False, first: int | None = None) -> None:
        theirs = propagate(self.reference, self.state, reverse=backward, start_frame_idx=first)
        direction = "backward" if backward else "forward"
        found = {f.frame: f.logits for f in self.ours.propagate(direction, start=first)}
        assert sorted(found) == sorted(theirs)
        for frame, logits in found.items():
            assert_close(logits, theirs[frame], f"frame {frame}")


def test_clicks_before_propagation_equal_the_reference(pair: Pair) -> None:
    pair.prompt(_click(0, 1, 60, 40))
    pair.correct(_click(0, 1, 20, 20, on=0))
    pair.correct(_click(0, 1, 70, 50))
    pair.propagate()


def test_rounds_of_corrections_equal_the_reference(pair: Pair) -> None:
    pair.prompt(_click(0, 1, 60, 40))
    pair.propagate()
    pair.prompt(_click(4, 1, 30, 60, on=0))
    pair.correct(_click(4, 1, 80, 30))
    pair.propagate()
    pair.prompt(_mask(6, 1))
    pair.propagate()
    pair.propagate(backward=True, first=6)


def test_objects_added_after_propagation_equal_the_reference(pair: Pair) -> None:
    pair.prompt(_click(0, 1, 60, 40))
    pair.propagate()
    pair.prompt(_box(5, 2))
    pair.propagate()
    pair.prompt(_click(2, 2, 40, 40))
    pair.propagate(backward=True, first=7)


def test_a_cleared_prompt_equals_the_reference(pair: Pair) -> None:
    pair.prompt(_click(0, 1, 60, 40))
    pair.prompt(_click(3, 1, 70, 50))
    pair.propagate()
    _, _, theirs = pair.reference.clear_all_prompts_in_frame(pair.state, 3, 1)
    assert_close(pair.ours.clear(3, 1).logits, theirs[:, 0], "after clearing")
    pair.propagate()


def test_a_removed_object_leaves_the_others_as_the_reference_does(pair: Pair) -> None:
    pair.prompt(_click(0, 1, 60, 40))
    pair.prompt(_mask(2, 2))
    pair.prompt(_box(0, 3))
    pair.propagate()
    pair.reference.remove_object(pair.state, 2, need_output=False)
    pair.ours.remove(2)
    assert pair.ours.object_ids == (1, 3)
    pair.propagate()


def test_a_reset_session_starts_over_as_the_reference_does(pair: Pair) -> None:
    pair.prompt(_click(0, 1, 60, 40))
    pair.propagate()
    pair.reference.reset_state(pair.state)
    pair.ours.reset()
    pair.prompt(_mask(1, 7))
    pair.propagate()
    assert torch.isfinite(next(pair.ours.propagate()).logits).all()
