"""Frames of videos as single pictures: rows are what the core says of each frame by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from label_bench import masks_of
from make_clip import moving_shapes
from small_models import lively_model

from sam2_core import (
    AutoMaskConfig,
    FrameSourceError,
    ImageSegmenter,
    MaskGenerator,
    Prompt,
    ResizedPicture,
    resize_picture,
)
from sam2_core.inference.frame_sources import PictureList
from sam2ray.modes.clips import ClipOver, FrameByFrame, FrameRows, OpenClip, take
from sam2ray.modes.pictures import AllMasks, Embeddings, PictureItem, PromptedMasks
from sam2ray.readers.prompts import parse_prompts
from sam2ray.sinks.result_files import MASKS
from sam2ray.stages.sampling import Sample

SIZE_HW = (40, 56)
SIDE = 64


def frames(count: int = 6, seed: int = 0) -> list[np.ndarray]:
    return moving_shapes(count, *SIZE_HW, seed)


def clip_of(pictures: Sequence, name: str = "clip", step: int = 1, prompts=()) -> OpenClip:
    """A clip of every so many frames of a longer one."""
    numbers = range(0, len(pictures) * step, step)
    return OpenClip(
        name, f"/in/{name}", PictureList(pictures), Sample(numbers, True), at_25, prompts
    )


def at_25(number: int) -> float:
    return number / 25


def prompts_for(*fields: dict):
    return parse_prompts(json.dumps(list(fields)), SIZE_HW)


def rows_by_frame(events) -> dict[int, list]:
    """Tables with rows, by the frame that they say."""
    tables = [
        event.to_rows() for event in events if isinstance(event, FrameRows) and len(event.to_rows())
    ]
    return {table["frame_index"][0].as_py(): table for table in tables}


def test_all_masks_of_sampled_frames_are_those_of_each_frame_alone():
    generator = MaskGenerator(
        lively_model(SIDE),
        AutoMaskConfig(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0),
    )
    pictures = frames(5)
    mode = FrameByFrame(AllMasks(generator), batch=2)
    events = list(mode.label(iter([clip_of(pictures, step=3)]), lanes=4))
    assert [type(event) for event in events] == [FrameRows] * 5 + [ClipOver]
    found = rows_by_frame(events)
    assert list(found) == [0, 3, 6, 9, 12]
    for number, picture in zip(found, pictures, strict=True):
        (by_hand,) = generator.generate([picture])
        rows = found[number].to_pylist()
        assert [row["rle_counts"] for row in rows] == [mask.rle["counts"] for mask in by_hand]
        assert [row["stability_score"] for row in rows] == pytest.approx(
            [mask.stability_score for mask in by_hand]
        )
        assert {row["object_id"] for row in rows} == {None}
        assert {row["timestamp_s"] for row in rows} == {number / 25}
        assert {(row["height"], row["width"]) for row in rows} == {SIZE_HW}


@pytest.mark.parametrize("resized", [False, True])
def test_embeddings_of_sampled_frames_are_those_of_each_frame_alone(resized):
    segmenter = ImageSegmenter(lively_model(SIDE))
    pictures = frames(5)
    if resized:
        pictures = [resize_picture(picture, SIDE, rounded=True) for picture in pictures]
        assert isinstance(pictures[0], ResizedPicture)
    mode = FrameByFrame(Embeddings(segmenter), batch=3)
    found = rows_by_frame(mode.label(iter([clip_of(pictures)]), lanes=1))
    assert list(found) == [0, 1, 2, 3, 4]
    for number, picture in enumerate(pictures):
        (row,) = found[number].to_pylist()
        by_hand = segmenter.embed([picture]).embedding.coarse_BPC[0]
        assert row["shape"] == [4, 4, by_hand.shape[1]]
        assert (row["height"], row["width"]) == SIZE_HW
        assert np.allclose(row["embedding"], by_hand.flatten().numpy(), atol=2e-3)


def test_prompts_apply_to_their_own_frame_alone():
    segmenter = ImageSegmenter(lively_model(SIDE))
    pictures = frames(3)
    asked = prompts_for(
        {"frame": 2, "object_id": 1, "points": [[26, 17]], "label": "cat", "prompt_id": "a"},
        {"frame": 0, "object_id": 2, "box": [9, 7, 39, 31]},
        {"frame": 2, "object_id": 3, "points": [[5, 5]]},
    )
    mode = FrameByFrame(PromptedMasks(segmenter, True, True), batch=8, choice="prompted")
    found = rows_by_frame(mode.label(iter([clip_of(pictures, prompts=asked)]), lanes=1))
    assert {number: rows["object_id"].to_pylist() for number, rows in found.items()} == {
        0: [2],
        2: [1, 3],
    }
    assert found[2]["label"].to_pylist() == ["cat", None]
    assert found[2]["prompt_id"].to_pylist() == ["a", None]
    (answer,) = segmenter.segment([pictures[2]], [[Prompt([(26, 17)], [1]), Prompt([(5, 5)], [1])]])
    best = answer.predicted_iou.argmax(1)
    by_hand = answer.masks[torch.arange(2), best].numpy()
    assert np.array_equal(masks_of(found[2]), by_hand)


def test_clips_take_turns_and_a_free_lane_takes_the_next():
    mode = FrameByFrame(Embeddings(ImageSegmenter(lively_model(SIDE))), batch=2)
    clips = [clip_of(frames(n), str(n)) for n in (5, 2, 1, 4)]
    events = list(mode.label(iter(clips), lanes=2))
    begun = [event.clip.unit_id for event in events if isinstance(event, FrameRows)]
    assert begun[:4] == ["5", "5", "2", "2"]
    assert {name: begun.count(name) for name in begun} == {"5": 5, "2": 2, "1": 1, "4": 4}
    ends = [event.clip.unit_id for event in events if isinstance(event, ClipOver)]
    assert ends == ["2", "5", "1", "4"] or sorted(ends) == ["1", "2", "4", "5"]
    for name in ("5", "2", "1", "4"):
        rows = [
            event.to_rows()["frame_index"][0].as_py()
            for event in events
            if isinstance(event, FrameRows) and event.clip.unit_id == name
        ]
        assert rows == list(range(int(name)))


class Breaking(PictureList):
    """Breaks off in the middle."""

    def fetch(self, indices):
        yield from super().fetch(indices[:3])
        raise FrameSourceError("gone")


class Losing(PictureList):
    """Knows that something is missing behind its end."""

    def loss(self) -> str:
        return "cut off"


@pytest.mark.parametrize(("kind", "given"), [(Breaking, 3), (Losing, 4)])
def test_a_clip_that_breaks_off_gives_what_came_before_and_says_so(kind, given):
    mode = FrameByFrame(Embeddings(ImageSegmenter(lively_model(SIDE))), batch=2)
    broken = clip_of(frames(4), "broken")
    broken = OpenClip(
        "broken", "/in/broken", kind(frames(4)), broken.sample, broken.seconds, broken.prompts
    )
    events = list(mode.label(iter([broken, clip_of(frames(3), "whole")]), lanes=2))
    ends = {event.clip.unit_id: event.error for event in events if isinstance(event, ClipOver)}
    assert isinstance(ends["broken"], FrameSourceError)
    assert ends["whole"] is None
    counts = [event.clip.unit_id for event in events if isinstance(event, FrameRows)]
    assert (counts.count("broken"), counts.count("whole")) == (given, 3)


class Limited:
    """A mode of pictures that cannot do more than so many at once, or one that is cursed."""

    folder = MASKS

    def __init__(self, most: int = 99, cursed: int | None = None) -> None:
        self.inner = Embeddings(ImageSegmenter(lively_model(SIDE)))
        self.most, self.cursed = most, cursed

    def look_at(self, items: Sequence[PictureItem]):
        if len(items) > self.most:
            raise torch.OutOfMemoryError("too many")
        if any(item.place.frame_index == self.cursed for item in items):
            raise ZeroDivisionError("a bug")
        return self.inner.look_at(items)


def test_a_batch_that_needs_too_much_memory_is_halved():
    mode = FrameByFrame(Limited(most=2), batch=7)
    found = rows_by_frame(mode.label(iter([clip_of(frames(7))]), lanes=1))
    assert list(found) == list(range(7))


def test_a_frame_that_cannot_be_done_ends_its_own_clip():
    mode = FrameByFrame(Limited(most=0), batch=2)
    (over,) = mode.label(iter([clip_of(frames(2))]), lanes=1)
    assert isinstance(over.error, torch.OutOfMemoryError)
    mode = FrameByFrame(Limited(cursed=3), batch=2)
    events = list(mode.label(iter([clip_of(frames(4), "a"), clip_of(frames(3), "b")]), lanes=2))
    ends = {event.clip.unit_id: event.error for event in events if isinstance(event, ClipOver)}
    assert isinstance(ends["a"], ZeroDivisionError)
    assert ends["b"] is None


def test_a_broken_device_is_nobodys_own_fault():
    class Broken(Limited):
        def look_at(self, items):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="CUDA"):
        list(FrameByFrame(Broken(), batch=2).label(iter([clip_of(frames(2))]), lanes=1))


def test_some_of_what_comes_next_is_taken_with_the_error_behind_it():
    def numbers():
        yield 1
        yield 2
        raise FrameSourceError("gone")

    source = numbers()
    assert take(source, 1) == ([1], None)
    taken, error = take(source, 5)
    assert (taken, str(error)) == ([2], "gone")
    assert take(source, 5) == ([], None)
