"""Files of prompts of every format, joined with what they are written for."""

import json

import fsspec
import numpy as np
import pytest
from make_archive import (
    box_mask,
    coco,
    found_in,
    joined_units,
    rle,
    tar_bytes,
    write_davis,
    write_files,
    write_parquet,
    write_sav,
)
from pycocotools import mask as pycoco

from sam2ray.errors import UnitFailed, UsageError
from sam2ray.readers.prompts import PromptSource, parse_prompts
from sam2ray.readers.sources import open_source

SIZE = (16, 24)


def write_json(path, content) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return str(path)


def prompts_by_name(tmp_path, prompts, **said) -> dict[str, list[dict]]:
    source = open_source(str(tmp_path / "media"), prompts=prompts, **said)
    return {
        unit.source_uri.rpartition("/")[2]: json.loads(unit.prompts or "[]")
        for unit in joined_units(source)
    }


# ---------------------------------------------------------------- COCO


def test_annotations_of_coco_become_boxes_with_their_category_and_id(tmp_path):
    write_files(tmp_path / "media", ["a.jpg", "b.jpg", "c.jpg"])
    annotations = [
        {"image_id": 1, "bbox": [1, 2, 10, 5], "category_id": 2},
        {"image_id": 2, "bbox": [0, 0, 24, 16], "category_id": 9},
        {"image_id": "1", "bbox": [3, 3, 4, 4]},
        {"image_id": 2, "bbox": []},
    ]
    uri = write_json(
        tmp_path / "coco.json", coco([("a.jpg", *SIZE), ("b.jpg", *SIZE)], annotations)
    )
    found = prompts_by_name(tmp_path, PromptSource(uri=uri))
    assert found == {
        "a.jpg": [
            {"frame": 0, "object_id": 1, "box": [1, 2, 11, 7], "label": "dog", "prompt_id": "100"},
            {"frame": 0, "object_id": 2, "box": [3, 3, 7, 7], "prompt_id": "102"},
        ],
        "b.jpg": [{"frame": 0, "object_id": 1, "box": [0, 0, 24, 16], "prompt_id": "101"}],
        "c.jpg": [],
    }


def test_segmentations_of_coco_in_every_form_become_masks(tmp_path):
    write_files(tmp_path / "media", ["a.jpg"])
    polygons = [[2, 2, 20, 2, 20, 12, 2, 12], [1, 13, 9, 13, 9, 15.5]]
    mask = box_mask(*SIZE, (3, 4, 9, 11))
    annotations = [
        {"image_id": 1, "segmentation": polygons},
        {"image_id": 1, "segmentation": rle(mask)},
        {"image_id": 1, "segmentation": {"size": SIZE, "counts": [16 * 24]}},
    ]
    uri = write_json(tmp_path / "coco.json", coco([("a.jpg", *SIZE)], annotations))
    source = open_source(str(tmp_path / "media"), prompts=PromptSource(uri=uri, use=("mask",)))
    (unit,) = joined_units(source)
    masks = [
        prompt.frame_prompt.prompt.mask.numpy() for prompt in parse_prompts(unit.prompts, SIZE)
    ]
    drawn = pycoco.merge(pycoco.frPyObjects(polygons, *SIZE))
    assert rle(masks[0])["counts"] == drawn["counts"].decode()
    assert np.array_equal(masks[1], mask)
    assert not masks[2].any()


