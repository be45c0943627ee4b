"""Maps of classes from folders, COCO and the made world; what is broken costs itself alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from make_archive import rle
from make_labels import WORLD, masks_of, pictures, write_coco
from PIL import Image

from sam2_core.learning.shapes import KINDS
from sam2_core.network.class_head import UNKNOWN
from sam2ray.errors import UsageError
from sam2ray.learning.class_samples import ClassSampleMaker, class_batch
from sam2ray.learning.labels.class_opening import ClassMixture, open_classes
from sam2ray.learning.labels.labelled import BadLabels, ClassSource
from sam2ray.learning.train_config import Head, Labels
from sam2ray.learning.train_stage import Stage

NAMES = ("ground", "round", "angular", "thin")
HEAD = Head(classes=NAMES, ground="ground")


def opened(kind: str, uri: Path | None, head: Head = HEAD, **settings) -> ClassSource:
    told = {"kind": kind, "uri": None if uri is None else str(uri), **settings}
    return open_classes(Labels.model_validate(told), head, {}, 96)


def maps(count: int) -> list[np.ndarray]:
    """Of each picture of the small world, things numbered through the classes."""
    return [np.where(one.ids > 0, 1 + one.ids % 3, 0).astype(np.uint8) for one in pictures(count)]


def write_folders(folder: Path, count: int = 3) -> tuple[Path, Path]:
    """Pictures as JPEG and PNG below photos, labels in three kinds of PNG below labels."""
    photos, labels = folder / "photos", folder / "labels"
    for n, (picture, ids) in enumerate(zip(pictures(count), maps(count), strict=True)):
        for place in (photos / "deep", labels / "deep"):
            place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.pixels).save(photos / "deep" / f"{n}.{('jpg', 'png')[n % 2]}")
        grey = Image.fromarray(ids.astype((np.uint8, np.uint16)[n % 2]))
        if n == 2:
            grey = Image.fromarray(ids, "P")
            grey.putpalette([value % 256 for value in range(768)])
        grey.save(labels / "deep" / f"{n}.png")
    return labels, photos


def test_folders_are_matched_by_name_and_any_png_of_ids_is_read(tmp_path: Path):
    labels, photos = write_folders(tmp_path)
    source = opened("classes", labels, pictures=str(photos))
    assert source.pictures == 3
    for number, ids in enumerate(maps(3)):
        found = source.picture(number)
        np.testing.assert_array_equal(found.ids, ids)
        assert found.pixels.shape == (*ids.shape, 3)
    np.testing.assert_array_equal(source.picture(1).pixels, pictures(2)[1].pixels)


def test_pictures_may_lie_beside_their_labels(tmp_path: Path):
    labels, photos = write_folders(tmp_path, 1)
    (photos / "deep" / "0.jpg").rename(labels / "deep" / "0.jpg")
    np.testing.assert_array_equal(opened("classes", labels).picture(0).ids, maps(1)[0])


def test_white_and_black_of_one_bit_are_the_second_and_the_first_class(tmp_path: Path):
    labels, photos = write_folders(tmp_path, 1)
    Image.fromarray(maps(1)[0] > 0).save(labels / "deep" / "0.png")
    found = opened("classes", labels, pictures=str(photos)).picture(0)
    np.testing.assert_array_equal(found.ids, maps(1)[0] > 0)


def _damage(labels: Path, photos: Path, how: str) -> None:
    place, ids = labels / "deep" / "0.png", maps(1)[0].copy()
    if how == "value":
        ids[3, 4] = 7
        Image.fromarray(ids).save(place)
    elif how == "size":
        Image.fromarray(ids[:-1]).save(place)
    elif how == "colours":
        Image.fromarray(np.stack([ids] * 3, 2)).save(place)
    elif how == "cut":
        place.write_bytes(place.read_bytes()[:-40])
    elif how == "no picture":
        (photos / "deep" / "0.jpg").unlink()
    elif how == "twins":
        (photos / "deep" / "0.webp").write_bytes(b"")
    else:
        (photos / "deep" / "0.jpg").write_bytes(b"<html>")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("value", "has a pixel of 7, and the classes are 0 to 3 and 255"),
        ("size", "96 x 95 pixels do not fit a picture of 96 x 96"),
        ("colours", "its pixels are RGB, not ids of classes"),
        ("cut", "0.png"),
        ("no picture", "has no picture of this name"),
        ("html", "0.jpg"),
        ("twins", r"may be of .*0\.jpg or of .*0\.webp: leave one"),
    ],
)
def test_what_is_wrong_with_a_label_is_said_and_the_others_go_on(tmp_path, how: str, words: str):
    labels, photos = write_folders(tmp_path, 2)
    _damage(labels, photos, how)
    source = opened("classes", labels, pictures=str(photos))
    with pytest.raises(BadLabels, match=words):
        source.picture(0)
    np.testing.assert_array_equal(source.picture(1).ids, maps(2)[1])
    reached = [ClassMixture([source], [1.0], 0).picture(number) for number in range(12)]
    assert any(skipped for _, skipped in reached)
    for labelled, _ in reached:
        np.testing.assert_array_equal(labelled.ids, maps(2)[1])


def test_folders_that_have_nothing_in_common_are_refused_at_once(tmp_path: Path):
    labels, photos = write_folders(tmp_path, 1)
    (photos / "deep" / "0.jpg").rename(photos / "0.jpg")
    with pytest.raises(UsageError, match=r"no picture of .*photos is called as a label"):
        opened("classes", labels, pictures=str(photos))
    with pytest.raises(UsageError, match="no pictures beside its labels"):
        opened("classes", labels)
    with pytest.raises(UsageError, match="no label PNGs"):
        opened("classes", photos / "deep")


def test_unknown_pixels_stay_unknown(tmp_path: Path):
    labels, photos = write_folders(tmp_path, 1)
    ids = maps(1)[0].copy()
    ids[:20] = UNKNOWN
    Image.fromarray(ids).save(labels / "deep" / "0.png")
    found = opened("classes", labels, pictures=str(photos)).picture(0)
    assert (found.ids[:20] == UNKNOWN).all()


# ---------------------------------------------------------------- COCO


def test_a_picture_without_annotations_is_ground_where_there_is_a_ground(tmp_path: Path):
    path = coco_of_categories(tmp_path)
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "id": 77})
    path.write_text(json.dumps(content))
    source = opened("coco", path)
    assert source.pictures == 2
    assert not source.picture(1).ids.any()
    assert opened("coco", path, Head(classes=NAMES)).pictures == 1


def coco_of_categories(folder: Path, **change) -> Path:
    """One picture whose annotations take turns in three categories."""
    path = write_coco(folder, pictures(1))
    content = json.loads(path.read_text())
    for n, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = (7, 9, 11)[n % 3]
    content["categories"] = [
        {"id": 7, "name": "round"},
        {"id": 9, "name": "box"},
        {"id": 11, "name": "person"},
    ]
    path.write_text(json.dumps(content | change))
    return path


def painted(classes: list[int], ground: int = 0) -> np.ndarray:
    ids = np.full((96, 96), ground, np.uint8)
    for n, mask in enumerate(masks_of(pictures(1)[0])):
        ids[mask] = classes[n % 3]
    return ids


def test_categories_are_classes_by_their_names_and_others_are_ground(tmp_path: Path):
    path = coco_of_categories(tmp_path)
    np.testing.assert_array_equal(opened("coco", path).picture(0).ids, painted([1, 0, 0]))
    told = {"box": "angular", "11": "thin"}
    found = opened("coco", path, categories=told).picture(0)
    np.testing.assert_array_equal(found.ids, painted([1, 2, 3]))
    unknown = opened("coco", path, Head(classes=NAMES)).picture(0)
    np.testing.assert_array_equal(unknown.ids, painted([1, UNKNOWN, UNKNOWN], UNKNOWN))


def test_a_file_without_categories_speaks_in_ids_of_classes(tmp_path: Path):
    path = coco_of_categories(tmp_path, categories=[])
    content = json.loads(path.read_text())
    for n, annotation in enumerate(content["annotations"]):
        annotation["category_id"] = (2, 3, 90)[n % 3]
    path.write_text(json.dumps(content))
    np.testing.assert_array_equal(opened("coco", path).picture(0).ids, painted([2, 3, 0]))


def test_later_annotations_lie_over_earlier_ones_and_crowds_count(tmp_path: Path):
    path = coco_of_categories(tmp_path)
    content = json.loads(path.read_text())
    left, right = np.zeros((2, 96, 96), bool)
    left[:, :60], right[:, 40:] = True, True
    content["annotations"] = [
        {"id": 1, "image_id": 0, "category_id": 7, "segmentation": rle(left)},
        {"id": 2, "image_id": 0, "category_id": 9, "segmentation": rle(right), "iscrowd": 1},
    ]
    path.write_text(json.dumps(content))
    found = opened("coco", path, categories={"box": "angular"}).picture(0).ids
    assert (found[:, :40] == 1).all()
    assert (found[:, 40:] == 2).all()


def test_a_broken_annotation_spoils_its_map_as_a_hole_would_be_ground(tmp_path: Path):
    path = coco_of_categories(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][1].pop("segmentation")
    path.write_text(json.dumps(content))
    with pytest.raises(BadLabels, match="annotation 1: it has no segmentation"):
        opened("coco", path).picture(0)


def test_categories_that_nobody_knows_are_refused_with_what_there_is(tmp_path: Path):
    path = coco_of_categories(tmp_path)
    with pytest.raises(UsageError, match=r"none of its categories \(box, person, round\)"):
        opened("coco", path, Head(classes=("ground", "sky"), ground="ground"))
    with pytest.raises(UsageError, match="categories says that box is 'cube'"):
        opened("coco", path, categories={"box": "cube"})


# ---------------------------------------------------------------- the made world


def test_things_of_the_world_have_the_most_particular_class_that_there_is():
    made = WORLD.picture(4)
    source = opened("world", None, seed=31)
    found = source.picture(4)
    np.testing.assert_array_equal(found.pixels, made.pixels)
    for number, family in enumerate(made.families, start=1):
        seen = found.ids[made.ids == number]
        assert (seen == NAMES.index(KINDS[family])).all()
    assert (found.ids[made.ids == 0] == 0).all()
    family = made.families[int(made.ids.max()) - 1]
    particular = Head(classes=("ground", family, "thing"), ground="ground")
    both = opened("world", None, particular, seed=31).picture(4)
    assert (both.ids[made.ids == made.ids.max()] == 1).all()
    assert set(np.unique(both.ids)) <= {0, 1, 2}
    alone = opened("world", None, Head(classes=(family, "star" * 2), ground="star" * 2), seed=31)
    assert set(np.unique(alone.picture(4).ids)) <= {0, 1, UNKNOWN}
    with pytest.raises(UsageError, match="the made world has no 'cloud'"):
        opened("world", None, Head(classes=("ground", "cloud"), ground="ground"))
    with pytest.raises(UsageError, match="says nothing of classes"):
        opened("davis", Path("x"))


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("stride", [1, 4])
def test_rows_are_cut_mirrored_and_resized_together(stride: int):
    mixture = ClassMixture([opened("world", None, seed=31)], [1.0], seed=5)
    told = {"name": "s", "learn": "classes", "steps": 1, "target_stride": stride}
    plain = ClassSampleMaker(mixture, Stage.model_validate(told | {"flip": False}), 1, 64)
    cut = ClassSampleMaker(mixture, Stage.model_validate(told | {"crop": 0.5}), 1, 64)
    row = plain.picture(3)
    assert row["pixels"].shape == (64, 64, 3)
    assert row["classes"].shape == (64 // stride, 64 // stride)
    assert not row["skipped"]
    np.testing.assert_array_equal(row["classes"], plain.picture(3)["classes"])
    mirrored = ClassSampleMaker(mixture, Stage.model_validate(told), 1, 64)
    turned = next(
        number
        for number in range(20)
        if not (mirrored.picture(number)["pixels"] == plain.picture(number)["pixels"]).all()
    )
    one, other = mirrored.picture(turned), plain.picture(turned)
    np.testing.assert_array_equal(one["pixels"], other["pixels"][:, ::-1])
    assert (one["classes"] == other["classes"][:, ::-1]).mean() > 0.97
    rows = [cut.picture(number) for number in range(2)]
    columns = {name: np.stack([one[name] for one in rows]) for name in ("pixels", "classes")}
    batch = class_batch(columns)
    assert batch.count == batch.classes_Bhw.numel()
    batch.classes_Bhw[:] = UNKNOWN
    assert batch.count == 0
