"""The same masks come from every layout; what is broken says so and spoils nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_outputs import make_output
from make_labels import (
    WORLD,
    masks_of,
    pictures,
    png_header,
    write_coco,
    write_davis_clip,
    write_sa1b,
    write_sav_clip,
    write_sav_folders,
)
from PIL import Image

from sam2_core import RELEASED, build_sam2
from sam2_core.learning.world import World
from sam2ray.errors import UsageError
from sam2ray.learning.examining import PictureScores, ask_about
from sam2ray.learning.labels import BadLabels, LabelSource
from sam2ray.learning.labels.davis_folders import DavisLabels
from sam2ray.learning.labels.labelled import LabelledImage
from sam2ray.learning.labels.opening import Mixture, kind_of, open_labels
from sam2ray.learning.labels.reading import good_masks
from sam2ray.learning.labels.sav_folders import SavFolders
from sam2ray.learning.train_config import Labels
from sam2ray.readers.prompts.rle import Rle

SMALL = dataclasses.replace(RELEASED["nano"], image_size=64)


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


def test_resolutions_of_davis_are_clips_of_their_own(tmp_path: Path):
    small, large = WORLD.clip(2, frames=3), World(31, size=128).clip(2, frames=3)
    write_davis_clip(tmp_path, "bear", small)
    place = write_davis_clip(tmp_path, "bear", large, "Full-Resolution")
    source = opened("davis", place)
    assert source.clips == 2
    sizes = {source.clip(number, 1, 0.0).frames[0].shape for number in range(2)}
    assert sizes == {(96, 96, 3), (128, 128, 3)}
    apart = {"kind": "davis", "uri": str(place / "Annotations" / "480p")}
    apart |= {"pictures": str(place / "JPEGImages" / "480p")}
    alone = open_labels(Labels.model_validate(apart), {}, 96)
    assert alone.clips == 1
    assert alone.clip(0, 3, 0.0).frames[0].shape == (96, 96, 3)
    one_of_them = apart | {"uri": str(place)}
    with pytest.raises(UsageError, match=r"480p/bear/00000\.png and .*Full-Res.*/00000\.png"):
        open_labels(Labels.model_validate(one_of_them), {}, 96)
    shutil.rmtree(place / "Annotations" / "Full-Resolution")
    assert open_labels(Labels.model_validate(one_of_them), {}, 96).clips == 1


def test_a_clip_of_sav_comes_from_a_folder_an_object_as_from_its_json(tmp_path: Path):
    made = WORLD.clip(2, frames=12)
    place = write_sav_folders(tmp_path / "folders", "sav_7", made)
    assert kind_of(str(place), {}) == "sav"
    found = opened("sav", place)
    other = opened("sav", write_sav_clip(tmp_path / "json", "sav_7", made))
    assert (found.clips, found.pictures) == (other.clips, other.pictures) == (1, 16)
    own, same = found.clip(0, 2, 0.9), other.clip(0, 2, 0.9)
    np.testing.assert_array_equal(own.masks, np.array([np.asarray(one) for one in same.masks]))
    assert np.abs(own.frames[0].astype(int) - made.frames[4]).mean() < 6
    with found.whole_clip(0) as whole:
        assert whole.frames_of == [[0, 4, 8]] * len(made[0].object_ids(16))
        assert [*whole.annotated] == [0, 4, 8]
        read = [*whole.frames.read(range(12))]  # pyright: ignore[reportAttributeAccessIssue]
        assert len(read) == 12  # all are followed
        np.testing.assert_array_equal(whole.annotated[8], made[8].masks(made[0].object_ids(16)))


def test_a_clip_of_davis_that_is_called_by_a_number_is_no_object(tmp_path: Path):
    place = write_davis_clip(tmp_path, "0001", WORLD.clip(2, frames=3))
    assert kind_of(str(place), {}) == "davis"
    assert opened("davis", place).clips == 1


def test_videos_without_a_frame_that_is_annotated_are_no_clips(tmp_path: Path):
    made = WORLD.clip(2, frames=5)
    place = write_sav_folders(tmp_path, "sav_7", made)
    write_sav_folders(tmp_path, "sav_8", made)
    for png in (place / "Annotations_6fps" / "sav_7").rglob("*.png"):
        png.rename(png.with_name(f"x{png.name}"))
    source = SavFolders.opened(str(place), None, {})
    assert [*source.clip_names()] == ["sav_8"]
    shutil.rmtree(place / "Annotations_6fps" / "sav_8")
    with pytest.raises(UsageError, match="with pictures called as its PNGs"):
        SavFolders.opened(str(place), None, {})


def test_an_object_without_a_png_of_a_frame_is_not_seen_on_it(tmp_path: Path):
    made = WORLD.clip(2, frames=9)
    place = write_sav_folders(tmp_path, "sav_7", made)
    pngs = place / "Annotations_6fps" / "sav_7"
    (pngs / "000" / "00004.png").unlink()
    (pngs / "001" / "00008.png").write_bytes(b"no picture")
    source = SavFolders.opened(str(place), None, {})
    middle = source.clip(0, 1, 0.5)
    assert not middle.masks[0][0].any()
    assert middle.masks[0][1].any()
    last, (why,) = source.clip(0, 1, 0.99), source.clip(0, 1, 0.99).left_out
    assert "001/00008.png" in why
    objects = made[0].object_ids(16)
    rest = [one for number, one in enumerate(objects) if number != 1]
    np.testing.assert_array_equal(last.masks[0], made[8].masks(rest))
    with source.whole_clip(0) as whole, pytest.raises(BadLabels, match=r"001/00008\.png"):
        whole.annotated[8]
    for png in pngs.glob("*/00008.png"):
        png.write_bytes(b"no picture")
    with pytest.raises(BadLabels, match=r"000/00008\.png.*it has no better one"):
        source.clip(0, 1, 0.99)
    shutil.rmtree(place / "JPEGImages_24fps")
    with pytest.raises(UsageError, match="holds no pictures of SA-V's videos"):
        opened("sav", place)


def _palette(path: Path, ids: np.ndarray) -> None:
    picture = Image.fromarray(ids.astype(np.uint8), "P")
    picture.putpalette([value for n in range(256) for value in (n, n, n)])
    picture.save(path)


def test_what_white_means_is_the_same_on_all_frames_of_a_clip(tmp_path: Path):
    clip = WORLD.clip(2, frames=4)
    place = write_davis_clip(tmp_path, "bear", clip)
    annotations = place / "Annotations" / "480p" / "bear"
    void = np.zeros((96, 96), np.uint8)
    void[:9] = 255
    _palette(annotations / "00000.png", np.zeros((96, 96)))
    _palette(annotations / "00003.png", void)
    source = DavisLabels.opened(str(place), None, {})
    assert source.clip(0, 1, 0.99).masks[0].shape == (0, 96, 96)
    for frame in range(1, 3):
        _palette(annotations / f"{frame:05}.png", 255 - void)
    found = DavisLabels.opened(str(place), None, {}).clip(0, 4, 0.0).masks
    np.testing.assert_array_equal([len(one) for one in found], [1] * 4)
    np.testing.assert_array_equal([one[0].sum() for one in found], [0, *[87 * 96] * 2, 9 * 96])


def test_a_header_that_claims_a_picture_of_400_megapixels_costs_its_clip_alone(tmp_path: Path):
    place = write_davis_clip(tmp_path, "bear", WORLD.clip(2, frames=3))
    (place / "Annotations" / "480p" / "bear" / "00001.png").write_bytes(png_header(20_000, 20_000))
    source = opened("davis", place)
    with pytest.raises(BadLabels, match=r"00001\.png.*exceeds limit"):
        source.clip(0, 3, 0.0)
    assert len(source.clip(0, 1, 0.0).frames) == 1


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
        (lambda c: c["masklet"].__setitem__(0, None), "masklet 0 is no list of masks but None"),
        (lambda c: c["masklet"].__setitem__(0, {"0": 1}), "masklet 0 is no list of masks but {"),
        (lambda c: c["masklet"][0].pop(), "different numbers of masklets"),
        (lambda c: c.update(masklet={"0": []}), "is no file of SA-V's masklets"),
        (lambda c: c.update(masklet=None), "is no file of SA-V's masklets"),
        (lambda c: c.update(video_frame_count=float("inf")), "inf, no number of frames"),
        (lambda c: c.update(video_frame_count=10**400), "10000000000000000000, no number"),
    ],
)
def test_masklets_that_are_none_cost_their_clip_alone(tmp_path: Path, damage, words: str):
    place = write_sav_clip(tmp_path, "sav_1", WORLD.clip(4, frames=9))
    write_sav_clip(tmp_path, "sav_2", WORLD.clip(4, frames=9))
    content = json.loads((place / "sav_1_manual.json").read_text())
    damage(content)
    (place / "sav_1_manual.json").write_text(json.dumps(content))
    source = opened("sav", place)
    with pytest.raises(BadLabels, match=words):
        source.clip(0, 3, 0.0)
    with pytest.raises(BadLabels, match=words), source.whole_clip(0) as whole:
        whole.annotated[0]
    assert len(source.clip(1, 3, 0.0).frames) == 3


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c["masklet"][0].__setitem__(1, 7), "a mask is a COCO RLE"),
        (lambda c: c["masklet"][0][1].update(size=[5, 5]), "a mask of 5 x 5 pixels"),
        (lambda c: c["masklet"][0][1].update(counts="~"), "no COCO RLE character"),
    ],
)
def test_a_masklet_that_is_broken_is_left_out_of_the_frames_around_it(
    tmp_path: Path, damage, words: str
):
    clip = WORLD.clip(4, frames=9)
    place = write_sav_clip(tmp_path, "sav_1", clip)
    path = place / "sav_1_manual.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    source, objects = opened("sav", place), clip[0].object_ids(16)
    rest = [one for number, one in enumerate(objects) if number != 1]
    found, skipped = Mixture([source], [1.0], seed=0).clip(0, 3)
    np.testing.assert_array_equal(found.masks[0], clip[0].masks(rest))
    (why,) = (one.reason for one in skipped)
    assert "frame 0: object 1: " in why
    assert words in why
    assert len(source.clip(0, 2, 0.99).masks[0]) == len(objects)
    with source.whole_clip(0) as whole, pytest.raises(BadLabels, match=f"frame 0: .*{words}"):
        whole.annotated[0]
    content["masklet"] = [of_frame[1:2] for of_frame in content["masklet"]]
    path.write_text(json.dumps(content))
    with pytest.raises(BadLabels, match=f"{words}.*it has no better one"):
        opened("sav", place).clip(0, 3, 0.0)


def test_annotations_of_no_picture_are_told_with_the_first(tmp_path: Path):
    place = write_coco(tmp_path / "labels", pictures(2))
    content = json.loads(place.read_text())
    of_first = [one for one in content["annotations"] if one["image_id"] == 0]
    of_first[0]["image_id"] = "000"
    content["annotations"] += [7, None]
    place.write_text(json.dumps(content))
    source = opened("coco", place)
    found = source.picture(0)
    np.testing.assert_array_equal(found.masks, masks_of(pictures(2)[0])[1:])
    unlisted, no_objects = found.left_out
    assert "instances.json: 1 annotation of images that it does not list" in unlisted
    assert "image_id '000'" in unlisted
    assert "2 annotations that are no JSON objects" in no_objects
    assert not source.picture(1).left_out


def test_lists_in_lists_cost_their_annotation_alone():
    def read(annotation: dict[str, int]) -> Rle:
        if annotation["id"]:
            return read(annotation)  # as a reader of such lists does
        return {"size": [2, 2], "counts": "04"}

    found = good_masks([{"id": 0}, {"id": 7}], read, (2, 2), "a.json")
    assert len(found.masks) == 1
    (why,) = found.left_out
    assert "a.json: annotation 7: lists in lists" in why


_OF_A_PICTURE = [
    (lambda c: c["images"][0].pop("file_name"), "has no file_name"),
    (lambda c: c["images"][0].update(file_name="gone.png"), "gone.png"),
    (lambda c: c["images"][0].update(file_name="../" * 40 + "etc"), "labels.*it leaves /"),
    (lambda c: c["images"][0].update(file_name="/etc"), "labels.*/etc is no regular file"),
    (lambda c: c["images"][0].update(file_name="~nobody~/a.png"), "labels"),
    (lambda c: [one.pop("segmentation") for one in c["annotations"]], "it has no better one"),
]


@pytest.mark.parametrize(("damage", "words"), _OF_A_PICTURE)
def test_what_is_wrong_with_all_of_a_picture_costs_it_alone(tmp_path: Path, damage, words: str):
    place = write_coco(tmp_path / "labels", pictures(2))
    content = json.loads(place.read_text())
    of_first = [one for one in content["annotations"] if one["image_id"] == 0]
    damage(content | {"annotations": of_first})
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


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: c["annotations"][0].pop("segmentation"), "annotation 0: it has no segmentation"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2]]), "is no polygon"),
        (lambda c: c["annotations"][0].update(segmentation=[[10**400] * 6]), "is no polygon"),
        (lambda c: c["annotations"][0]["segmentation"].update(size=[5, 5]), "5 x 5 pixels"),
        (lambda c: c["annotations"][0]["segmentation"].update(counts="~"), "no COCO RLE character"),
        (lambda c: c["annotations"][0]["segmentation"].update(counts=None), "a string or a list"),
        (lambda c: c["annotations"][0]["segmentation"].pop("counts"), "a mask is a COCO RLE"),
    ],
)
@pytest.mark.parametrize("kind", ["coco", "sa1b"])
def test_a_bad_annotation_is_left_out_alone_and_told(tmp_path: Path, kind, damage, words: str):
    write = write_coco if kind == "coco" else write_sa1b
    place = write(tmp_path / "labels", pictures(1))
    path = place if kind == "coco" else place / "sa_0.json"
    content = json.loads(path.read_text())
    if kind == "sa1b" and "polygon" in words:
        words = "a mask is a COCO RLE"
    damage(content)
    path.write_text(json.dumps(content))
    source = opened(kind, place)
    found = source.picture(0)
    np.testing.assert_array_equal(found.masks, masks_of(pictures(1)[0])[1:])
    (why,) = found.left_out
    assert words in why
    assert str(path) in why
    labelled, skipped = Mixture([source], [1.0], seed=0).picture(3)
    assert len(labelled.masks) == len(found.masks)
    assert [(one.source, one.reason) for one in skipped] == [(source.name, why)]
    scores = PictureScores()
    (asked,) = ask_about(build_sam2(SMALL), source, range(1), scores)
    assert len(asked.labelled.masks) == len(found.masks)
    assert scores.skipped == [why]


@pytest.mark.parametrize(("kind", "write"), [("coco", write_coco), ("sa1b", write_sa1b)])
def test_small_masks_of_pictures_are_left_out(tmp_path: Path, kind: str, write):
    made = pictures(1)[0]
    masks = masks_of(made)
    areas = masks.sum((1, 2))
    middle = int(np.sort(areas)[len(areas) // 2])
    place = write(tmp_path, [made])
    told = {"kind": kind, "uri": str(place), "min_area": middle}
    found = open_labels(Labels.model_validate(told), {}, 96).picture(0)
    np.testing.assert_array_equal(found.masks, masks[areas >= middle])
    source = open_labels(Labels.model_validate({**told, "min_area": 10_000}), {}, 96)
    with pytest.raises(BadLabels, match="picture 0: no mask to learn from has 10000 pixels"):
        source.picture(0)


def test_an_object_of_a_clip_is_as_large_as_it_is_at_its_largest(tmp_path: Path):
    clip = WORLD.clip(2, frames=5)
    place = write_davis_clip(tmp_path, "bear", clip)
    everything = np.array(opened("davis", place).clip(0, 3, 0.5).masks)
    largest = everything.sum((2, 3)).max(0)
    least = int(np.sort(largest)[len(largest) // 2])
    told = {"kind": "davis", "uri": str(place), "min_area": least}
    source = open_labels(Labels.model_validate(told), {}, 96)
    np.testing.assert_array_equal(source.clip(0, 3, 0.5).masks, everything[:, largest >= least])
    with source.whole_clip(0) as whole:
        assert len(whole.annotated[0]) >= everything.shape[1]


def test_a_clip_that_begins_without_its_objects_is_drawn_again(tmp_path: Path):
    clip = WORLD.clip(2, frames=5)
    annotations = write_davis_clip(tmp_path, "bear", clip) / "Annotations" / "480p" / "bear"
    for frame in (0, 2, 3, 4):
        _palette(annotations / f"{frame:05}.png", np.zeros((96, 96)))
    source = opened("davis", tmp_path)
    with pytest.raises(BadLabels, match="clip 0: on the first of some frames no object is"):
        source.clip(0, 3, 0.0)
    drawn = [Mixture([source], [1.0], seed=0).clip(number, 3) for number in range(8)]
    assert all(labelled.masks[0].sum() > 0 for labelled, _ in drawn)
    assert any(skipped for _, skipped in drawn)


class _MostlyBad:
    """Of its pictures the last alone can be learned from, if there is one."""

    name, pictures, clips = "mostly bad", 40, 0

    def __init__(self, good: int) -> None:
        self.good = good

    def picture(self, number: int) -> LabelledImage:
        if number != self.good:
            raise BadLabels(f"picture {number} is bad")
        return LabelledImage(np.zeros((8, 8, 3), np.uint8), np.ones((1, 8, 8), bool))


def test_a_sample_is_drawn_until_one_is_good_and_each_bad_one_is_told_once():
    mixture = Mixture([_MostlyBad(39)], [1.0], seed=0)  # pyright: ignore[reportArgumentType]
    for number in range(20):
        found, skipped = mixture.picture(number)
        assert len(found.masks) == 1
        reasons = [one.reason for one in skipped]
        assert len(set(reasons)) == len(reasons) <= 39


def test_labels_none_of_which_is_good_are_given_up_with_their_reasons():
    mixture = Mixture([_MostlyBad(-1)], [1.0], seed=0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match=r"nothing that is drawn.*40 reasons.*picture \d+ is bad"):
        mixture.picture(0)


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
