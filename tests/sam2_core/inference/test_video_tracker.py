"""Objects followed through small clips: which frames come, what they hold, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch
from agreement import assert_close
from make_clip import moving_shapes
from prompt_factories import SMALL
from scipy import ndimage
from small_models import lively_model

from ops import decode_run_lengths
from sam2_core import (
    Clip,
    ClipEnd,
    ClipFrame,
    ConfigError,
    FramePrompt,
    FrameSourceError,
    ImageSegmenter,
    Prompt,
    PromptError,
    ResizedPicture,
    Sam2,
    TrackedFrame,
    TrackingConfig,
    VideoTracker,
)

if TYPE_CHECKING:
    from sam2_core.inference.frame_sources import Frames

HEIGHT, WIDTH = SMALL.height, SMALL.width
SIZE = 64
_point, _box, _mask = SMALL.point, SMALL.box, SMALL.mask


@cache
def _clip(length: int = 8, seed: int = 3) -> tuple[np.ndarray, ...]:
    return tuple(moving_shapes(length, HEIGHT, WIDTH, seed))


def _widening() -> list[np.ndarray]:
    """A clip whose fourth frame is wider."""
    return [*_clip(3), *moving_shapes(1, HEIGHT, WIDTH + 2)]


@pytest.fixture(scope="module")
def model() -> Sam2:
    return lively_model(SIZE)


@pytest.fixture(scope="module")
def tracker(model: Sam2) -> VideoTracker:
    return VideoTracker(model)


def _same(found: Sequence[TrackedFrame], expected: Sequence[TrackedFrame]) -> None:
    assert [f.frame for f in found] == [f.frame for f in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.object_ids == theirs.object_ids
        assert_close(ours.low_res_logits, theirs.low_res_logits, f"logits of {ours.frame}")
        assert_close(ours.object_score, theirs.object_score, f"scores of {ours.frame}")
        assert_close(ours.predicted_iou, theirs.predicted_iou, f"IoUs of {ours.frame}")


def _only(frames: Sequence[TrackedFrame], object_id: int) -> list[TrackedFrame]:
    """The same frames with one object."""
    alone = []
    for frame in frames:
        row = frame.object_ids.index(object_id)
        rows = slice(row, row + 1)
        alone.append(
            TrackedFrame(
                frame.frame,
                (object_id,),
                frame.low_res_logits[rows],
                frame.object_score[rows],
                frame.predicted_iou[rows],
                frame.size_hw,
            )
        )
    return alone


def _frames(events: Iterable[ClipFrame | ClipEnd]) -> list[ClipFrame]:
    return [event for event in events if isinstance(event, ClipFrame)]


class Counter:
    """Lets calls of a method through and counts them, with the size of what came in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self.calls: list[tuple[object, ...]] = []
        through = getattr(owner, name)

        def counted(*args: object, **kwargs: object) -> object:
            self.calls.append(args)
            return through(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    def __len__(self) -> int:
        return len(self.calls)


# ---------------------------------------------------------------- which frames come, in what order


def test_forward_goes_from_the_earliest_prompt_to_the_end(tracker: VideoTracker) -> None:
    found = tracker.track(_clip(), [_box(5), _point(2)])
    assert [frame.frame for frame in found] == [2, 3, 4, 5, 6, 7]


def test_backward_goes_from_the_latest_prompt_to_the_start(tracker: VideoTracker) -> None:
    found = tracker.track(_clip(), [_box(5), _point(2)], "backward")
    assert [frame.frame for frame in found] == [5, 4, 3, 2, 1, 0]


def test_both_goes_forward_then_back_and_shows_no_frame_twice(tracker: VideoTracker) -> None:
    found = tracker.track(_clip(), [_box(5), _point(2)], "both")
    assert [frame.frame for frame in found] == [2, 3, 4, 5, 6, 7, 1, 0]


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_prompt_on_the_first_or_last_frame_reaches_every_frame_or_just_itself(
    tracker: VideoTracker, direction: str
) -> None:
    from_first = sorted(f.frame for f in tracker.track(_clip(4), [_point(0)], direction))
    from_last = sorted(f.frame for f in tracker.track(_clip(4), [_point(3)], direction))
    every = [0, 1, 2, 3]
    assert from_first == ([0] if direction == "backward" else every)
    assert from_last == ([3] if direction == "forward" else every)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_clip_of_one_frame_gives_one_frame(tracker: VideoTracker, direction: str) -> None:
    (found,) = tracker.track(_clip(1), [_point(0), _box(0)], direction)
    assert found.frame == 0
    assert found.masks.shape == (2, HEIGHT, WIDTH)
    assert found.logits.isfinite().all()


def test_a_clip_longer_than_the_memory_reaches_gives_every_frame(tracker: VideoTracker) -> None:
    found = list(tracker.track(_clip(24), [_point(0)], "forward"))
    assert [frame.frame for frame in found] == list(range(24))
    assert all(frame.logits.isfinite().all() for frame in found)


def test_objects_come_in_the_order_of_their_first_prompt_on_every_frame(
    tracker: VideoTracker,
) -> None:
    prompts = [_box(4, 7), _point(1, 30), _mask(2, 7), _point(0, 5)]
    found = list(tracker.track(_clip(6), prompts))
    assert [frame.object_ids for frame in found] == [(7, 30, 5)] * 6


def test_tracking_the_same_clip_twice_gives_the_same(tracker: VideoTracker) -> None:
    prompts = [_point(0), _box(2)]
    first, second = (list(tracker.track(_clip(), prompts, "both")) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.low_res_logits, other.low_res_logits)


# ---------------------------------------------------------------- what a frame holds


def test_a_frame_holds_cpu_tensors_of_the_promised_shapes_and_types(tracker: VideoTracker) -> None:
    for frame in tracker.track(_clip(3), [_point(0), _box(0), _mask(1)]):
        assert frame.masks.shape == frame.logits.shape == (3, HEIGHT, WIDTH)
        assert frame.masks.dtype == torch.bool
        assert frame.logits.dtype == torch.float32
        assert frame.object_score.shape == frame.predicted_iou.shape == (3,)
        assert frame.object_score.dtype == frame.predicted_iou.dtype == torch.float32
        everything = (frame.masks, frame.logits, frame.object_score, frame.predicted_iou)
        assert {tensor.device.type for tensor in everything} == {"cpu"}
        assert len(frame) == 3


def test_logits_that_are_computed_when_read_say_the_same_as_the_masks(
    tracker: VideoTracker,
) -> None:
    seen = 0
    for frame in tracker.track(_clip(4), [_point(0), _box(0)]):
        assert torch.equal(frame.masks, frame.logits > 0)
        seen += int(frame.masks.sum())
    assert seen, "every mask was empty: the test proves nothing"


@pytest.mark.parametrize("non_overlap", [False, True])
def test_run_lengths_decode_to_the_masks(model: Sam2, non_overlap: bool) -> None:
    tracker = VideoTracker(model, TrackingConfig(non_overlap_masks=non_overlap))
    for frame in tracker.track(_clip(3), [_point(0), _box(0), _mask(0)]):
        assert torch.equal(decode_run_lengths(frame.run_lengths()), frame.masks)


def test_without_overlap_each_pixel_belongs_to_one_object_at_most(model: Sam2) -> None:
    prompts = [_point(0), _box(0), _mask(0)]
    free = list(VideoTracker(model).track(_clip(4), prompts))
    apart = list(
        VideoTracker(model, TrackingConfig(non_overlap_masks=True)).track(_clip(4), prompts)
    )
    assert any((frame.masks.sum(0) > 1).any() for frame in free), "nothing overlaps anyway"
    for loose, tight in zip(free, apart, strict=True):
        assert (tight.masks.sum(0) <= 1).all()
        assert torch.equal(tight.masks.any(0), loose.masks.any(0))  # the winner keeps its pixel
        assert torch.equal(tight.masks, tight.logits > 0)
        assert torch.equal(
            tight.low_res_logits, loose.low_res_logits
        )  # tracking itself is the same


def test_a_mask_prompt_is_taken_as_it_is_and_scores_ten(tracker: VideoTracker) -> None:
    prompt = _mask(0)
    first, *later = tracker.track(_clip(3), [prompt])
    assert first.predicted_iou.tolist() == [1.0]
    assert first.object_score.tolist() == [10.0]
    given = torch.as_tensor(prompt.prompt.mask)
    common = (first.masks[0] & given).sum() / (first.masks[0] | given).sum()
    assert common > 0.8  # it went through the low resolution
    assert all(frame.predicted_iou.item() < 1 for frame in later)


def test_an_empty_mask_prompt_means_that_the_object_is_absent(tracker: VideoTracker) -> None:
    nothing = FramePrompt(0, 1, Prompt(mask=np.zeros((HEIGHT, WIDTH), dtype=bool)))
    first, *_ = tracker.track(_clip(2), [nothing])
    assert first.object_score.tolist() == [-10.0]
    assert not first.masks.any()
    assert first.predicted_iou.tolist() == [1.0]


def test_an_object_that_scores_below_zero_has_an_empty_mask() -> None:
    tracker = VideoTracker(lively_model(SIZE, object_lift=-1.0))
    frames = list(tracker.track(_clip(10), [_box(0, 1), _point(0, 2)]))
    scores = torch.stack([frame.object_score for frame in frames])
    assert (scores <= 0).any(), "no object is ever absent"
    for frame in frames:
        assert not frame.masks[frame.object_score <= 0].any()


def test_small_holes_are_filled_and_only_where_asked(model: Sam2) -> None:
    prompts = [_box(0, 1), _point(0, 2)]
    kept = list(VideoTracker(model, TrackingConfig(fill_hole_area=0)).track(_clip(6), prompts))
    filled = list(VideoTracker(model, TrackingConfig(fill_hole_area=60)).track(_clip(6), prompts))

    def small_holes(frame: TrackedFrame) -> int:
        count = 0
        for logits in frame.low_res_logits:
            labels, _ = ndimage.label((logits <= 0).numpy(), structure=np.ones((3, 3)))
            count += int((np.bincount(labels.ravel())[1:] <= 60).sum())
        return count

    assert sum(map(small_holes, kept)) > 0, "nothing to fill: the test proves nothing"
    assert sum(map(small_holes, filled)) == 0


def test_a_prompted_frame_shows_what_the_image_segmenter_answers() -> None:
    # Frames and pictures are resized by different kernels: here neither has to be.
    model = lively_model(SIZE, object_lift=3.0)
    clip = moving_shapes(2, SIZE, SIZE, seed=5)
    prompt = Prompt(points=[(30, 20), (50, 60)], labels=[1, 0])
    plain = VideoTracker(model, TrackingConfig(fill_hole_area=0, stability_fallback=False))
    first, *_ = plain.track(clip, [FramePrompt(0, 1, prompt)])
    segmenter = ImageSegmenter(model, stability_fallback=False)
    (answer,) = segmenter.segment([clip[0]], [[prompt]], multimask=False)
    assert_close(first.low_res_logits.clamp(-32, 32), answer.low_res_logits[:, 0], "logits")
    assert_close(first.object_score, answer.object_score, "score")


def test_what_a_frame_holds_may_be_changed_and_learned_from(tracker: VideoTracker) -> None:
    weight = torch.ones((), requires_grad=True)
    for frame in tracker.track(_clip(3), [_point(0), _box(0), _mask(1)]):
        for numbers in (frame.low_res_logits, frame.object_score, frame.predicted_iou):
            assert not numbers.is_inference()
            (numbers * weight).sum().backward()
            numbers += 1
        masks = frame.masks
        masks &= False
    assert weight.grad is not None


# ---------------------------------------------------------------- memory


def test_a_prompt_in_the_future_changes_earlier_frames(tracker: VideoTracker) -> None:
    without = list(tracker.track(_clip(6), [_point(0)]))
    with_later = list(tracker.track(_clip(6), [_point(0), _mask(5, 1)]))
    assert torch.equal(without[0].logits, with_later[0].logits)
    assert not torch.equal(without[2].logits, with_later[2].logits)


def test_what_the_object_was_on_the_frame_before_matters(tracker: VideoTracker) -> None:
    clip = list(_clip(6))
    other = [*clip[:3], 255 - clip[3], *clip[4:]]
    first, second = (list(tracker.track(frames, [_point(0)])) for frames in (clip, other))
    assert torch.equal(first[2].logits, second[2].logits)
    assert not torch.equal(first[4].logits, second[4].logits)


def test_the_length_of_a_short_clip_is_known_to_the_first_frames_and_of_a_long_one_not(
    tracker: VideoTracker,
) -> None:
    """Ages of pointers are encoded relative to min(length, 16)."""
    of_length = {
        length: list(tracker.track(_clip(20)[:length], [_point(0)]))[3].logits
        for length in (5, 15, 16, 20)
    }
    assert not torch.equal(of_length[5], of_length[15])
    assert not torch.equal(of_length[15], of_length[16])
    assert torch.equal(of_length[16], of_length[20])


def test_backward_is_forward_on_the_reversed_clip(tracker: VideoTracker) -> None:
    length = 20
    prompts = [_point(17, 1), _box(12, 2)]
    mirrored = [
        FramePrompt(length - 1 - item.frame, item.object_id, item.prompt) for item in prompts
    ]
    back = list(tracker.track(_clip(length), prompts, "backward"))
    forth = list(tracker.track(_clip(length)[::-1], mirrored))
    assert [frame.frame for frame in back] == [length - 1 - frame.frame for frame in forth]
    for ours, theirs in zip(back, forth, strict=True):
        assert_close(ours.low_res_logits, theirs.low_res_logits, f"logits of {ours.frame}")
        assert_close(ours.object_score, theirs.object_score, f"scores of {ours.frame}")


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_objects_tracked_together_equal_objects_tracked_alone(
    tracker: VideoTracker, direction: str
) -> None:
    # Points, boxes and masks are answered by different means: their order must survive that.
    prompts = [_mask(4, 3), _point(4, 1), _box(4, 2), _point(4, 8, 40, 30), _mask(4, 5)]
    together = list(tracker.track(_clip(10), prompts, direction))
    for item in prompts:
        alone = list(tracker.track(_clip(10), [item], direction))
        _same(_only(together, item.object_id), alone)


def test_objects_with_unequal_histories_equal_objects_that_share_their_start_alone(
    tracker: VideoTracker,
) -> None:
    """The partner is there to start the clip on the same frame."""
    partner = _point(0, 99)
    prompts = [_point(2, 1), _box(5, 2), _mask(3, 2), _mask(9, 3)]
    together = list(tracker.track(_clip(20), [partner, *prompts]))
    for object_id in (1, 2, 3):
        own = [item for item in prompts if item.object_id == object_id]
        alone = list(tracker.track(_clip(20), [partner, *own]))
        _same(_only(together, object_id), _only(alone, object_id))


def test_equal_histories_are_attended_to_in_one_call_a_frame(
    model: Sam2, tracker: VideoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = Counter(monkeypatch, model.memory_attention, "forward")
    prompts = [_point(0, 1), _box(0, 2), _mask(0, 3)]
    assert len(list(tracker.track(_clip(10), prompts))) == 10
    assert len(attention) == 9


def test_every_frame_is_encoded_once_and_prompted_ones_once_more_at_most(
    model: Sam2, tracker: VideoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Counter(monkeypatch, model, "embed_images")
    list(tracker.track(_clip(10), [_point(2, 1), _box(5, 2)]))
    assert len(encoder) <= 8 + 2
    encoder.calls.clear()
    list(tracker.track(iter(_clip(10)), [_point(0, 1), _box(0, 2)]))
    assert len(encoder) == 10


# ---------------------------------------------------------------- several clips side by side


def test_clips_side_by_side_equal_clips_alone(tracker: VideoTracker) -> None:
    clips = [
        Clip(_clip(7, seed=1), [_point(0, 1)]),
        Clip(_clip(1, seed=2), [_box(0, 1), _point(0, 2)]),
        Clip(iter(_clip(18, seed=3)), [_mask(0, 4), _point(0, 1)]),
        Clip(_clip(4, seed=4), [_box(3, 8)], "backward"),
        Clip(_clip(9, seed=5), [_point(4, 1), _mask(5, 2)], "both"),
    ]
    found: dict[int, list[TrackedFrame]] = {}
    for event in tracker.track_many(clips, lanes=2):
        if isinstance(event, ClipFrame):
            found.setdefault(event.clip, []).append(event.tracked)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for number, clip in enumerate(clips):
        frames = _clip(18, seed=3) if number == 2 else clip.frames
        _same(found[number], list(tracker.track(frames, clip.prompts, clip.direction)))


def test_a_lane_that_is_done_takes_the_next_clip_while_the_other_goes_on(
    tracker: VideoTracker,
) -> None:
    clips = [Clip(_clip(n), [_point(0)]) for n in (9, 2, 3, 2)]
    order = [event.clip for event in _frames(tracker.track_many(clips, lanes=2))]
    assert order.index(3) < len(order) - 1 - order[::-1].index(0)
    assert [order.count(number) for number in range(4)] == [9, 2, 3, 2]


def test_clips_are_opened_no_earlier_than_a_lane_is_free(tracker: VideoTracker) -> None:
    opened = []

    def clips() -> Iterator[Clip]:
        for number in range(4):
            opened.append(number)
            yield Clip(_clip(2), [_point(0)])

    found = tracker.track_many(clips(), lanes=2)
    next(found)
    assert opened == [0, 1]
    list(found)
    assert opened == [0, 1, 2, 3]


def test_frames_of_several_clips_meet_in_one_step(
    model: Sam2, tracker: VideoTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attention = Counter(monkeypatch, model.memory_attention, "forward")
    clips = [Clip(_clip(16, seed=n), [_point(0)]) for n in range(3)]
    assert len(_frames(tracker.track_many(clips, lanes=3))) == 48
    assert len(attention) == 15


def test_every_clip_ends_once_behind_its_last_frame(tracker: VideoTracker) -> None:
    clips = [Clip(_clip(n), [_point(0)]) for n in (4, 1, 3)]
    events = list(tracker.track_many(clips, lanes=2))
    ends = [event for event in events if isinstance(event, ClipEnd)]
    assert sorted(ends) == [ClipEnd(0, None), ClipEnd(1, None), ClipEnd(2, None)]
    for end in ends:
        assert all(event.clip != end.clip for event in events[events.index(end) + 1 :])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Clip(_clip(2), [_point(0), _point(5, 4)]), "^Object 4 is prompted on frame 5"),
        (Clip(cast("Frames", 3), [_point(0)]), "^Frames are a list"),
        (cast("Clip", (_clip(2), [_point(0)])), r"^expected Clip\(frames, prompts\), got tuple"),
        (
            Clip([*_clip(3), *moving_shapes(1, HEIGHT, WIDTH + 2)], [_point(0), _point(3)]),
            "frame 3 is 58 x",
        ),
    ],
)
def test_a_clip_that_cannot_be_tracked_leaves_the_others_alone(
    tracker: VideoTracker, bad: Clip, message: str
) -> None:
    good = [Clip(_clip(4, seed=n), [_point(0)]) for n in range(2)]
    events = list(tracker.track_many([good[0], bad, good[1]], lanes=2))
    errors = {e.clip: e.error for e in events if isinstance(e, ClipEnd)}
    assert errors[0] is None
    assert errors[2] is None
    with pytest.raises((PromptError, FrameSourceError), match=message):
        raise cast("Exception", errors[1])
    for number, clip in ((0, good[0]), (2, good[1])):
        found = [e.tracked for e in _frames(events) if e.clip == number]
        _same(found, list(tracker.track(clip.frames, clip.prompts)))


def test_a_clip_that_breaks_off_shows_what_came_before(tracker: VideoTracker) -> None:
    clips = [
        Clip(_clip(9), [_point(0)]),
        Clip(_widening(), [_point(0)]),
        Clip(iter(_clip(20)), [_point(0), _point(25, 2)]),
    ]
    events = list(tracker.track_many(clips))
    counts = [sum(e.clip == n for e in _frames(events)) for n in range(3)]
    assert counts == [9, 3, 20]
    errors = {e.clip: str(e.error) for e in events if isinstance(e, ClipEnd)}
    assert errors[0] == "None"
    assert "frame 3 is 58 x 40" in errors[1]
    assert "ended after frame 19: the prompt on frame 25" in errors[2]


def _failing(length: int, error: Exception) -> Iterator[np.ndarray]:
    yield from _clip(length)
    raise error


class _FailingList:
    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> np.ndarray:
        if index >= self._length:
            raise ConnectionError("the store is gone")
        return _clip(30)[index]


@pytest.mark.parametrize("length", [0, 1, 3, 20])
@pytest.mark.parametrize("kind", ["iterator", "sequence"])
def test_a_clip_whose_frames_raise_anything_ends_alone_behind_those_it_had(
    tracker: VideoTracker, kind: str, length: int
) -> None:
    error = ConnectionError("the store is gone")
    bad = _failing(length, error) if kind == "iterator" else _FailingList(length)
    good = Clip(_clip(4), [_point(0)])
    events = list(tracker.track_many([Clip(bad, [_point(0)]), good, good], lanes=2))
    ends = {event.clip: event.error for event in events if isinstance(event, ClipEnd)}
    assert ends[1] is ends[2] is None
    assert isinstance(ends[0], FrameSourceError)
    assert isinstance(ends[0].__cause__, ConnectionError)
    assert f"frame {length} could not be had: ConnectionError: the store is gone" in str(ends[0])
    counts = [sum(event.clip == number for event in _frames(events)) for number in range(3)]
    assert counts == [length, 4, 4]


def test_one_clip_whose_frames_raise_shows_the_first_ones_and_the_cause(
    tracker: VideoTracker,
) -> None:
    found = tracker.track(_failing(3, OSError("the camera is gone")), [_point(0)])
    assert [next(found).frame for _ in range(3)] == [0, 1, 2]
    with pytest.raises(FrameSourceError, match="frame 3 could not be had") as caught:
        next(found)
    assert isinstance(caught.value.__cause__, OSError)


def test_an_interrupt_ends_all_clips(tracker: VideoTracker) -> None:
    clips = [Clip(_clip(4), [_point(0)]), Clip(_failing(2, KeyboardInterrupt()), [_point(0)])]
    with pytest.raises(KeyboardInterrupt):
        list(tracker.track_many(clips))


def test_a_clip_whose_prompts_raise_ends_alone(tracker: VideoTracker) -> None:
    def prompts() -> Iterator[FramePrompt]:
        yield _point(0)
        raise OSError("the table is gone")

    good = Clip(_clip(2), [_point(0)])
    events = list(tracker.track_many([Clip(_clip(2), prompts()), good]))
    ends = {event.clip: event.error for event in events if isinstance(event, ClipEnd)}
    assert ends[1] is None
    assert "The prompts broke off with an error: OSError: the table is gone" in str(ends[0])
    assert len(_frames(events)) == 2


@pytest.mark.parametrize("wrap", [list, iter])
@pytest.mark.parametrize("place", [0, 2])
def test_a_clip_of_pictures_resized_for_another_model_ends_alone(
    tracker: VideoTracker, wrap: Callable[[object], Frames], place: int
) -> None:
    sides = [SIZE * 2 if frame == place else SIZE for frame in range(4)]
    resized = [
        ResizedPicture(np.zeros((side, side, 3), np.uint8), (HEIGHT, WIDTH)) for side in sides
    ]
    good = Clip(_clip(4), [_point(0)])
    events = list(tracker.track_many([Clip(wrap(resized), [_point(0)]), good]))
    ends = {event.clip: event.error for event in events if isinstance(event, ClipEnd)}
    assert ends[1] is None
    assert f"frame {place}: A ResizedPicture of shape" in str(ends[0])
    assert [sum(e.clip == n for e in _frames(events)) for n in range(2)] == [place, 4]


def test_no_clip_gives_no_frame(tracker: VideoTracker) -> None:
    assert list(tracker.track_many([])) == []


@pytest.mark.parametrize("lanes", [0, True, "2", 1.5])
def test_lanes_that_are_no_number_of_clips_are_refused(tracker: VideoTracker, lanes: int) -> None:
    with pytest.raises(ConfigError, match=f"lanes={lanes!r}"):
        tracker.track_many([], lanes=lanes)


# ---------------------------------------------------------------- iterators


@pytest.mark.parametrize("length", [1, 5, 16, 17, 30])
def test_an_iterator_gives_what_a_list_gives(tracker: VideoTracker, length: int) -> None:
    prompts = [_point(0, 1), _box(0, 2)]
    _same(
        list(tracker.track(iter(_clip(length)), prompts)),
        list(tracker.track(_clip(length), prompts)),
    )


def test_an_iterator_is_read_no_further_ahead_than_sixteen_frames(tracker: VideoTracker) -> None:
    pulled = []

    def pictures() -> Iterator[np.ndarray]:
        for number, picture in enumerate(_clip(30)):
            pulled.append(number)
            yield picture

    found = tracker.track(pictures(), [_point(0)])
    assert len(pulled) <= 16
    for frame in found:
        assert len(pulled) <= max(16, frame.frame + 2)


def test_on_an_iterator_an_object_is_absent_before_its_first_prompt(tracker: VideoTracker) -> None:
    prompts = [_point(0, 1), _box(3, 2)]
    found = list(tracker.track(iter(_clip(6)), prompts))
    assert [frame.object_ids for frame in found] == [(1, 2)] * 6
    for frame in found[:3]:
        assert not frame.masks[1].any()
        assert frame.object_score[1] < 0
    assert found[3].object_score[1] > -1000
    whole = list(tracker.track(_clip(6), prompts))
    assert_close(found[3].logits, whole[3].logits, "the prompted frame")


def test_on_an_iterator_a_prompt_in_the_future_does_not_change_earlier_frames(
    tracker: VideoTracker,
) -> None:
    without = list(tracker.track(iter(_clip(6)), [_point(0)]))
    with_later = list(tracker.track(iter(_clip(6)), [_point(0), _mask(4, 1)]))
    for frame in range(4):
        assert torch.equal(without[frame].logits, with_later[frame].logits)
    assert with_later[4].predicted_iou.item() == 1.0


def test_an_iterator_is_passed_up_to_the_first_prompt(tracker: VideoTracker) -> None:
    found = list(tracker.track(iter(_clip(20)), [_point(18)]))
    assert [frame.frame for frame in found] == [18, 19]


@pytest.mark.parametrize("direction", ["backward", "both"])
def test_an_iterator_cannot_be_tracked_backward(tracker: VideoTracker, direction: str) -> None:
    with pytest.raises(PromptError, match=r"needs frames twice.*give a list"):
        tracker.track(iter(_clip(3)), [_point(1)], direction)


def test_a_prompt_beyond_the_end_of_a_short_iterator_is_refused_at_once(
    tracker: VideoTracker,
) -> None:
    with pytest.raises(PromptError, match=r"frame 9.*0 to 4"):
        tracker.track(iter(_clip(5)), [_point(0), _box(9)])


def test_a_prompt_beyond_the_end_of_a_long_iterator_is_an_error_when_it_ends(
    tracker: VideoTracker,
) -> None:
    found = tracker.track(iter(_clip(20)), [_point(0), _box(25)])
    with pytest.raises(FrameSourceError, match=r"ended after frame 19.*frame 25 was never reached"):
        list(found)


def test_an_only_prompt_beyond_the_end_of_a_long_iterator_is_an_error_too(
    tracker: VideoTracker,
) -> None:
    with pytest.raises(FrameSourceError, match="frame 25 was never reached"):
        list(tracker.track(iter(_clip(20)), [_point(25)]))


# ---------------------------------------------------------------- prompts that are lost


def _broken_at(place: int) -> list[np.ndarray]:
    return [*_clip(place), np.zeros((3, 3, 3), np.uint8), *_clip(5)]


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_prompts_from_a_broken_frame_on_are_lost_and_the_others_are_tracked_up_to_it(
    tracker: VideoTracker, direction: str
) -> None:
    prompts = [_point(16, 1), _box(18, 2), _point(19, 1)]
    found = []
    with pytest.raises(FrameSourceError, match=r"frame 18 is .*object 2 on frame 18, object 1 on"):  # noqa: PT012
        for tracked in tracker.track(_broken_at(18), prompts, direction):
            found.append(tracked)  # noqa: PERF402 what came before the error counts
    without = list(tracker.track(_clip(18), [_point(16, 1)], direction))
    assert [one.frame for one in found] == [one.frame for one in without]
    for one, other in zip(found, without, strict=True):
        assert one.object_ids == (1,)
        assert torch.equal(one.logits, other.logits)


def test_of_clips_side_by_side_each_end_says_what_was_lost(tracker: VideoTracker) -> None:
    prompts = [_box(4, 2), _point(1, 1)]
    clips = [
        Clip(_broken_at(4), prompts),
        Clip(_clip(6), prompts),
        Clip(_broken_at(1), prompts),
    ]
    events = list(tracker.track_many(clips, lanes=2))
    ends = {event.clip: event for event in events if isinstance(event, ClipEnd)}
    assert {number: end.lost for number, end in ends.items()} == {
        0: ((2, 4),),
        1: (),
        2: ((1, 1), (2, 4)),
    }
    assert {number for number, end in ends.items() if end.error is not None} == {0, 2}
    shown = [event.clip for event in events if isinstance(event, ClipFrame)]
    assert [shown.count(number) for number in range(3)] == [3, 5, 0]


# ---------------------------------------------------------------- errors, at once


def test_no_prompt_is_refused(tracker: VideoTracker) -> None:
    with pytest.raises(PromptError, match="nothing to track"):
        tracker.track(_clip(2), [])


@pytest.mark.parametrize("frame", [-1, 8, 100])
def test_a_prompt_on_a_frame_that_is_not_there_is_refused(
    tracker: VideoTracker, frame: int
) -> None:
    with pytest.raises(PromptError, match=rf"Object 1 .*frame {frame}.*0 to 7"):
        tracker.track(_clip(8), [_point(frame)])


def test_a_frame_prompt_that_is_not_in_a_list_is_refused_with_the_way_out(
    tracker: VideoTracker,
) -> None:
    with pytest.raises(PromptError, match=r"list of FramePrompt, not a FramePrompt.*\[prompt\]"):
        tracker.track(_clip(2), _point(0))


@pytest.mark.parametrize("prompts", [None, 3, {0: _point(0)}, "box"], ids=repr)
def test_prompts_that_are_no_list_are_refused(tracker: VideoTracker, prompts: object) -> None:
    with pytest.raises(PromptError, match=f"list of FramePrompt, not a {type(prompts).__name__}"):
        tracker.track(_clip(2), prompts)


def test_prompts_may_come_from_a_generator_and_then_be_none_at_all(tracker: VideoTracker) -> None:
    found = list(tracker.track(_clip(2), (_point(0, number) for number in (4, 7))))
    assert [frame.object_ids for frame in found] == [(4, 7)] * 2
    with pytest.raises(PromptError, match="nothing to track"):
        tracker.track(_clip(2), (_point(0, number) for number in ()))


@pytest.mark.parametrize("object_id", [[1], {}, "cat", 1.0, True, None, np.ones(2)], ids=repr)
def test_what_cannot_name_an_object_is_refused(tracker: VideoTracker, object_id: object) -> None:
    with pytest.raises(PromptError, match="Prompt 1: object_id must be an integer, not"):
        tracker.track(_clip(2), [_point(0), _point(0, object_id)])


@pytest.mark.parametrize("frame", [1.5, "0", None, True])
def test_a_frame_that_is_no_integer_is_refused(tracker: VideoTracker, frame: object) -> None:
    with pytest.raises(PromptError, match="frame must be an integer"):
        tracker.track(_clip(3), [FramePrompt(frame, 1, Prompt(points=[(2, 2)], labels=[1]))])


def test_a_numpy_integer_is_a_frame_too(tracker: VideoTracker) -> None:
    found = list(tracker.track(_clip(3), [_point(np.int64(1))]))
    assert [frame.frame for frame in found] == [1, 2]


def test_two_prompts_for_one_object_on_one_frame_are_refused(tracker: VideoTracker) -> None:
    with pytest.raises(PromptError, match="Object 1 has two prompts on frame 0"):
        tracker.track(_clip(2), [_point(0), _box(0, 1)])


@pytest.mark.parametrize(
    "others", [{"points": [(3, 3)], "labels": [1]}, {"box": (1, 1, 9, 9)}], ids=["points", "box"]
)
def test_a_mask_with_points_or_a_box_is_refused(
    tracker: VideoTracker, others: dict[str, object]
) -> None:
    mask = np.ones((HEIGHT, WIDTH), dtype=bool)
    with pytest.raises(PromptError, match="Object 4, frame 0: a mask is taken as it is"):
        tracker.track(_clip(2), [FramePrompt(0, 4, Prompt(mask=mask, **others))])


def test_absent_points_may_be_none(tracker: VideoTracker) -> None:
    box = (9, 7, 39, 31)
    plain, with_none = (
        list(tracker.track(_clip(2), [FramePrompt(0, 1, prompt)]))
        for prompt in (Prompt(box=box), Prompt(points=None, labels=None, box=box))
    )
    _same(with_none, plain)


@pytest.mark.parametrize("points", [5, np.array(5.0), (3, 4)], ids=repr)
def test_points_that_are_no_pairs_are_refused_with_object_and_frame(
    tracker: VideoTracker, points: object
) -> None:
    with pytest.raises(PromptError, match="Object 1, frame 0: points are a list of"):
        tracker.track(_clip(2), [FramePrompt(0, 1, Prompt(points=points, labels=[1]))])


def test_the_name_of_a_model_is_no_model() -> None:
    with pytest.raises(ConfigError, match=r"model is a str, not a network: load_sam2\(NAME\)"):
        VideoTracker("nano")


def test_logits_alone_are_refused(tracker: VideoTracker) -> None:
    logits = torch.zeros(SIZE // 4, SIZE // 4)
    with pytest.raises(PromptError, match="low_res_logits refine"):
        tracker.track(_clip(2), [FramePrompt(0, 1, Prompt(low_res_logits=logits))])


def test_a_prompt_outside_the_frame_names_object_and_frame(tracker: VideoTracker) -> None:
    with pytest.raises(PromptError, match=r"Object 6, frame 1: point .* outside"):
        tracker.track(_clip(3), [_point(0), _point(1, 6, x=WIDTH + 1)])


def test_an_unknown_direction_is_refused(tracker: VideoTracker) -> None:
    with pytest.raises(PromptError, match=r"direction='sideways'.*forward, backward, both"):
        tracker.track(_clip(2), [_point(0)], "sideways")


def test_a_bare_prompt_in_place_of_a_frame_prompt_is_refused(tracker: VideoTracker) -> None:
    with pytest.raises(PromptError, match="expected a FramePrompt, got Prompt"):
        tracker.track(_clip(2), [Prompt(points=[(1, 1)], labels=[1])])


@pytest.mark.parametrize("prompt", [None, {"points": [(1, 1)], "labels": [1]}, (1, 1)])
def test_a_frame_prompt_that_holds_no_prompt_is_refused(
    tracker: VideoTracker, prompt: object
) -> None:
    with pytest.raises(PromptError, match=f"Object 1, frame 0.*{type(prompt).__name__}"):
        tracker.track(_clip(2), [FramePrompt(0, 1, prompt)])


def test_an_empty_clip_is_refused_with_words(tracker: VideoTracker) -> None:
    with pytest.raises((PromptError, FrameSourceError), match=r"no frame"):
        tracker.track([], [_point(0)])


def test_a_frame_of_another_size_stops_the_clip_and_is_named(tracker: VideoTracker) -> None:
    clip = [*_clip(3), moving_shapes(1, HEIGHT + 2, WIDTH)[0]]
    with pytest.raises(FrameSourceError, match="frame 3 is 56 x 42"):
        list(tracker.track(clip, [_point(0)]))


def test_a_clip_that_breaks_off_is_still_tracked_backward(tracker: VideoTracker) -> None:
    clip = [*_clip(5), moving_shapes(1, HEIGHT + 2, WIDTH)[0], *_clip(2)]
    found = []
    with pytest.raises(FrameSourceError, match="frame 5 is 56 x 42"):
        found.extend(frame.frame for frame in tracker.track(clip, [_point(2)], "both"))
    assert found == [2, 3, 4, 1, 0]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"fill_hole_area": -1}, "fill_hole_area"),
        ({"max_cond_frames_in_attn": 1}, "max_cond_frames_in_attn"),
        ({"max_cond_frames_in_attn": 0}, "max_cond_frames_in_attn"),
        ({"memory_temporal_stride_for_eval": 0}, "memory_temporal_stride_for_eval"),
        ({"history_frames": 0}, "history_frames"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, int], name: str) -> None:
    with pytest.raises(ConfigError, match=f"TrackingConfig.{name}="):
        TrackingConfig(**settings)


def test_the_defaults_are_the_references_but_for_kept_corrections() -> None:
    assert TrackingConfig() == TrackingConfig(
        fill_hole_area=8,
        non_overlap_masks=False,
        binarize_mask_from_pts_for_mem_enc=True,
        max_cond_frames_in_attn=-1,
        memory_temporal_stride_for_eval=1,
        add_all_frames_to_correct_as_cond=True,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"memory_temporal_stride_for_eval": 2},
        {"max_cond_frames_in_attn": 2},
        {"binarize_mask_from_pts_for_mem_enc": False},
        {"stability_fallback": False},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_changes_something(model: Sam2, settings: dict[str, object]) -> None:
    prompts = [_box(f, 1) for f in (0, 1, 2)] + [_point(0, 2)]
    plain = list(VideoTracker(model).track(_clip(14), prompts))
    changed = list(VideoTracker(model, TrackingConfig(**settings)).track(_clip(14), prompts))
    assert any(
        not torch.equal(a.low_res_logits, b.low_res_logits)
        for a, b in zip(plain, changed, strict=True)
    )
