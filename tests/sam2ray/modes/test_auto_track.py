"""Found objects through clips: a session driven by hand says the same; memory stays a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from label_bench import masks_of
from make_clip import moving_shapes
from small_models import lively_model

from ops import concatenate_runs, encode_run_lengths
from sam2_core import (
    AutoMaskConfig,
    FramePrompt,
    FrameSourceError,
    MaskGenerator,
    Prompt,
    Sam2,
    TrackingConfig,
    VideoTracker,
    resize_picture,
)
from sam2_core.inference.frame_sources import PictureList
from sam2ray.modes import auto_track
from sam2ray.modes.auto_track import DiscoverObjects
from sam2ray.modes.clips import ClipOver, FrameRows, OpenClip
from sam2ray.modes.discovery import DiscoveryRules, choose_new
from sam2ray.stages.sampling import Sample

SIZE_HW = (40, 56)
SIDE = 64
TRACKING = TrackingConfig(max_cond_frames_in_attn=8)
# Lively weights find much the same everywhere, and all of it matters here.
FIND_ALL = AutoMaskConfig(
    points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0
)


def model() -> Sam2:
    return lively_model(SIDE, seed=1, object_lift=0.1)  # its objects come and go


def mode(every: int = 4, gone_after: int = 300, most: int = 64, below: float = 0.5):
    rules = DiscoveryRules(
        key_every_frames=every,
        new_below_iou=below,
        retire_after_absent_frames=gone_after,
        max_objects=most,
    )
    return DiscoverObjects(model(), MaskGenerator(model(), FIND_ALL), TRACKING, rules)


def clip_of(pictures: Sequence, name: str = "clip", step: int = 1) -> OpenClip:
    numbers = range(0, len(pictures) * step, step)
    return OpenClip(
        name, f"/in/{name}", PictureList(pictures), Sample(numbers, True), lambda n: n / 25
    )


def pictures(count: int = 10, seed: int = 0) -> list[np.ndarray]:
    return moving_shapes(count, *SIZE_HW, seed)


def labelled(labeller: DiscoverObjects, *clips: OpenClip) -> list:
    return list(labeller.label(iter(clips), lanes=2))


def tables(events) -> list:
    return [event.to_rows() for event in events if isinstance(event, FrameRows)]


def seen(events) -> list[list[int]]:
    """Who is seen on each frame."""
    return [table["object_id"].to_pylist() for table in tables(events)]


def by_hand(labeller: DiscoverObjects, frames: Sequence) -> list[dict[int, np.ndarray]]:
    """The same with a session that somebody steers frame by frame: masks by object."""
    rules = labeller.rules
    session = VideoTracker(labeller.model, TRACKING).session(list(frames))
    absent: dict[int, int] = {}
    next_id, shown = 1, []
    for position, picture in enumerate(frames):
        masks = step(session, position)
        room = rules.max_objects - len(masks)
        if rules.is_key(position) and room > 0:
            (found,) = labeller.generator.generate([picture])
            known = torch.from_numpy(np.array([*masks.values()]).reshape(-1, *SIZE_HW))
            new = choose_new(
                concatenate_runs([mask.run_lengths() for mask in found]),
                [mask.predicted_iou for mask in found],
                encode_run_lengths(known.bool()),
                below_iou=rules.new_below_iou,
                room=room,
            )
            for place in new:
                prompt = Prompt(mask=found[place].decode())
                session.prompt(FramePrompt(position, next_id, prompt))
                next_id += 1
            masks = step(session, position)
        shown.append({object_id: mask for object_id, mask in masks.items() if mask.any()})
        for object_id, mask in masks.items():
            absent[object_id] = 0 if mask.any() else absent.get(object_id, 0) + 1
            if rules.is_gone(absent[object_id]):
                session.remove(object_id)
    return shown


def step(session, position: int) -> dict[int, np.ndarray]:
    if not session.object_ids:
        return {}
    (tracked,) = session.propagate(start=position, max_frames=1)
    return dict(zip(tracked.object_ids, tracked.masks.numpy(), strict=True))


@pytest.mark.parametrize(
    "labeller",
    [mode(), mode(every=1, most=5), mode(every=3, gone_after=2), mode(every=100), mode(below=0.2)],
    ids=["usual", "always", "forgetful", "once", "strict"],
)
def test_rows_are_what_a_session_says_that_is_steered_by_hand(labeller):
    frames = pictures()
    events = labelled(labeller, clip_of(frames))
    expected = by_hand(labeller, frames)
    assert [sorted(ids) for ids in seen(events)] == [sorted(masks) for masks in expected]
    assert sum(map(len, expected)) > 10
    for table, masks in zip(tables(events), expected, strict=True):
        for object_id, mask in zip(table["object_id"].to_pylist(), masks_of(table), strict=True):
            assert (mask != masks[object_id]).mean() < 0.001
    assert isinstance(events[-1], ClipOver)
    assert events[-1].error is None


def test_rows_say_where_and_how_sure():
    (first, *others) = tables(labelled(mode(), clip_of(pictures(3), step=5)))
    generator = MaskGenerator(model(), FIND_ALL)
    (found,) = generator.generate([pictures(3)[0]])
    best = max(mask.predicted_iou for mask in found)
    (row, *_) = first.to_pylist()
    assert (row["frame_index"], row["timestamp_s"], row["object_id"]) == (0, 0.0, 1)
    assert row["predicted_iou"] == pytest.approx(best), "as found, the best one first"
    assert {table["frame_index"][0].as_py() for table in others} <= {5, 10}
    assert row["label"] is None
    assert row["object_score"] is not None


def test_objects_have_numbers_of_their_own_that_are_never_used_again():
    events = labelled(mode(every=2, gone_after=1, most=4), clip_of(pictures(12)))
    first_seen: dict[int, int] = {}
    last_seen: dict[int, int] = {}
    for position, ids in enumerate(seen(events)):
        assert len(ids) == len(set(ids)) <= 4
        for object_id in ids:
            first_seen.setdefault(object_id, position)
            assert last_seen.get(object_id, position) >= position - 1, "gone is gone"
            last_seen[object_id] = position
    assert max(first_seen) > 4
    assert list(first_seen) == sorted(first_seen)
    assert all(position % 2 == 0 for position in first_seen.values()), "found on key frames"


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many frames each followed object remembers, step by step."""
    steps: list[list[int]] = []
    follow_memory = auto_track.follow_memory

    def follow(model, embedding, recalls, config):
        steps.append([len(recall.bank.features) for recall in recalls])
        return follow_memory(model, embedding, recalls, config)

    monkeypatch.setattr(auto_track, "follow_memory", follow)
    return steps