@pytest.mark.parametrize(
    "annotation",
    [
        {"bbox": [1, 2, 3]},
        {"bbox": "wide"},
        {"segmentation": [[1, 2, 3, 4]]},
        {"segmentation": [[1, 2, 3, 4, 5, 6, 7]]},
        {"segmentation": [[1e12, 2, 3, 4, 5, 6]]},
        {"segmentation": [[float("nan"), 2, 3, 4, 5, 6]]},
        {"segmentation": [["a", 2, 3, 4, 5, 6]]},
        {"segmentation": [[10**400, 2, 3, 4, 5, 6]]},
        {"segmentation": [[0, 0, 24, 16] * 100_000]},
        {"segmentation": "mask"},
        {"segmentation": {"size": SIZE}},
    ],
)
def test_an_annotation_that_makes_no_sense_fails_the_unit_of_its_image_alone(tmp_path, annotation):
    write_files(tmp_path / "media", ["a.jpg", "b.jpg"])
    annotations = [{"image_id": 1, **annotation}, {"image_id": 2, "bbox": [1, 1, 5, 5]}]
    content = coco([("a.jpg", *SIZE), ("b.jpg", *SIZE)], annotations)
    uri = write_json(tmp_path / "coco.json", content)
    prompts = PromptSource(uri=uri, use=("box", "mask"))
    source = open_source(str(tmp_path / "media"), prompts=prompts)
    bad, good = joined_units(source)
    with pytest.raises(UnitFailed, match=r"bad_prompt: Prompt 0: .*annotation 0"):
        parse_prompts(bad.prompts, SIZE)
    assert len(parse_prompts(good.prompts, SIZE)) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ([1], "no COCO file"),
        ({"images": [], "annotations": {}}, "no COCO file"),
        ({"images": [{"id": 1}], "annotations": []}, "image 0 has no file_name"),
        ({"images": [7], "annotations": []}, "image 0 has no file_name"),
        ({"images": [], "annotations": [{"image_id": 3}]}, "annotation 0 belongs to no image"),
        ({"images": [], "annotations": [3]}, "annotation 0 belongs to no image"),
        ({"images": [], "annotations": []}, "holds no prompt"),
    ],
)
def test_a_file_that_is_no_coco_is_refused_with_words(tmp_path, content, words):
    write_files(tmp_path / "media", ["a.jpg"])
    path = tmp_path / "coco.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UsageError, match=words):
        prompts_by_name(tmp_path, PromptSource(uri=str(path)))


