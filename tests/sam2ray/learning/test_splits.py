"""What is held out is learned from by nobody, and the two sides together are everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from make_labels import WORLD, pictures, write_coco, write_davis_clip
from PIL import Image

from sam2ray.errors import UsageError
from sam2ray.learning.labels.class_opening import open_classes
from sam2ray.learning.labels.opening import open_labels
from sam2ray.learning.labels.splits import Split
from sam2ray.learning.train_config import Head, Labels, TrainConfig


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11, 97])
@pytest.mark.parametrize("every", [2, 3, 10])
def test_two_sides_are_everything_once(count: int, every: int):
    sides = [Split(every, held_out) for held_out in (False, True)]
    numbers = [[side.number(n) for n in range(side.count(count) or 0)] for side in sides]
    assert sorted(numbers[0] + numbers[1]) == [*range(count)]
    assert numbers[1] == [*range(every - 1, count, every)]


def test_pictures_that_are_held_out_are_learned_from_by_nobody(tmp_path: Path):
    place = write_coco(tmp_path, pictures(5))
    told = {"kind": "coco", "uri": str(place), "hold_out_every": 2}
    sides = [
        open_labels(Labels.model_validate({**told, "held_out": held}), {}, 96)
        for held in (False, True)
    ]
    assert [side.pictures for side in sides] == [3, 2]
    seen = [[side.picture(n).pixels for n in range(side.pictures or 0)] for side in sides]
    for place_of, made in enumerate(pictures(5)):
        side, number = place_of % 2, place_of // 2
        np.testing.assert_array_equal(seen[side][number], made.pixels)


def test_frames_of_clips_are_pictures_and_a_clip_is_on_one_side(tmp_path: Path):
    clips = {name: WORLD.clip(number, frames=9) for number, name in enumerate(("ant", "bee"))}
    for name, clip in clips.items():
        place = write_davis_clip(tmp_path, name, clip)
    told = {"kind": "davis", "uri": str(place)}
    both = open_labels(Labels.model_validate(told), {}, 96)
    assert both.pictures == 32
    _assert_same(both.picture(0).pixels, clips["ant"].frames[4])  # the middle of each comes first
    _assert_same(both.picture(1).pixels, clips["bee"].frames[4])
    _assert_same(both.picture(2).pixels, clips["ant"].frames[2])
    _assert_same(both.picture(5).pixels, clips["bee"].frames[6])
    held = Labels.model_validate({**told, "hold_out_every": 2, "held_out": True})
    kept = open_labels(held, {}, 96)
    assert kept.clips == 1
    frames = clips["bee"].frames
    for number in range(kept.pictures or 0):
        pixels = kept.picture(number).pixels.astype(int)
        assert min(np.abs(pixels - frame).mean() for frame in frames) < 6


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
    told |= {"hold_out_every": 5, "held_out": True}
    head = Head.model_validate({"classes": ["ground", "thing"], "ground": "ground"})
    source = open_classes(Labels.model_validate(told), head, {}, 96)
    assert source.pictures == 1
    np.testing.assert_array_equal(source.picture(0).pixels, pictures(5)[4].pixels)


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
    told = {"kind": "coco", "uri": str(place), "hold_out_every": 5, "held_out": True}
    with pytest.raises(UsageError, match="hold_out_every=5 of 3 leaves nothing to be examined by"):
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