def test_never_more_objects_than_the_limit_are_followed(followed):
    labelled(mode(every=1, most=3), clip_of(pictures(8)))
    assert max(map(len, followed)) == 3


def test_memory_does_not_grow_with_the_clip(followed):
    labelled(mode(every=5, most=3), clip_of(pictures(30)))
    ring = TRACKING.rules(model().config).max_memories - 1
    assert max(map(max, followed)) == ring + 1, "the ring, and the frame an object was found on"


def test_what_is_not_seen_for_so_long_makes_room_for_others():
    labeller = mode(every=2, gone_after=2, most=2)
    events = labelled(labeller, clip_of(pictures(16)))
    assert max(object_id for ids in seen(events) for object_id in ids) > 2


def test_clips_do_not_know_of_each_other():
    clips = [clip_of(pictures(6, seed), f"clip {seed}") for seed in range(2)]
    together = labelled(mode(), *clips)
    for clip in clips:
        alone = labelled(mode(), clip)
        own = [event for event in together if event.clip is clip]
        assert seen(own) == seen(alone)
        for beside, by_itself in zip(tables(own), tables(alone), strict=True):
            for one, other in zip(masks_of(beside), masks_of(by_itself), strict=True):
                assert (one != other).mean() < 0.001


def test_all_objects_of_all_clips_are_one_batch(followed):
    clips = [clip_of(pictures(4, seed), f"clip {seed}") for seed in range(2)]
    labelled(mode(every=100, most=3), *clips)
    assert [len(step) for step in followed] == [6, 6, 6]


def test_a_free_lane_takes_the_next_clip():
    clips = [clip_of(pictures(count), f"{count}") for count in (2, 6, 3)]
    events = labelled(mode(every=100), *clips)
    order = [event.clip.unit_id for event in events if isinstance(event, FrameRows)]
    assert order[:4] == ["2", "6"] * 2
    assert set(order[4:6]) == {"3", "6"}
    assert [event.clip.unit_id for event in events if isinstance(event, ClipOver)] == [
        "2",
        "3",
        "6",
    ]