# ---------------------------------------------------------------- tables of detections


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_detections_of_a_table_go_to_the_files_that_they_name(tmp_path, suffix):
    write_files(tmp_path / "media", ["a.jpg", "x/b.jpg"])
    columns = {
        "file_name": ["a.jpg", "x/b.jpg", "a.jpg", ""],
        "x0": [1.0, 2.0, 3.0, 4.0],
        "y0": [1.0] * 4,
        "x1": [9.0] * 4,
        "y1": [9.0] * 4,
        "score": [0.5] * 4,
        "label": ["cat", "dog", "cow", "ant"],
    }
    path = tmp_path / f"detections.{suffix}"
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    if suffix == "parquet":
        write_parquet(path, columns)
    elif suffix == "csv":
        lines = [",".join(columns), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = prompts_by_name(tmp_path, PromptSource(uri=str(path), coordinates="pixels"))
    assert found == {
        "a.jpg": [
            {"frame": 0, "object_id": 1, "box": [1, 1, 9, 9], "label": "cat"},
            {"frame": 0, "object_id": 2, "box": [3, 1, 9, 9], "label": "cow"},
        ],
        "b.jpg": [{"frame": 0, "object_id": 1, "box": [2, 1, 9, 9], "label": "dog"}],
    }


def test_a_folder_of_tables_is_read_in_its_order(tmp_path):
    write_files(tmp_path / "media", ["a.jpg"])
    for n in range(3):
        columns = {"path": ["a.jpg"], "box": [[n, 0, 9, 9]]}
        write_parquet(tmp_path / "detections" / f"{n}.parquet", columns)
    write_files(tmp_path / "detections", {"README.md": b""})
    prompts = PromptSource(uri=str(tmp_path / "detections"), coordinates="pixels")
    found = prompts_by_name(tmp_path, prompts)
    assert [prompt["box"][0] for prompt in found["a.jpg"]] == [0, 1, 2]


def test_normalized_detections_are_scaled_when_the_size_is_known(tmp_path):
    write_files(tmp_path / "media", ["a.jpg"])
    write_parquet(
        tmp_path / "d.parquet", {"path": ["a.jpg"], "bbox_cxcywh": [[0.5, 0.5, 0.5, 1.0]]}
    )
    prompts = PromptSource(uri=str(tmp_path / "d.parquet"), coordinates="normalized")
    (unit,) = joined_units(open_source(str(tmp_path / "media"), prompts=prompts))
    (prompt,) = parse_prompts(unit.prompts, SIZE)
    assert prompt.frame_prompt.prompt.box == [6, 0, 18, 16]


@pytest.mark.parametrize(
    ("columns", "said", "words"),
    [
        ({"path": ["a.jpg"], "box": [[1, 2, 3, 4]]}, {}, "coordinates=pixels"),
        ({"path": ["a.jpg"], "bbox": [[1, 2, 3, 4]]}, {"coordinates": "pixels"}, "`bbox` may be"),
        ({"name": ["a.jpg"], "box": [[1, 2, 3, 4]]}, {"coordinates": "pixels"}, "no column names"),
        ({"path": ["a.jpg"]}, {"coordinates": "pixels"}, "no column that prompts"),
    ],
)
def test_a_table_that_is_not_clear_is_refused_before_anything_is_listed(
    tmp_path, columns, said, words
):
    write_files(tmp_path / "media", ["a.jpg"])
    path = write_parquet(tmp_path / "d.parquet", columns)
    with pytest.raises(UsageError, match=words):
        open_source(str(tmp_path / "media"), prompts=PromptSource(uri=str(path), **said))


# ---------------------------------------------------------------- SA-V


def test_each_masklet_of_sav_is_prompted_where_it_is_first_seen(tmp_path):
    empty, left, right = (
        box_mask(*SIZE, box) for box in ((0, 0, 0, 0), (1, 1, 9, 9), (9, 1, 20, 9))
    )
    write_files(tmp_path / "media/sav_000", {"sav_000001.mp4": b"", "sav_000002.mp4": b""})
    write_sav(
        tmp_path / "media/sav_000/sav_000001_manual.json",
        [[left, empty], [left, empty], [left, right]],
        9,
    )
    write_sav(tmp_path / "media/sav_000/sav_000001_auto.json", [[right, right]] * 3, 9)
    found = prompts_by_name(tmp_path, PromptSource(uri=str(tmp_path / "media")))
    assert found == {
        "sav_000001.mp4": [
            {"frame": 0, "object_id": 0, "mask": rle(left), "prompt_id": "0"},
            {"frame": 8, "object_id": 1, "mask": rle(right), "prompt_id": "1"},
        ],
        "sav_000002.mp4": [],
    }
    auto = PromptSource(uri=str(tmp_path / "media/**/*_auto.json"))
    found = prompts_by_name(tmp_path, auto)
    assert [prompt["mask"] for prompt in found["sav_000001.mp4"]] == [rle(right)] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"masklet": "all"},
        {"masklet": [[{"size": SIZE, "counts": "1"}]] * 3},
        {"masklet": [[7]] * 3},
        {"masklet": [7, 7, 7]},
        {"masklet_id": None},
        {"masklet_id": ["one"]},
        {"video_frame_count": 4},
        {"video_frame_count": 1000.0},
        {"video_frame_count": float("inf")},
        {"video_frame_count": 10**400},
    ],
)
def test_a_file_of_masklets_that_makes_no_sense_fails_its_video_alone(tmp_path, change):
    mask = box_mask(*SIZE, (1, 1, 9, 9))
    for n in (1, 2):
        write_files(tmp_path / "media", {f"sav_00000{n}.mp4": b""})
        path = write_sav(tmp_path / f"media/sav_00000{n}_manual.json", [[mask]] * 3, 9)
        if n == 1:
            path.write_text(json.dumps(json.loads(path.read_text()) | change))
    prompts = PromptSource(uri=str(tmp_path / "media"))
    bad, good = joined_units(open_source(str(tmp_path / "media"), prompts=prompts))
    with pytest.raises(UnitFailed, match="bad_prompt"):
        parse_prompts(bad.prompts, SIZE)
    assert len(parse_prompts(good.prompts, SIZE)) == 1


