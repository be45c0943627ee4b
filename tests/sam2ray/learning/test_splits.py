"""What is held out is learned from by nobody, and the two sides together are everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from make_labels import WORLD, pictures, write_coco, write_davis_clip
from PIL import Image

from sam2_core.learning.world import LabelledClip
from sam2ray.errors import UsageError
from sam2ray.learning.labels.class_opening import open_classes
from sam2ray.learning.labels.opening import open_labels
from sam2ray.learning.labels.splits import Split
from sam2ray.learning.train_config import Head, Labels, TrainConfig


@pytest.mark.parametrize("every", [2, 3, 10])
def test_two_sides_are_everything_once_and_stay_when_others_come(every: int):
    names = [f"{number}.jpg" for number in range(1000)]
    sides = [Split(every, held_out) for held_out in (False, True)]
    learned, held = ({names[n] for n in side.numbers(names)} for side in sides)
    assert learned | held == {*names}
    assert not learned & held
    assert abs(len(held) - 1000 / every) < 4 * (1000 / every) ** 0.5
    others = ["new", *names[::3], "another"]
    assert {others[n] for n in sides[1].numbers(others)} - {"new", "another"} == held & {*others}


def test_pictures_that_are_held_out_are_learned_from_by_nobody(tmp_path: Path):
    place = write_coco(tmp_path, pictures(5))
    told = {"kind": "coco", "uri": str(place), "hold_out_every": 2}
    sides = [
        open_labels(Labels.model_validate({**told, "held_out": held}), {}, 96)
        for held in (False, True)
    ]
    seen = [{side.picture(n).pixels.tobytes() for n in range(side.pictures or 0)} for side in sides]
    assert seen[0] | seen[1] == {made.pixels.tobytes() for made in pictures(5)}
    assert not seen[0] & seen[1]
    assert all(seen)


def test_frames_of_clips_are_pictures_and_a_clip_is_on_one_side(tmp_path: Path):
    clips = {name: WORLD.clip(number, frames=9) for number, name in enumerate(("dog", "bee"))}
    for name, clip in clips.items():
        place = write_davis_clip(tmp_path, name, clip)
    told = {"kind": "davis", "uri": str(place)}
    both = open_labels(Labels.model_validate(told), {}, 96)
    assert both.pictures == 32
    _assert_same(both.picture(0).pixels, clips["bee"].frames[4])  # the middle of each comes first
    _assert_same(both.picture(1).pixels, clips["dog"].frames[4])
    _assert_same(both.picture(2).pixels, clips["bee"].frames[2])
    _assert_same(both.picture(5).pixels, clips["dog"].frames[6])
    for held_out in (False, True):
        side = {**told, "hold_out_every": 2, "held_out": held_out}
        kept = open_labels(Labels.model_validate(side), {}, 96)
        assert (kept.clips, kept.pictures) == (1, 16)
        near = {_clip_of(kept.picture(number).pixels, clips) for number in range(16)}
        assert near == {"bee" if held_out else "dog"}


def _clip_of(pixels: np.ndarray, clips: Mapping[str, LabelledClip]) -> str:
    def distance(name: str) -> float:
        return float(np.abs(clips[name].frames.astype(int) - pixels).mean((1, 2, 3)).min())

    return min(clips, key=distance)


def _assert_same(pixels: np.ndarray, frame: np.ndarray) -> None:
    assert np.abs(pixels.astype(int) - frame).mean() < 6  # they have been JPEGs


def test_classes_are_held_out_alike(tmp_path: Path):
    for folder in ("photos", "ids"):
        (tmp_path / folder).mkdir()
    for number, made in enumerate(pictures(5)):
        Image.fromarray(made.pixels).save(tmp_path / "photos" / f"{number}.png")
        ids = Image.fromarray((made.ids > 0).astype(np.uint8))
        ids.save(tmp_path / "ids" / f"{number}.png")
    told = {"kind": "classes", "uri": str(tmp_path / "ids"), "pictures": str(tmp_path / "photos")}
    told |= {"hold_out_every": 2, "held_out": True}
    head = Head.model_validate({"classes": ["ground", "thing"], "ground": "ground"})
    source = open_classes(Labels.model_validate(told), head, {}, 96)
    names = [f"{number}.png" for number in range(5)]
    kept = Split(2, True).numbers(names)
    assert source.pictures == len(kept) > 0
    for place, number in enumerate(kept):
        np.testing.assert_array_equal(source.picture(place).pixels, pictures(5)[number].pixels)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"kind": "world", "hold_out_every": 5}, "leave hold_out_every out"),
        ({"kind": "coco", "uri": "x", "held_out": True}, "held_out needs hold_out_every"),
        ({"kind": "coco", "uri": "x", "hold_out_every": 1}, "greater than or equal to 2"),
    ],
)
def test_splits_that_make_no_sense_are_refused(told: dict, words: str):
    with pytest.raises(ValueError, match=words):
        Labels.model_validate(told)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        ("coco", {"seed": 3}),
        ("coco", {"min_score": 0.5}),
        ("sa1b", {"categories": {"a": "b"}}),
        ("classes", {"min_area": 100}),
        ("world", {"pictures": "x"}),
    ],
)
def test_settings_that_mean_nothing_for_a_kind_are_refused(kind: str, setting: dict):
    told = {"kind": kind, "uri": None if kind == "world" else "x", **setting}
    with pytest.raises(ValueError, match=rf"{next(iter(setting))} means nothing for kind={kind}"):
        Labels.model_validate(told)


def test_a_side_with_nothing_on_it_is_refused(tmp_path: Path):
    place = write_coco(tmp_path, pictures(3))
    told = {"kind": "coco", "uri": str(place), "hold_out_every": 10**9, "held_out": True}
    with pytest.raises(UsageError, match=r"=1000000000 leaves none of 3 to examine by: a smaller"):
        open_labels(Labels.model_validate(told), {}, 96)


def test_a_training_is_examined_by_what_its_labels_hold_out():
    told = {
        "output": "out",
        "labels": [{"kind": "coco", "uri": "x"}, {"kind": "sa1b", "uri": "y", "hold_out_every": 7}],
        "stages": [{"name": "s", "learn": "pictures", "steps": 1}],
    }
    kept = TrainConfig.model_validate(told).examined
    assert kept is not None
    assert (kept.uri, kept.hold_out_every, kept.held_out) == ("y", 7, True)
    named = TrainConfig.model_validate({**told, "examination": {"labels": {"kind": "world"}}})
    assert named.examined == Labels(kind="world")
    del told["labels"][1]
    assert TrainConfig.model_validate(told).examined is None
