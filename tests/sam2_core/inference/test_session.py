"""A clip prompted and corrected step by step: what is kept, what is lost, what is refused."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from agreement import assert_close
from make_clip import moving_shapes
from prompt_factories import SMALL
from small_models import lively_model

from sam2_core import (
    FramePrompt,
    FrameSourceError,
    Prompt,
    PromptError,
    TrackedFrame,
    TrackingConfig,
    TrackingSession,
    VideoTracker,
)

HEIGHT, WIDTH = SMALL.height, SMALL.width
SIZE = 64
LENGTH = 9
_point, _box, _mask = SMALL.point, SMALL.box, SMALL.mask


@cache
def _clip(length: int = LENGTH) -> tuple[np.ndarray, ...]:
    return tuple(moving_shapes(length, HEIGHT, WIDTH, seed=3))


def _tracker(**settings: object) -> VideoTracker:
    return VideoTracker(lively_model(SIZE, object_lift=1.0), TrackingConfig(**settings))


@pytest.fixture
def session() -> TrackingSession:
    return _tracker().session(_clip())


def _same(found: Sequence[TrackedFrame], expected: Sequence[TrackedFrame]) -> None:
    assert [f.frame for f in found] == [f.frame for f in expected]
    for ours, theirs in zip(found, expected, strict=True):
        _same_frame(ours, theirs)


def _same_frame(ours: TrackedFrame, theirs: TrackedFrame) -> None:
    assert ours.frame == theirs.frame
    assert ours.object_ids == theirs.object_ids
    assert_close(ours.low_res_logits, theirs.low_res_logits, f"logits of {ours.frame}")
    assert_close(ours.object_score, theirs.object_score, f"scores of {ours.frame}")
    assert_close(ours.predicted_iou, theirs.predicted_iou, f"IoUs of {ours.frame}")


def _differ(one: TrackedFrame, other: TrackedFrame) -> bool:
    return not torch.allclose(one.low_res_logits, other.low_res_logits, atol=1e-3)


def _numbers(frames: Sequence[TrackedFrame]) -> list[int]:
    return [frame.frame for frame in frames]


# ---------------------------------------------------------------- prompting


@pytest.mark.parametrize("item", [_point(4), _box(4), _mask(4)], ids=["point", "box", "mask"])
def test_a_prompt_is_answered_at_once_as_tracking_would_show_it(
    session: TrackingSession, item: FramePrompt
) -> None:
    preview = session.prompt(item)
    tracked = next(_tracker().track(_clip(), [item]))
    _same_frame(preview, tracked)
    assert preview.masks.shape == (1, HEIGHT, WIDTH)


def test_a_session_whose_prompts_come_first_tracks_like_the_tracker(
    session: TrackingSession,
) -> None:
    prompts = [_point(2, 7), _box(4, 5), _mask(3, 5)]
    for item in prompts:
        session.prompt(item)
    for direction in ("forward", "backward"):
        fresh = _tracker().session(_clip())
        for item in prompts:
            fresh.prompt(item)
        expected = list(_tracker().track(_clip(), prompts, direction))
        _same(list(fresh.propagate(direction)), expected)


def test_both_ways_like_the_tracker(session: TrackingSession) -> None:
    prompts = [_point(4, 7), _box(5, 5)]
    for item in prompts:
        session.prompt(item)
    _same(list(session.propagate("both")), list(_tracker().track(_clip(), prompts, "both")))


def test_both_ways_over_a_long_clip_like_the_tracker_that_keeps_a_ring_only() -> None:
    """A session keeps everything: what the ring forgot on the way forward would be missed."""
    prompts = [_point(14, 7), _box(16, 5)]
    session = _tracker().session(_clip(34))
    for item in prompts:
        session.prompt(item)
    expected = list(_tracker().track(_clip(34), prompts, "both"))
    _same(list(session.propagate("both")), expected)


def test_a_prompt_replaces_the_one_before_on_its_frame(session: TrackingSession) -> None:
    session.prompt(_point(0, 1, 5, 5))
    session.prompt(_mask(0, 1))
    expected = list(_tracker().track(_clip(), [_mask(0, 1)]))
    _same(list(session.propagate()), expected)


def test_a_preview_shows_all_objects_and_those_not_seen_there_as_absent(
    session: TrackingSession,
) -> None:
    session.prompt(_mask(0, 8))
    preview = session.prompt(_mask(2, 3))
    assert preview.object_ids == session.object_ids == (8, 3)
    assert not preview.masks[0].any()
    assert preview.object_score[0] < 0
    assert preview.masks[1].any()


def test_the_clip_may_be_prompted_before_the_frame_that_was_prompted_first(
    session: TrackingSession,
) -> None:
    session.prompt(_mask(5, 1))
    session.prompt(_mask(2, 1))
    assert _numbers(list(session.propagate())) == list(range(2, LENGTH))


def test_what_a_session_shows_may_be_changed_and_learned_from(session: TrackingSession) -> None:
    shown = [session.prompt(_point(0, 1)), session.prompt(_mask(2, 2)), session.clear(2, 2)]
    session.remove(2)
    for frame in (*shown, *session.propagate(), session.correct(_point(3, 1, 50, 35, on=0))):
        for numbers in (frame.low_res_logits, frame.object_score, frame.predicted_iou):
            assert not numbers.is_inference()
            numbers += 1
    fresh = _tracker().session(_clip())
    fresh.prompt(_point(0, 1))
    fresh.correct(_point(3, 1, 50, 35, on=0))
    assert len(list(session.propagate())) == len(list(fresh.propagate()))


# ---------------------------------------------------------------- correcting


def test_a_correction_adds_its_points_to_those_that_are_there() -> None:
    step_by_step, at_once = (_tracker().session(_clip()) for _ in range(2))
    step_by_step.prompt(_point(0, 1, 26, 17))
    corrected = step_by_step.correct(_point(0, 1, 50, 35, on=0))
    at_once.prompt(_point(0, 1, 26, 17))  # its logits are fed back in both
    both = Prompt(points=[(26, 17), (50, 35)], labels=[1, 0])
    _same_frame(corrected, at_once.prompt(FramePrompt(0, 1, both)))


def test_a_correction_feeds_the_earlier_answer_back(session: TrackingSession) -> None:
    both = FramePrompt(0, 1, Prompt(points=[(26, 17), (50, 35)], labels=[1, 0]))
    without_history = _tracker().session(_clip()).prompt(both)
    session.prompt(_point(0, 1, 26, 17))
    assert _differ(session.correct(_point(0, 1, 50, 35, on=0)), without_history)


def test_a_correction_holds_after_the_next_propagation(session: TrackingSession) -> None:
    session.prompt(_point(0))
    before = list(session.propagate())
    corrected = session.correct(_point(5, x=50, y=35))
    assert _differ(corrected, before[5]), "the correction changed nothing"
    after = list(session.propagate())
    assert torch.equal(after[5].low_res_logits, corrected.low_res_logits)
    assert _differ(after[6], before[6])


def test_with_the_references_setting_a_correction_is_lost() -> None:
    session = _tracker(add_all_frames_to_correct_as_cond=False).session(_clip())
    session.prompt(_point(0))
    before = list(session.propagate())
    corrected = session.correct(_point(5, x=50, y=35))
    assert _differ(corrected, before[5])
    after = list(session.propagate())
    assert _differ(after[5], corrected)
    _same(after[:6], before[:6])


def test_a_correction_after_tracking_is_conditioned_on_memory(session: TrackingSession) -> None:
    session.prompt(_mask(0, 1))
    list(session.propagate())
    corrected = session.correct(_point(5, 1))
    fresh = _tracker().session(_clip()).prompt(_point(5, 1))
    assert _differ(corrected, fresh)


def test_a_correction_of_one_object_leaves_the_others_as_they_were(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    session.prompt(_box(0, 2))
    before = list(session.propagate())
    session.correct(_point(4, 1, 50, 35))
    after = list(session.propagate())
    assert _differ(after[6], before[6])
    for old, new in zip(before, after, strict=True):
        assert_close(new.low_res_logits[1], old.low_res_logits[1], f"object 2 on {new.frame}")


@pytest.mark.parametrize("item", [_box(0), _mask(0)], ids=["box", "mask"])
def test_a_correction_with_a_box_or_a_mask_is_refused(
    session: TrackingSession, item: FramePrompt
) -> None:
    session.prompt(_point(0, item.object_id))
    with pytest.raises(PromptError, match=r"a correction adds points.*use prompt\(\)"):
        session.correct(item)


def test_a_correction_of_an_object_that_nobody_prompted_is_refused_and_makes_none(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    with pytest.raises(PromptError, match="No object 9 in this session; objects: 1"):
        session.correct(_point(0, 9))
    assert session.object_ids == (1,)


def test_a_mask_on_a_frame_that_was_tracked_is_taken_as_it_is(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    list(session.propagate())
    preview = session.prompt(_mask(4, 1))
    assert preview.predicted_iou.tolist() == [1.0]
    assert list(session.propagate())[4].predicted_iou.tolist() == [1.0]


# ---------------------------------------------------------------- taking back


def test_removing_an_object_leaves_the_others_as_they_are(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    session.prompt(_box(0, 2))
    list(session.propagate())
    session.remove(1)
    assert session.object_ids == (2,)
    _same(list(session.propagate()), list(_tracker().track(_clip(), [_box(0, 2)])))


def test_a_removed_object_may_come_back_as_a_new_one(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    list(session.propagate())
    session.remove(1)
    session.prompt(_box(3, 1))
    _same(list(session.propagate()), list(_tracker().track(_clip(), [_box(3, 1)])))


def test_after_a_reset_a_session_is_like_new(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    list(session.propagate())
    session.reset()
    assert session.object_ids == ()
    session.prompt(_mask(2, 6))
    _same(list(session.propagate()), list(_tracker().track(_clip(), [_mask(2, 6)])))


def test_clearing_an_answer_that_was_not_tracked_yet_leaves_no_trace(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    session.prompt(_mask(4, 1))
    cleared = session.clear(4, 1)
    assert not cleared.masks.any()
    _same(list(session.propagate()), list(_tracker().track(_clip(), [_point(0, 1)])))


def test_clearing_a_tracked_correction_brings_the_old_course_back(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    before = list(session.propagate())
    session.correct(_point(4, 1, 50, 35))
    list(session.propagate())
    session.clear(4, 1)
    _same(list(session.propagate()), before)


def test_a_prompt_on_a_cleared_frame_is_a_first_one_again(session: TrackingSession) -> None:
    """It uses no memory; what was seen there is fed back, as the reference does."""
    session.prompt(_mask(0, 1))
    list(session.propagate())
    session.correct(_point(4, 1, 50, 35))
    list(session.propagate())
    seen = session.clear(4, 1)
    again = Prompt(
        points=[(26, 17)], labels=[1], low_res_logits=seen.low_res_logits[0].clamp(-32, 32)
    )
    expected = _tracker().session(_clip()).prompt(FramePrompt(4, 1, again))
    _same_frame(session.prompt(_point(4, 1)), expected)


def test_an_object_whose_last_prompt_is_cleared_stays_and_must_be_prompted_again(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    session.prompt(_box(0, 2))
    session.clear(0, 1)
    assert session.object_ids == (1, 2)
    with pytest.raises(PromptError, match="Object 1 has no prompt left: prompt it, or remove it"):
        session.propagate()
    session.prompt(_mask(0, 1))
    assert _numbers(list(session.propagate())) == list(range(LENGTH))


def test_clearing_everything_shows_an_empty_frame(session: TrackingSession) -> None:
    session.prompt(_mask(0, 1))
    cleared = session.clear(0, 1)
    assert cleared.masks.shape == (1, HEIGHT, WIDTH)
    assert not cleared.masks.any()
    assert cleared.object_score[0] < 0


def test_clearing_a_frame_that_is_not_in_the_clip_is_refused(session: TrackingSession) -> None:
    session.prompt(_mask(0, 1))
    with pytest.raises(PromptError, match=f"{LENGTH + 90}"):
        session.clear(LENGTH + 90, 1)


@pytest.mark.parametrize("act", ["remove", "clear"])
def test_an_object_that_nobody_prompted_is_refused_with_those_known(
    session: TrackingSession, act: str
) -> None:
    session.prompt(_point(0, 1))
    session.prompt(_point(0, 4))
    with pytest.raises(PromptError, match="No object 9 in this session; objects: 1, 4"):
        session.remove(9) if act == "remove" else session.clear(0, 9)


def test_a_refused_prompt_leaves_the_session_as_it_was(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    for item in (_point(0, 5, x=1000), _point(LENGTH, 5), FramePrompt(0, 1, Prompt())):
        with pytest.raises(PromptError):
            session.prompt(item)
    assert session.object_ids == (1,)
    _same(list(session.propagate()), list(_tracker().track(_clip(), [_point(0, 1)])))


# ---------------------------------------------------------------- propagating


def test_there_is_nothing_to_propagate_before_the_first_prompt(session: TrackingSession) -> None:
    with pytest.raises(PromptError, match="nothing to propagate"):
        session.propagate()


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_propagating_twice_gives_the_same(session: TrackingSession, direction: str) -> None:
    """Not so for both ways, here and in the reference: the second time recalls the first."""
    session.prompt(_point(1, 1))
    session.prompt(_box(3, 2))
    first = list(session.propagate(direction))
    _same(list(session.propagate(direction)), first)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_max_frames_is_the_number_of_frames_that_come(
    session: TrackingSession, direction: str
) -> None:
    session.prompt(_point(4, 1))
    whole = list(_tracker().track(_clip(), [_point(4, 1)], direction))
    found = list(session.propagate(direction, max_frames=3))
    _same(found, whole[:3])


def test_max_frames_counts_on_over_the_turning_point(session: TrackingSession) -> None:
    session.prompt(_point(LENGTH - 2, 1))
    found = _numbers(list(session.propagate("both", max_frames=4)))
    assert found == [LENGTH - 2, LENGTH - 1, LENGTH - 3, LENGTH - 4]


def test_no_frame_at_all_may_be_asked_for(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    assert list(session.propagate(max_frames=0)) == []


def test_propagation_can_start_anywhere(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    whole = list(session.propagate())
    _same(list(session.propagate(start=5)), whole[5:])
    assert _numbers(list(session.propagate("backward", start=5))) == [5, 4, 3, 2, 1, 0]


def test_less_than_no_frame_cannot_be_asked_for_but_more_than_there_are(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    with pytest.raises(PromptError, match="max_frames=-1: it is how many frames come, at least 0"):
        session.propagate(max_frames=-1)
    assert len(list(session.propagate(max_frames=10**30))) == LENGTH


@pytest.mark.parametrize("start", [-1, LENGTH])
def test_a_start_outside_the_clip_is_refused(session: TrackingSession, start: int) -> None:
    session.prompt(_point(0, 1))
    with pytest.raises(PromptError, match=rf"start\b.*{start}\b.*{LENGTH}"):
        session.propagate(start=start)


@pytest.mark.parametrize("number", [1.5, True, "1", np.array([1, 2])], ids=repr)
def test_what_is_no_integer_is_no_frame_and_no_number_of_frames(
    session: TrackingSession, number: object
) -> None:
    session.prompt(_point(0, 1))
    with pytest.raises(PromptError, match="start must be an integer, not"):
        session.propagate(start=number)
    with pytest.raises(PromptError, match="max_frames must be an integer, not"):
        session.propagate(max_frames=number)
    with pytest.raises(PromptError, match="frame must be an integer, not"):
        session.clear(number, 1)
    with pytest.raises(PromptError, match="Object 2: frame must be an integer, not"):
        session.prompt(_point(number, 2))


def test_a_numpy_integer_is_a_start_and_a_number_of_frames(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    found = session.propagate(start=np.int64(2), max_frames=np.int32(3))
    assert _numbers(list(found)) == [2, 3, 4]


def test_what_cannot_name_an_object_is_refused(session: TrackingSession) -> None:
    for act in (
        lambda: session.prompt(_point(0, [1])),
        lambda: session.correct(_point(0, [1])),
        lambda: session.clear(0, [1]),
        lambda: session.remove([1]),
    ):
        with pytest.raises(PromptError, match=r"object_id must be an integer, not \[1\]"):
            act()


def test_an_unknown_direction_is_refused(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    with pytest.raises(PromptError, match=r"direction='sideways'.*forward, backward, both"):
        session.propagate("sideways")


CHANGES = {
    "prompt": lambda session: session.prompt(_point(2, 3)),
    "prompt again": lambda session: session.prompt(_box(0, 1)),
    "correct": lambda session: session.correct(_point(1, 1, 50, 35, on=0)),
    "clear": lambda session: session.clear(0, 2),
    "remove": lambda session: session.remove(2),
    "reset": lambda session: session.reset(),
}


@pytest.mark.parametrize(
    ("seen", "direction"), [(0, "forward"), (3, "forward"), (1, "backward"), (2, "both")]
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_propagation_under_way_ends_with_words_once_the_session_is_changed(
    session: TrackingSession, change: str, seen: int, direction: str
) -> None:
    session.prompt(_point(0, 1))
    session.prompt(_box(0, 2))
    list(session.propagate())
    session.prompt(_mask(4, 1))
    going = session.propagate(direction)
    for _ in range(seen):
        next(going)
    CHANGES[change](session)
    frame = 4 - seen if direction == "backward" else seen
    with pytest.raises(PromptError, match=rf"stands before frame {frame}, .*start={frame}\)"):
        next(going)
    assert list(going) == []
    if change == "clear":
        session.remove(2)
    if change == "reset":
        session.prompt(_point(0, 1))
    assert _numbers(list(session.propagate())) == list(range(LENGTH))


def test_what_was_changed_while_a_propagation_was_under_way_holds_in_the_next_one(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    going = session.propagate()
    next(going)
    next(going)
    session.prompt(_mask(1, 2))
    with pytest.raises(PromptError, match="has been changed since it began"):
        next(going)
    expected = list(_tracker().track(_clip(), [_point(0, 1), _mask(1, 2)]))
    _same(list(session.propagate()), expected)


def test_a_change_behind_the_last_frame_ends_a_propagation_in_peace(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    for frame in session.propagate():
        if frame.frame == LENGTH - 1:
            session.correct(_point(frame.frame, 1, 50, 35, on=0))
    for frame in session.propagate(max_frames=2):
        if frame.frame == 1:
            session.correct(_point(1, 1, 50, 35, on=0))


def test_what_is_refused_while_a_propagation_is_under_way_does_not_end_it(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    going = session.propagate()
    next(going)
    for act in (
        lambda: session.prompt(_point(0, 2, x=1000)),
        lambda: session.correct(_box(0, 1)),
        lambda: session.clear(LENGTH, 1),
        lambda: session.remove(9),
    ):
        with pytest.raises(PromptError):
            act()
    assert _numbers(list(going)) == list(range(1, LENGTH))


def test_a_propagation_that_was_left_early_can_be_taken_up_again(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    for frame in session.propagate():
        if frame.frame == 3:
            break
    rest = list(session.propagate(start=4))
    _same(rest, list(_tracker().track(_clip(), [_point(0, 1)]))[4:])


def test_an_object_added_after_propagation_is_tracked_with_the_others(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    before = list(session.propagate())
    session.prompt(_mask(3, 2))
    after = list(session.propagate())
    expected = list(_tracker().track(_clip(), [_point(0, 1), _mask(3, 2)]))
    _same(after, expected)
    for old, new in zip(before, after, strict=True):
        assert_close(new.low_res_logits[0], old.low_res_logits[0], f"object 1 on {new.frame}")


def test_a_first_prompt_on_a_frame_that_others_passed_uses_no_memory(
    session: TrackingSession,
) -> None:
    session.prompt(_point(0, 1))
    list(session.propagate())
    preview = session.prompt(_box(5, 2))
    alone = _tracker().session(_clip()).prompt(_box(5, 2))
    assert_close(preview.low_res_logits[1], alone.low_res_logits[0], "the new object")


# ---------------------------------------------------------------- iterators


def test_an_iterator_is_prompted_and_propagated_like_a_list() -> None:
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(0, 1))
    session.correct(_point(0, 1, 50, 35, on=0))
    found = list(session.propagate())
    whole = _tracker().session(_clip(20))
    whole.prompt(_point(0, 1))
    whole.correct(_point(0, 1, 50, 35, on=0))
    _same(found, list(whole.propagate()))


@pytest.mark.parametrize("way", ["leave the loop", "max_frames"])
def test_an_iterator_can_be_corrected_where_it_stands_and_goes_on(way: str) -> None:
    session, whole = _tracker().session(iter(_clip(24))), _tracker().session(_clip(24))
    for one in (session, whole):
        one.prompt(_point(0, 1))
        if way == "max_frames":
            assert _numbers(list(one.propagate(max_frames=6))) == list(range(6))
        else:
            for frame in one.propagate():
                if frame.frame == 5:
                    break
    assert session.source.position == 6, "frames were taken that nobody has seen"
    for one in (session, whole):
        one.correct(_point(5, 1, 50, 35, on=0))
    _same(list(session.propagate(start=5)), list(whole.propagate(start=5)))


def test_two_objects_may_be_prompted_on_the_frame_where_an_iterator_stands() -> None:
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(0, 1))
    session.prompt(_box(0, 2))
    expected = list(_tracker().track(_clip(20), [_point(0, 1), _box(0, 2)]))
    _same(list(session.propagate()), expected)


def test_a_propagation_whose_frame_of_an_iterator_was_taken_says_so() -> None:
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(0, 1))
    one = session.propagate()
    assert [next(one).frame, next(one).frame] == [0, 1]
    other = session.propagate(start=1)
    assert [next(other).frame, next(other).frame] == [1, 2]
    with pytest.raises(FrameSourceError, match=r"passed frame 2.*somebody else.*give a list"):
        next(one)
    assert _numbers(list(other)) == list(range(3, 20))


def test_an_iterator_loses_no_frame_to_a_propagation_that_a_change_ends() -> None:
    session, whole = _tracker().session(iter(_clip(24))), _tracker().session(_clip(24))
    found: dict[str, list[TrackedFrame]] = {}
    for name, one in (("iterator", session), ("list", whole)):
        one.prompt(_point(0, 1))
        going = one.propagate()
        assert _numbers([next(going) for _ in range(6)]) == list(range(6))
        one.correct(_point(5, 1, 50, 35, on=0))
        with pytest.raises(PromptError, match="start another one"):
            next(going)
        found[name] = list(one.propagate(start=5))
    assert session.source.length() == 24
    _same(found["iterator"], found["list"])


def test_propagations_of_a_list_may_be_interleaved(session: TrackingSession) -> None:
    session.prompt(_point(0, 1))
    one, other = session.propagate(), session.propagate()
    pairs = [(next(one).frame, next(other).frame) for _ in range(LENGTH)]
    assert pairs == [(frame, frame) for frame in range(LENGTH)]


def test_an_iterator_cannot_be_prompted_behind_where_it_stands() -> None:
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(4, 1))
    with pytest.raises((PromptError, FrameSourceError), match=r"cannot go back|give a list"):
        session.prompt(_point(2, 1))


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_an_iterator_cannot_be_propagated_backward(direction: str) -> None:
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(4, 1))
    with pytest.raises(FrameSourceError, match=r"needs frames twice.*give a list"):
        session.propagate(direction)


def test_a_start_that_an_iterator_has_passed_is_refused_at_once() -> None:
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(0, 1))
    list(session.propagate(max_frames=9))
    with pytest.raises((PromptError, FrameSourceError), match=r"cannot go back|give a list"):
        session.propagate(start=1)


def test_what_was_prompted_on_an_iterator_is_kept_when_it_moves_on() -> None:
    """Prompting a later frame passes the earlier one by; its answer is known already."""
    session = _tracker().session(iter(_clip(20)))
    session.prompt(_point(0, 1))
    session.prompt(_mask(2, 1))
    found = list(session.propagate(start=2))
    assert found[0].predicted_iou.tolist() == [1.0]


# ---------------------------------------------------------------- bounded history


def _memories_alive() -> int:
    gc.collect()
    # By type: isinstance would ask lazy modules for their class, and import them.
    tensors = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return sum(x.dtype == torch.bfloat16 for x in tensors)


@pytest.mark.parametrize("history", [1, 20, None])
def test_history_frames_bound_what_is_kept(history: int | None) -> None:
    before = _memories_alive()
    session = _tracker(history_frames=history).session(_clip(40))
    session.prompt(_point(0, 1))
    for _ in session.propagate():
        pass
    kept = _memories_alive() - before
    ring = 16  # what tracking itself recalls
    expected = 40 if history is None else max(history, ring) + 1
    assert kept <= expected
    assert kept >= min(expected, ring)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_bounded_history_does_not_change_tracking(direction: str) -> None:
    prompts = [_point(20, 1), _box(21, 2)]
    bounded, whole = (_tracker(history_frames=h).session(_clip(40)) for h in (3, None))
    for one in (bounded, whole):
        for item in prompts:
            one.prompt(item)
    _same(list(bounded.propagate(direction)), list(whole.propagate(direction)))
    _same(list(bounded.propagate(direction)), list(whole.propagate(direction)))


def test_a_bounded_history_keeps_what_a_turn_recalls() -> None:
    """The frames that come next were seen before, so they are not the latest to be remembered."""
    bounded, whole = (_tracker(history_frames=1).session(_clip(26)), _tracker().session(_clip(26)))
    for one in (bounded, whole):
        one.prompt(_point(20, 1))
        list(one.propagate("backward"))
    _same(list(bounded.propagate(start=10)), list(whole.propagate(start=10)))


@pytest.mark.parametrize("frame", [3, 22])
def test_a_correction_on_a_frame_that_was_dropped_equals_one_in_a_whole_session(
    frame: int,
) -> None:
    bounded, whole = (_tracker(history_frames=5).session(_clip(26)), _tracker().session(_clip(26)))
    for one in (bounded, whole):
        one.prompt(_point(0, 1))
        list(one.propagate())
    correction = _point(frame, 1, 50, 35, on=0)
    _same_frame(bounded.correct(correction), whole.correct(correction))
    _same(list(bounded.propagate()), list(whole.propagate()))


def test_a_second_correction_far_from_the_first_equals_one_in_a_whole_session() -> None:
    bounded, whole = (_tracker(history_frames=5).session(_clip(26)), _tracker().session(_clip(26)))
    for one in (bounded, whole):
        one.prompt(_point(0, 1))
        list(one.propagate())
        one.correct(_point(18, 1, 50, 35, on=0))
    correction = _point(4, 1, 10, 10, on=0)
    _same_frame(bounded.correct(correction), whole.correct(correction))


def test_a_correction_on_a_dropped_frame_of_a_backward_pass_equals_one_in_a_whole_session() -> None:
    bounded, whole = (_tracker(history_frames=5).session(_clip(26)), _tracker().session(_clip(26)))
    for one in (bounded, whole):
        one.prompt(_point(25, 1))
        list(one.propagate("backward"))
    correction = _point(21, 1, 50, 35, on=0)
    _same_frame(bounded.correct(correction), whole.correct(correction))