def test_who_is_to_blame_for_a_failed_batch_ends_alone(monkeypatch):
    def follow(model, embedding, recalls, config, through=auto_track.follow_memory):
        if any(recall.reach == 3 for recall in recalls):
            raise ZeroDivisionError("a bug")
        return through(model, embedding, recalls, config)

    monkeypatch.setattr(auto_track, "follow_memory", follow)
    clips = [clip_of(pictures(count), f"{count}") for count in (3, 5)]
    ends = {e.clip.unit_id: e.error for e in labelled(mode(), *clips) if isinstance(e, ClipOver)}
    assert isinstance(ends["3"], ZeroDivisionError)
    assert ends["5"] is None


def test_pictures_that_were_resized_are_followed_at_their_own_size():
    resized = [resize_picture(picture, SIDE, rounded=True) for picture in pictures(5)]
    found = tables(labelled(mode(), clip_of(resized)))
    assert {(row["height"], row["width"]) for t in found for row in t.to_pylist()} == {SIZE_HW}


def test_frames_without_objects_are_not_encoded(monkeypatch):
    nothing = MaskGenerator(model(), AutoMaskConfig(points_per_side=2, pred_iou_thresh=1.0))
    encoded = []
    embed_images = Sam2.embed_images

    def embed(self, pixels):
        encoded.append(len(pixels))
        return embed_images(self, pixels)

    monkeypatch.setattr(Sam2, "embed_images", embed)
    events = labelled(replace(mode(every=3), generator=nothing), clip_of(pictures(7)))
    assert seen(events) == [[]] * 7
    assert encoded == [1, 1, 1], "once for each key frame, to look for masks"


class Breaking(PictureList):
    def fetch(self, indices):
        yield from super().fetch(indices[:5])
        raise FrameSourceError("gone")


def test_a_clip_that_breaks_off_gives_what_came_before_and_says_so():
    broken = replace(clip_of(pictures(8)), frames=Breaking(pictures(8)))
    whole = clip_of(pictures(3), "whole")
    events = labelled(mode(), broken, whole)
    ends = [event for event in events if isinstance(event, ClipOver)]
    assert {end.clip.unit_id: str(end.error) for end in ends} == {"clip": "gone", "whole": "None"}
    assert sum(event.clip is broken for event in events) == 5 + 1


class Failing(MaskGenerator):
    """Finds nothing but an error."""

    error: Exception

    def find(self, images):
        raise self.error


def failing(error: Exception) -> DiscoverObjects:
    generator = Failing(model(), FIND_ALL)
    generator.error = error
    return replace(mode(), generator=generator)


def test_a_fault_is_its_own_clips():
    error = ZeroDivisionError("a bug")
    ends = labelled(failing(error), clip_of(pictures(3)), clip_of(pictures(3), "next"))
    assert [end.error for end in ends] == [error, error]


def test_a_broken_device_is_no_clips_own_fault():
    with pytest.raises(RuntimeError, match="CUDA"):
        labelled(failing(RuntimeError("CUDA error: device-side assert")), clip_of(pictures(3)))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("much"), MemoryError("much")])
def test_a_lack_of_memory_ends_a_clip_only_where_it_is_alone(error):
    labeller = failing(error)
    with pytest.raises(type(error)):
        labelled(labeller, clip_of(pictures(3)), clip_of(pictures(3), "next"))
    (end,) = labelled(labeller, clip_of(pictures(3)))
    assert end.error is error


@pytest.mark.parametrize("lanes", [1, 2])
def test_objects_that_cannot_be_followed_for_lack_of_memory_are_as_those_not_found(
    monkeypatch, lanes
):
    error = torch.OutOfMemoryError("much")

    def follow(model, embedding, recalls, config):
        raise error

    monkeypatch.setattr(auto_track, "follow_memory", follow)
    events = mode().label(iter([clip_of(pictures(3), f"{n}") for n in range(lanes)]), lanes)
    if lanes > 1:
        with pytest.raises(torch.OutOfMemoryError):
            list(events)
    else:
        assert next(e.error for e in events if isinstance(e, ClipOver)) is error
