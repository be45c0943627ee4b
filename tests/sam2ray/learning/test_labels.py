"""The same masks come from every layout; what is broken says so and spoils nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_outputs import make_output
from make_labels import (
    WORLD,
    masks_of,
    pictures,
    write_coco,
    write_davis_clip,
    write_sa1b,
    write_sav_clip,
)

from sam2ray.errors import UsageError
from sam2ray.learning.labels import BadLabels, LabelSource
from sam2ray.learning.labels.opening import Mixture, kind_of, open_labels
from sam2ray.learning.train_config import Labels


def opened(kind: str, uri: Path | None) -> LabelSource:
    where = None if uri is None else str(uri)
    return open_labels(Labels.model_validate({"kind": kind, "uri": where}), {}, 96)


@pytest.mark.parametrize(("kind", "write"), [("coco", write_coco), ("sa1b", write_sa1b)])
def test_pictures_come_with_their_masks(tmp_path: Path, kind: str, write):
    made = pictures(3)
    place = write(tmp_path / "labels", made)
    assert kind_of(str(place), {}) == kind
    source = opened(kind, place)
    assert (source.pictures, source.clips) == (3, 0)
    for number, picture in enumerate(made):
        found = source.picture(number)
        np.testing.assert_array_equal(found.pixels, picture.pixels)
        np.testing.assert_array_equal(found.masks, masks_of(picture))


def test_a_clip_of_davis_comes_with_its_objects(tmp_path: Path):
    clip = WORLD.clip(2, frames=5)
    place = write_davis_clip(tmp_path, "bear", clip)
    assert kind_of(str(place), {}) == "davis"
    source = opened("davis", place)
    assert source.clips == 1
    seen = sorted(set(np.unique(clip.ids[1:4]).tolist()) - {0})
    found = source.clip(0, 3, 0.5)
    assert len(found.frames) == 3
    np.testing.assert_array_equal(found.masks, np.stack([clip[n].masks(seen) for n in range(1, 4)]))
    with source.whole_clip(0) as whole:
        assert sorted(whole.annotated) == [0, 1, 2, 3, 4]


def test_a_video_of_sav_is_labelled_on_every_fourth_frame(tmp_path: Path):
    clip = WORLD.clip(4, frames=9)
    place = write_sav_clip(tmp_path, "sav_000001", clip)
    assert kind_of(str(place), {}) == "sav"
    source = opened("sav", place)
    objects = clip[0].object_ids(16)
    found = source.clip(0, 2, 0.99)
    np.testing.assert_array_equal(found.masks, np.stack([clip[n].masks(objects) for n in (4, 8)]))
    difference = np.abs(found.frames[0].astype(int) - clip.frames[4].astype(int)).mean()
    assert difference < np.abs(clip.frames[0].astype(int) - clip.frames[4].astype(int)).mean()
    with source.whole_clip(0) as whole:
        assert sorted(whole.annotated) == [0, 4, 8]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c["annotations"][0].pop("segmentation"), "has no segmentation"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2]]), "is no polygon"),
        (lambda c: c["images"][0].pop("file_name"), "has no file_name"),
        (lambda c: c["images"][0].update(file_name="gone.png"), "gone.png"),
        (lambda c: c["images"][0].update(file_name="../" * 40 + "etc"), "labels.*it leaves /"),
        (lambda c: c["images"][0].update(file_name="/etc"), "labels.*/etc is no regular file"),
        (lambda c: c["annotations"][0]["segmentation"].update(size=[5, 5]), "5 x 5 pixels"),
    ],
)
def test_a_bad_annotation_costs_its_picture_alone(tmp_path: Path, damage, words: str):
    place = write_coco(tmp_path / "labels", pictures(2))
    content = json.loads(place.read_text())
    damage(content)
    place.write_text(json.dumps(content))
    source = opened("coco", place)
    with pytest.raises(BadLabels, match=words):
        source.picture(0)
    np.testing.assert_array_equal(source.picture(1).masks, masks_of(pictures(2)[1]))
    mixture = Mixture([source], [1.0], seed=0)
    reached = [mixture.picture(number) for number in range(12)]
    assert any(skipped for _, skipped in reached)
    for labelled, _ in reached:
        np.testing.assert_array_equal(labelled.pixels, pictures(2)[1].pixels)


def test_labels_that_are_not_there_are_refused_at_once(tmp_path: Path):
    for kind in ("coco", "sa1b", "sav", "davis", "masks"):
        with pytest.raises(UsageError):
            opened(kind, tmp_path / "nothing.json")
    with pytest.raises(UsageError, match="clips"):
        Mixture([opened("coco", write_coco(tmp_path, pictures(1)))], [1.0], 0).require("clips")


def test_shares_say_how_often_a_source_is_drawn(tmp_path: Path):
    coco = opened("coco", write_coco(tmp_path, pictures(1)))
    mixture = Mixture([coco, opened("world", None)], [3.0, 1.0], seed=1)
    drawn = [mixture.picture(number)[0].pixels for number in range(60)]
    own = sum(bool((pixels == pictures(1)[0].pixels).all()) for pixels in drawn)
    assert 35 <= own <= 55
    again = [mixture.picture(number)[0].pixels for number in range(5)]
    assert all((one == other).all() for one, other in zip(drawn, again, strict=False))


def test_the_pictures_of_an_output_are_those_with_masks(tmp_path: Path):
    output = make_output(tmp_path / "out")
    place = output.store.uri
    assert kind_of(place, {}) == "masks"
    source = opened("masks", Path(place))
    assert source.pictures == 4  # of six one failed, and one has no masks
    with pytest.raises(BadLabels):  # its pictures are made up: they lie nowhere
        source.picture(0)