def test_a_real_file_of_sav_prompts_its_objects_in_the_size_of_its_video(media):
    uri = str(media / "sav_000001_manual.json")
    source = PromptSource(uri=uri).resolved({})
    (named,) = [named for piece in source.slices({}) for named in source.prompts(piece, {})]
    assert (source.format, named.name, named.by_stem) == ("sav", "sav_000001", True)
    content = json.loads((media / "sav_000001_manual.json").read_text())
    assert [prompt["frame"] for prompt in named.prompts] == [
        4 * int(first) for first in content["masklet_first_appeared_frame"]
    ]
    prompts = parse_prompts(json.dumps(named.prompts), (848, 480))
    areas = [int(prompt.frame_prompt.prompt.mask.sum()) for prompt in prompts]
    assert areas == [
        int(pycoco.area(content["masklet"][prompt["frame"] // 4][n]))
        for n, prompt in enumerate(named.prompts)
    ]


# ---------------------------------------------------------------- DAVIS


def test_the_first_picture_of_a_davis_clip_prompts_its_objects(tmp_path):
    ids = np.zeros(SIZE)
    ids[1:5, 2:9], ids[6:9, 3:20], ids[15, 23] = 1, 2, 255
    write_davis(tmp_path / "media", {"bear": ids, "car.v2": ids * (ids == 2)})
    prompts = PromptSource(uri=str(tmp_path / "media/Annotations/480p"))
    source = open_source(str(tmp_path / "media/JPEGImages/480p"), kind="frames", prompts=prompts)
    bear, car = joined_units(source)
    found = parse_prompts(bear.prompts, SIZE)
    assert [prompt.frame_prompt.object_id for prompt in found] == [1, 2]
    assert [prompt.frame_prompt.frame for prompt in found] == [0, 0]
    assert np.array_equal(found[0].frame_prompt.prompt.mask.numpy(), ids == 1)
    assert np.array_equal(found[1].frame_prompt.prompt.mask.numpy(), ids == 2)
    assert [p.frame_prompt.object_id for p in parse_prompts(car.prompts, SIZE)] == [2]


def test_a_white_object_on_black_is_object_1(tmp_path):
    write_davis(tmp_path, {"bear": box_mask(*SIZE, (1, 1, 9, 9)) * 255})
    prompts = PromptSource(uri=str(tmp_path / "Annotations"))
    (unit,) = joined_units(
        open_source(str(tmp_path / "JPEGImages"), kind="frames", prompts=prompts)
    )
    assert [p.frame_prompt.object_id for p in parse_prompts(unit.prompts, SIZE)] == [1]


def test_a_davis_mask_belongs_to_the_frame_that_is_named_like_it(tmp_path):
    """Objects may appear late, and frames may be numbered by tens, or from one on."""
    write_davis(tmp_path, {"bear": np.ones(SIZE)})
    (tmp_path / "Annotations/480p/bear/00000.png").unlink()
    prompts = PromptSource(uri=str(tmp_path / "Annotations"))
    (unit,) = joined_units(
        open_source(str(tmp_path / "JPEGImages"), kind="frames", prompts=prompts)
    )

    def frame_of(names: list[str] | None) -> int:
        (prompt,) = parse_prompts(unit.prompts, SIZE, names)
        return prompt.frame_prompt.frame

    assert frame_of(["00000", "00001", "00002"]) == 1
    assert frame_of(["00001", "00011"]) == 0
    assert frame_of(None) == 1, "frames of a video are called by their numbers"
    with pytest.raises(UnitFailed, match="no frame is called '00001'; the first is '0'"):
        frame_of(["0", "1"])
    with pytest.raises(UnitFailed, match="several frames are called"):
        frame_of(["00001", "00001"])


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_an_annotation_that_is_no_picture_fails_its_clip_alone(tmp_path, content):
    write_davis(tmp_path, {"bear": np.ones(SIZE), "car": np.ones(SIZE)})
    write_files(tmp_path, {"Annotations/480p/bear/00000.png": content})
    prompts = PromptSource(uri=str(tmp_path / "Annotations"))
    bear, car = joined_units(
        open_source(str(tmp_path / "JPEGImages"), kind="frames", prompts=prompts)
    )
    with pytest.raises(UnitFailed, match=r"bad_prompt: .*bear/00000\.png"):
        parse_prompts(bear.prompts, SIZE)
    assert len(parse_prompts(car.prompts, SIZE)) == 1


# ---------------------------------------------------------------- which format


def test_a_format_that_cannot_be_seen_is_asked_for(tmp_path):
    write_files(
        tmp_path, {"media/a.jpg": b"", "x/a.txt": b"", "y/a.json": b"{}", "y/b.parquet": b""}
    )
    for name, words in (
        ("x", "no known format"),
        ("y", "several formats"),
        ("gone", "no known format"),
    ):
        with pytest.raises(UsageError, match=words):
            open_source(str(tmp_path / "media"), prompts=PromptSource(uri=str(tmp_path / name)))


def test_what_a_format_cannot_have_is_refused(tmp_path):
    write_files(tmp_path / "media", ["a.jpg"])
    uri = write_json(tmp_path / "coco.json", coco([("a.jpg", *SIZE)], []))
    for said, words in (
        ({"coordinates": "normalized"}, "coco has pixels"),
        ({"format": "sav", "use": ("box",)}, "masks alone"),
        (
            {"format": "parquet", "coordinates": "pixels"},
            "nothing here is a file of format parquet",
        ),
    ):
        with pytest.raises(UsageError, match=words):
            open_source(str(tmp_path / "media"), prompts=PromptSource(uri=uri, **said))


def test_prompts_may_lie_in_another_store(tmp_path):
    write_files(tmp_path / "media", ["a.jpg"])
    content = coco([("a.jpg", *SIZE)], [{"image_id": 1, "bbox": [1, 2, 3, 4]}])
    fsspec.filesystem("memory").pipe_file("/prompts/coco.json", json.dumps(content).encode())
    found = prompts_by_name(tmp_path, PromptSource(uri="memory://prompts/coco.json"))
    assert len(found["a.jpg"]) == 1


def test_paths_are_relative_to_the_folder_of_a_list(tmp_path):
    write_files(tmp_path, {"media/list.csv": b"path\nx/a.jpg\ny/a.jpg\n"})
    content = coco([("y/a.jpg", *SIZE)], [{"image_id": 1, "bbox": [1, 2, 3, 4]}])
    uri = write_json(tmp_path / "coco.json", content)
    source = open_source(str(tmp_path / "media/list.csv"), prompts=PromptSource(uri=uri))
    assert [unit.prompts is None for unit in joined_units(source)] == [True, False]


def test_members_of_shards_are_matched_by_their_names(tmp_path):
    shard = tar_bytes([("x/a.jpg", b"1"), ("b.jpg", b"2")])
    write_files(tmp_path / "media", {"0.tar": shard})
    content = coco(
        [("a.jpg", *SIZE), ("b.jpg", *SIZE)],
        [{"image_id": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 2, "bbox": [1, 2, 3, 5]}],
    )
    uri = write_json(tmp_path / "coco.json", content)
    source = open_source(str(tmp_path / "media"), prompts=PromptSource(uri=uri))
    assert {unit.member: len(json.loads(unit.prompts)) for unit in joined_units(source)} == {
        "x/a.jpg": 1,
        "b.jpg": 1,
    }
    assert all(unit.prompts is None for unit in found_in(source)[0])
