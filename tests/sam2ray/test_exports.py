"""Exports hold every mask that counts, as pycocotools, DAVIS and our own readers read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_outputs import FRAMES, SIZE_HW, Ended, Output, clip, make_output, masks_of, picture
from make_archive import found_in, write_files
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from sam2ray.cli import app
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit
from sam2ray.sinks.result_files import EMBEDDINGS
from sam2ray.storage import LocalStore


def run(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(word) for word in ("export", *words)])
    return done.exit_code, done.stdout, done.stderr


def output_of(folder: Path, ended: list[Ended], *assignments: str) -> Output:
    output = Output(LocalStore(folder), assignments)
    output.list([one.unit for one in ended], "1")
    output.commit(ended)
    output.finish()
    return output


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_pycocotools_reads_every_mask_of_every_picture(tmp_path):
    deep = Unit(source_uri="/archive/a/b/c.png", kind="image", version="1")
    member = Unit("/archive/x.tar", "image", member="../d/e.jpg", version="1")
    elsewhere = Unit("s3://bucket/f.jpg", "image", version="1")
    output_of(
        tmp_path / "out",
        [
            Ended(deep, label="cat"),
            Ended(member, masks=3),
            Ended(elsewhere, masks=0),
            Ended(picture("bad"), error_class="corrupt"),
            Ended(clip("street")),
        ],
    )
    file = tmp_path / "masks.json"
    code, said, complaints = run(tmp_path / "out", file)
    assert (code, said) == (0, f"{file}: 3 pictures, 5 masks\n")
    assert "left out 1 unit: clips" in complaints
    coco = COCO(str(file))
    assert {one["name"]: one["id"] for one in coco.cats.values()} == {"cat": 1, "object": 2}
    units = {"a/b/c.png": (deep, 2), "x/d/e.jpg": (member, 3), "bucket/f.jpg": (elsewhere, 0)}
    assert {image["file_name"] for image in coco.imgs.values()} == set(units)
    for number, image in coco.imgs.items():
        assert (image["height"], image["width"]) == SIZE_HW
        found = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        masks = masks_of(*units[image["file_name"]])
        assert len(found) == len(masks)
        for one, mask in zip(found, masks, strict=True):
            np.testing.assert_array_equal(coco.annToMask(one), mask)
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            size = [np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert one["bbox"] == [columns[0], rows[0], *size]
            assert one["area"] == mask.sum()
            assert one["score"] == 0.5


def test_pictures_that_would_be_called_alike_are_called_by_their_whole_address(tmp_path):
    units = [
        Unit("/archive/a/b.jpg", "image", version="1"),
        Unit("/archive/a.tar", "image", member="b.jpg", version="1"),
        Unit("/archive/a.zip", "image", member="b.jpg", version="1"),
        Unit("/archive/a/c.jpg", "image", version="1"),
    ]
    output_of(tmp_path / "out", [Ended(unit) for unit in units])
    assert run(tmp_path / "out", tmp_path / "a.json")[0] == 0
    images = json.loads((tmp_path / "a.json").read_text())["images"]
    named = {image["unit_id"]: image["file_name"] for image in images}
    alike = {named[unit.unit_id]: unit for unit in units[:3]}
    assert len(alike) == 3
    assert "a/b.jpg" in alike
    for name, unit in alike.items():
        assert name in ("a/b.jpg", "/".join(filter(None, (unit.source_uri, unit.member))))
    assert named[units[3].unit_id] == "a/c.jpg"


def test_only_living_units_and_good_masks_are_exported(tmp_path):
    output = make_output(tmp_path / "out")
    changed = picture(1, "2")
    output.list([picture(n) for n in range(6) if n != 1] + [changed], "index-2")
    output.commit([Ended(changed, masks=0)])
    assert run(tmp_path / "out", tmp_path / "all.json")[1].endswith("5 pictures, 6 masks\n")
    code, said, _ = run(tmp_path / "out", tmp_path / "best.json", "--min-score", 0.6)
    assert (code, said.endswith("5 pictures, 0 masks\n")) == (0, True)
    assert json.loads((tmp_path / "best.json").read_text())["annotations"] == []


def test_clips_become_folders_as_davis_has_them(tmp_path):
    street = clip("street")
    output_of(
        tmp_path / "out",
        [Ended(street, objects=[1, 7]), Ended(clip("empty"), masks=0), Ended(picture("a"))],
        "mode=track",
    )
    code, said, complaints = run(tmp_path / "out", tmp_path / "davis")
    assert (code, said) == (0, f"{tmp_path / 'davis'}: {2 * FRAMES} pictures, 6 masks\n")
    assert "left out 1 unit: pictures" in complaints
    masks = masks_of(street)
    small, large = sorted(zip(masks, [1, 7], strict=True), key=lambda pair: pair[0].sum())
    expected = np.where(small[0], small[1], np.where(large[0], large[1], 0))
    for frame in range(FRAMES):
        image = Image.open(tmp_path / f"davis/street/{frame:05}.png")
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert not np.asarray(Image.open(tmp_path / f"davis/empty/{frame:05}.png")).any()
    assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_frames_of_a_sample_alone_are_written_and_large_ids_are_said(tmp_path):
    ended = [
        Ended(clip("street"), objects=[1, 300]),
        Ended(clip("empty"), masks=0),
        Ended(clip("park"), objects=[254, 1]),
        Ended(clip("park", "2"), objects=[1, 2]),
    ]
    output_of(tmp_path / "out", ended, "mode=track", "decode.video.every_nth=5")
    code, _, complaints = run(tmp_path / "out", tmp_path / "davis")
    assert code == 0
    assert "left out 1 unit: objects called 300" in complaints
    assert "left out 1 unit: another unit is called so" in complaints
    assert [path.name for path in sorted((tmp_path / "davis").iterdir())] == ["park"]


def test_classes_are_numbered_as_told_and_unknown_elsewhere(tmp_path):
    one, two, film = picture("one"), Unit("/archive/sub/two.png", "image"), clip("film")
    ended = [
        Ended(one, masks=1, label="sky"),
        Ended(two, masks=1, label="grass"),
        Ended(film, masks=1, label="sky"),
        Ended(Unit("/archive/one.png", "image"), masks=1, label="sky"),
    ]
    output_of(tmp_path / "out", ended, "mode=semantic", "semantic.head=head.safetensors")
    code, _, complaints = run(tmp_path / "out", tmp_path / "ids", "--classes", "ground,sky,grass")
    assert code == 0
    assert "left out 1 unit: another unit is called so" in complaints
    assert (tmp_path / "ids/classes.txt").read_text() == "ground\nsky\ngrass\n"
    frames = [(film, 1, f"film/{frame:05}.png") for frame in range(FRAMES)]
    for unit, number, name in [(one, 1, "one.png"), (two, 2, "sub/two.png"), *frames]:
        ids = np.asarray(Image.open(tmp_path / "ids" / name))
        np.testing.assert_array_equal(ids, np.where(masks_of(unit, 1)[0], number, 255))
    run(tmp_path / "out", tmp_path / "sorted")
    assert (tmp_path / "sorted/classes.txt").read_text() == "grass\nsky\n"
    assert np.asarray(Image.open(tmp_path / "sorted/sub/two.png")).min() == 0


def test_what_no_mask_covers_is_ground_if_a_class_is_said_to_mean_that(tmp_path):
    one, bare = picture("one"), picture("bare")
    ended = [Ended(one, masks=1, label="sky"), Ended(bare, masks=0)]
    output_of(tmp_path / "out", ended, "mode=semantic", "semantic.head=head.safetensors")
    told = [["--ground", "land"], ["--classes", "sky,land,sea", "--ground", "land"]]
    for names, words in zip((["land", "sky"], ["sky", "land", "sea"]), told, strict=True):
        folder = tmp_path / "_".join(names)
        assert run(tmp_path / "out", folder, *words)[0] == 0
        assert (folder / "classes.txt").read_text().split() == names
        ids = np.asarray(Image.open(folder / "one.png"))
        sky, land = names.index("sky"), names.index("land")
        np.testing.assert_array_equal(ids, np.where(masks_of(one, 1)[0], sky, land))
        assert (np.asarray(Image.open(folder / "bare.png")) == land).all()
    code, _, complaints = run(tmp_path / "out", tmp_path / "x", "--classes", "sky", *told[0])
    assert (code, "--ground land: is none of --classes sky" in complaints) == (2, True)
    assert not (tmp_path / "x").exists()


def frames_of_folder(folder: Path, names: list[str], pattern: str = "") -> Unit:
    write_files(folder, names)
    (unit,), _ = found_in(open_source(str(folder / pattern), kind="frames"))
    return unit


@pytest.mark.parametrize("form", ["davis", "classes"])
def test_frames_of_a_folder_are_called_as_its_pictures(tmp_path, form):
    names = ["shot_2.jpg", "shot_9.jpg", "shot_10.png"]
    told = [Ended(frames_of_folder(tmp_path / "park", names), objects=[1, 2], label="sky")]
    for name in ("gone", "changed", "alike"):
        alike = ["0.jpg", "0.png", "1.png"] if name == "alike" else names
        told.append(Ended(frames_of_folder(tmp_path / name, alike), objects=[1, 2], label="sky"))
    both = [*(f"rgb_{number}.jpg" for number in (2, 9, 10)), "depth_2.png"]
    told.append(
        Ended(frames_of_folder(tmp_path / "both", both, "rgb_*"), objects=[1, 2], label="sky")
    )
    shutil.rmtree(tmp_path / "gone")
    write_files(tmp_path / "changed", ["shot_1.jpg"])
    mode = ["mode=track"] if form == "davis" else ["mode=semantic", "semantic.head=h.safetensors"]
    output_of(tmp_path / "out", told, *mode)
    code, _, complaints = run(tmp_path / "out", tmp_path / "ids", "--format", form)
    assert code == 0
    written = sorted(path.name for path in (tmp_path / "ids").rglob("*.png"))
    of_both = ["rgb_10.png", "rgb_2.png", "rgb_9.png"]
    assert written == [*of_both, "shot_10.png", "shot_2.png", "shot_9.png"]
    assert {path.parent.name for path in (tmp_path / "ids").rglob("*.png")} == {"both", "park"}
    for words in ("listed any more: not_found", "changed since", "called alike"):
        assert words in complaints


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["masks.json", "--format", "yolo"], "--format yolo: is none of coco, davis, classes"),
        (["folder", "--format", "classes"], "not for results of mode auto: coco is"),
        (["folder"], "name a file of COCO, such as masks.json"),
        (["gone/masks.json"], "there is no folder"),
        (["there.json"], "is there, and nothing is written over"),
        (["full", "--format", "davis"], "is not empty"),
        (["new", "--format", "davis", "--min-score", "0.5"], "--min-score is of coco"),
        (["new.json", "--classes", "a,b"], "--classes says which class"),
        (["new.json", "--ground", "a"], "--ground says which class"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path, words, why):
    make_output(tmp_path / "out")
    (tmp_path / "there.json").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    code, said, complaints = run(tmp_path / "out", tmp_path / words[0], *words[1:])
    assert (code, said) == (2, "")
    assert why in complaints.replace("\n", " ")
    assert sorted(tmp_path.rglob("*")) == before


def test_embeddings_are_no_masks(tmp_path):
    output = Output(LocalStore(tmp_path / "out"), ("mode=embed",))
    output.list([picture(1)], "1")
    output.commit([Ended(picture(1))], folder=EMBEDDINGS)
    code, _, complaints = run(tmp_path / "out", tmp_path / "a.json")
    assert (code, "embeddings and no masks" in complaints) == (2, True)


def test_a_class_that_is_not_named_is_refused(tmp_path):
    ended = [Ended(picture("one"), masks=1, label="sky")]
    output_of(tmp_path / "out", ended, "mode=semantic", "semantic.head=head.safetensors")
    code, _, complaints = run(tmp_path / "out", tmp_path / "ids", "--classes", "ground")
    assert code == 2
    assert "has 'sky' too" in complaints


def test_a_unit_that_cannot_be_shown_to_its_end_leaves_nothing(tmp_path):
    in_the_way = Unit("/archive/film/00001.jpg", "image")
    ended = [Ended(in_the_way, masks=1, label="sky"), Ended(clip("film"), masks=1, label="sky")]
    output_of(tmp_path / "out", ended, "mode=semantic", "semantic.head=head.safetensors")
    code, said, complaints = run(tmp_path / "out", tmp_path / "ids")
    assert (code, said) == (0, f"{tmp_path / 'ids'}: 1 picture, 1 mask\n")
    assert "left out 1 unit" in complaints
    assert [path.name for path in (tmp_path / "ids/film").iterdir()] == ["00001.png"]
    ids = np.asarray(Image.open(tmp_path / "ids/film/00001.png"))
    np.testing.assert_array_equal(ids == 0, masks_of(in_the_way, 1)[0])
