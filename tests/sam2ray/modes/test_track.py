"""Prompted objects through clips: rows are what the core's tracker says by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from label_bench import masks_of
from make_archive import box_mask, rle
from make_clip import moving_shapes
from small_models import lively_model

from sam2_core import FramePrompt, FrameSourceError, Prompt, TrackingConfig, VideoTracker
from sam2_core.inference.frame_sources import PictureList
from sam2ray.errors import UnitFailed
from sam2ray.modes.clips import ClipOver, FrameRows, OpenClip
from sam2ray.modes.track import TrackPrompts, labels_of
from sam2ray.readers.prompts import parse_prompts
from sam2ray.records import ErrorClass
from sam2ray.stages.sampling import Sample

SIZE_HW = (40, 56)
MASK = box_mask(*SIZE_HW, (13, 9, 35, 27))
POINT = {"object_id": 7, "points": [[26, 17]], "label": "cat", "prompt_id": "a"}
BOX = {"object_id": 2, "box": [9, 7, 39, 31]}
GIVEN = {"object_id": 5, "mask": rle(MASK), "label": "dog"}


def tracker() -> VideoTracker:
    return VideoTracker(lively_model(96, seed=1), TrackingConfig(max_cond_frames_in_attn=8))


def mode(direction: str = "forward", max_objects: int = 64) -> TrackPrompts:
    return TrackPrompts(tracker(), direction, max_objects)


def clip_of(*prompts: dict, frames: int = 8, step: int = 1, seed: int = 0) -> OpenClip:
    numbers = range(0, frames * step, step)
    return OpenClip(
        f"clip {seed}",
        "/in/clip",
        PictureList(moving_shapes(frames, *SIZE_HW, seed)),
        Sample(numbers, True),
        lambda number: number / 25,
        parse_prompts(json.dumps([{"frame": 0} | prompt for prompt in prompts]), SIZE_HW),
    )


def rows_of(events, clip: OpenClip) -> list[dict]:
    return [
        row
        for event in events
        if isinstance(event, FrameRows) and event.clip is clip
        for row in event.to_rows().to_pylist()
    ]


def end_of(events, clip: OpenClip) -> Exception | None:
    (end,) = [event for event in events if isinstance(event, ClipOver) and event.clip is clip]
    return end.error


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_rows_are_the_seen_objects_of_every_tracked_frame(direction):
    clip = clip_of(POINT | {"frame": 3}, BOX | {"frame": 2}, GIVEN | {"frame": 4})
    events = list(mode(direction).label(iter([clip]), lanes=2))
    by_hand = [
        FramePrompt(3, 7, Prompt([(26, 17)], [1])),
        FramePrompt(2, 2, Prompt(box=(9, 7, 39, 31))),
        FramePrompt(4, 5, Prompt(mask=MASK)),
    ]
    expected, masks = [], []
    tracked_frames = list(tracker().track(clip.frames, by_hand, direction))
    for tracked in tracked_frames:
        for n, object_id in enumerate(tracked.object_ids):
            if tracked.masks[n].any():
                expected.append(
                    (
                        tracked.frame,
                        tracked.frame / 25,
                        object_id,
                        pytest.approx(tracked.object_score[n].item()),
                        pytest.approx(tracked.predicted_iou[n].item()),
                        {7: "cat", 5: "dog"}.get(object_id),
                        {7: "a"}.get(object_id),
                    )
                )
                masks.append(tracked.masks[n].numpy())
    columns = ["frame_index", "timestamp_s", "object_id", "object_score", "predicted_iou"]
    columns += ["label", "prompt_id"]
    rows = rows_of(events, clip)
    assert [tuple(row[name] for name in columns) for row in rows] == expected
    assert 0 < len(rows) < 3 * len(tracked_frames), "some are seen, and some are not"
    tables = [event.to_rows() for event in events if isinstance(event, FrameRows)]
    assert len(tables) == len(tracked_frames), "each frame is heard of, seen or not"
    assert np.array_equal(np.concatenate([masks_of(t) for t in tables if len(t)]), masks)
    assert [row["area"] for row in rows] == [int(mask.sum()) for mask in masks]
    assert end_of(events, clip) is None


def test_frames_of_a_sample_keep_their_own_numbers():
    clip = clip_of(GIVEN | {"frame": 10}, step=5)
    events = list(mode().label(iter([clip]), lanes=1))
    by_hand = tracker().track(clip.frames, [FramePrompt(2, 5, Prompt(mask=MASK))])
    seen = [tracked.frame * 5 for tracked in by_hand if tracked.masks.any()]
    assert [row["frame_index"] for row in rows_of(events, clip)] == seen
    assert seen[0] == 10


def test_clips_side_by_side_are_as_each_alone():
    clips = [clip_of(GIVEN, BOX, seed=seed, frames=3 + seed) for seed in range(4)]
    together = list(mode().label(iter(clips), lanes=2))
    for clip in clips:
        alone = list(mode().label(iter([clip]), lanes=1))
        for one, other in zip(rows_of(together, clip), rows_of(alone, clip), strict=True):
            assert one["rle_counts"] == other["rle_counts"]
            assert (one["frame_index"], one["object_id"]) == (
                other["frame_index"],
                other["object_id"],
            )


def test_an_object_with_several_prompts_is_called_by_its_first():
    prompts = parse_prompts(
        json.dumps(
            [
                {"frame": 4, "object_id": 1, "points": [[1, 1]], "label": "x", "prompt_id": "late"},
                {"frame": 0, "object_id": 1, "points": [[1, 1]], "prompt_id": "early"},
                {"frame": 0, "object_id": 2, "points": [[1, 1]]},
            ]
        ),
        SIZE_HW,
    )
    assert labels_of(prompts) == {1: ("x", "late"), 2: (None, None)}


def test_a_clip_with_too_many_objects_is_refused_and_the_others_are_tracked():
    crowded = clip_of(POINT, BOX, GIVEN)
    fine = clip_of(GIVEN, seed=1)
    for clips in ([crowded, fine], [fine, crowded], [crowded, crowded, fine]):
        events = list(mode(max_objects=2).label(iter(clips), lanes=2))
        errors = [e.error for e in events if isinstance(e, ClipOver) and e.clip is crowded]
        assert len(errors) == clips.count(crowded)
        for error in errors:
            assert isinstance(error, UnitFailed)
            assert error.error_class is ErrorClass.BAD_PROMPT
            assert "tracking.max_objects=2" in error.message
        assert end_of(events, fine) is None
        assert rows_of(events, fine)


def test_a_clip_that_breaks_off_ends_alone_behind_what_can_be_tracked():
    class Breaking(PictureList):
        def fetch(self, indices):
            yield from super().fetch(indices[:4])
            if len(indices) > 1:
                raise FrameSourceError("gone")

    broken = clip_of(GIVEN, seed=2)
    broken = replace(broken, frames=Breaking(moving_shapes(8, *SIZE_HW, 2)))
    whole = clip_of(GIVEN, seed=1)
    events = list(mode().label(iter([broken, whole]), lanes=2))
    assert str(end_of(events, broken)) == "gone"
    assert end_of(events, whole) is None
    count = sum(isinstance(e, FrameRows) and e.clip is broken for e in events)
    assert count == 4
