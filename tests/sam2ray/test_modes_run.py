"""Every mode from the command line on real media, as the README shows it, and what it leaves."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from make_archive import jpeg, write_davis, write_files
from typer.testing import CliRunner

import sam2ray
from sam2_core import (
    FramePrompt,
    ImageSegmenter,
    Prompt,
    VideoTracker,
    load_sam2,
    read_image,
)
from sam2_core.inference.frame_sources import PictureList
from sam2_core.inference.video_file import VideoFile
from sam2ray.cli import app

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("two_cpus")]

FRAMES = 6
DETECTIONS = [  # of bedroom.mp4: file, frame, object, corners
    ("bedroom.mp4", 0, 7, (210.0, 150.0, 480.0, 520.0)),
    ("bedroom.mp4", 0, 3, (500.0, 120.0, 760.0, 500.0)),
]
LIVELY = "--set masks.pred_iou_thresh=0 --set masks.stability_score_thresh=0"
SMALL = (
    f"--model nano --set decode.video.max_frames={FRAMES} --set masks.points_per_side=4 {LIVELY}"
)


def _run(words: str, output: Path) -> Result:
    result = CliRunner().invoke(app, shlex.split(words))
    assert result.exit_code == 0, result.output
    proof = CliRunner().invoke(app, ["verify", str(output)])
    assert proof.exit_code == 0, proof.output
    return result


def _masks(output: Path) -> pa.Table:
    return sam2ray.open(str(output)).masks().read_all()


def _folder_of(path: Path, folder: Path) -> Path:
    folder.mkdir()
    shutil.copy(path, folder)
    return folder


@pytest.fixture
def clips(media: Path, tmp_path: Path) -> Path:
    return _folder_of(media / "bedroom.mp4", tmp_path / "clips")


@pytest.fixture
def photos(media: Path, tmp_path: Path) -> Path:
    return _folder_of(media / "truck.jpg", tmp_path / "photos")


def test_detections_are_tracked_through_clips_as_the_core_does(clips: Path, tmp_path: Path):
    files, frames, objects, boxes = zip(*DETECTIONS, strict=True)
    columns = {"file": files, "frame": frames, "object_id": objects, "box_xyxy": boxes}
    pq.write_table(
        pa.table({k: list(v) for k, v in columns.items()}), tmp_path / "detections.parquet"
    )
    output = tmp_path / "tracks"
    _run(
        f"run {clips}/ {output}/ --mode track --prompts {tmp_path}/detections.parquet "
        f"--set prompts.coordinates=pixels --set decode.mode=exact {SMALL}",
        output,
    )
    data = sam2ray.open(str(output))
    (unit,) = data.units().read_all().to_pylist()
    assert (unit["status"], unit["frames"], unit["error_class"]) == ("ok", FRAMES, "partial")
    assert "max_frames=6" in unit["error_message"]
    clip = data.unit(str(clips / "bedroom.mp4"))

    shown = list(VideoFile(clips / "bedroom.mp4").read(range(FRAMES)))
    prompts = [FramePrompt(frame, number, Prompt(box=box)) for _, frame, number, box in DETECTIONS]
    tracker = VideoTracker(load_sam2("nano"))
    rows = _masks(output)
    for seen in tracker.track(PictureList(shown), prompts):
        found = {
            number: mask
            for number, mask in zip(seen.object_ids, seen.masks.numpy(), strict=True)
            if mask.any()
        }
        of_frame = [row for row in rows.to_pylist() if row["frame_index"] == seen.frame]
        assert [row["object_id"] for row in of_frame] == list(found)
        for mask, row in zip(clip.masks(frame=seen.frame), of_frame, strict=True):
            assert np.array_equal(mask, found[row["object_id"]])


def test_objects_of_davis_are_followed_from_the_frame_that_shows_them(tmp_path: Path):
    """The README's pair: folders of frames, and annotations that begin at the second of them."""
    height, width = 48, 64
    ids = np.zeros((height, width))
    ids[8:40, 8:30], ids[10:30, 36:60] = 1, 2
    write_davis(tmp_path, {"bear": ids, "car": ids * (ids == 2)}, frames=5)
    (tmp_path / "Annotations/480p/bear/00000.png").unlink()
    output = tmp_path / "tracks"
    _run(
        f"run {tmp_path}/JPEGImages/480p {output} --mode track "
        f"--prompts {tmp_path}/Annotations/480p --set source.kind=frames "
        f"--set decode.mode=exact {SMALL}",
        output,
    )
    tracker = VideoTracker(load_sam2("nano"))
    for name, objects, first in (("bear", (1, 2), 1), ("car", (2,), 0)):
        folder = tmp_path / "JPEGImages/480p" / name
        frames = [read_image(path) for path in sorted(folder.iterdir())]
        asked = [FramePrompt(first, number, Prompt(mask=ids == number)) for number in objects]
        clip = sam2ray.open(str(output)).unit(str(folder))
        expected = {
            (seen.frame, number): mask
            for seen in tracker.track(PictureList(frames), asked)
            for number, mask in zip(seen.object_ids, seen.masks.numpy(), strict=True)
            if mask.any()
        }
        found = {
            (frame, number): mask
            for frame in clip.frames
            for number, mask in zip(clip.object_ids(frame), clip.masks(frame), strict=True)
        }
        assert found.keys() == expected.keys()
        assert min(frame for frame, _ in found) == first
        assert all(np.array_equal(mask, expected[key]) for key, mask in found.items())


def test_boxes_of_a_coco_file_are_segmented_as_the_core_does(tmp_path: Path):
    photos = tmp_path / "photos"
    write_files(photos, {"a.jpg": jpeg(64, 48, seed=1), "b.jpg": jpeg(64, 48, seed=2)})
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 5, "name": "thing"}],
        "annotations": [{"id": 9, "image_id": 1, "category_id": 5, "bbox": [8, 6, 30, 20]}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    output = tmp_path / "masks"
    _run(
        f"run {photos} {output} --mode prompt --prompts {tmp_path}/boxes.json "
        f"--set decode.mode=exact {SMALL}",
        output,
    )
    (row,) = _masks(output).to_pylist()
    assert (row["label"], Path(row["source_uri"]).name) == ("thing", "a.jpg")
    asked = [Prompt(box=(8, 6, 38, 26))]
    (seen,) = ImageSegmenter(load_sam2("nano")).segment([read_image(photos / "a.jpg")], [asked])
    best = seen.masks[0, seen.predicted_iou[0].argmax()].numpy()
    assert np.array_equal(sam2ray.open(str(output)).unit(str(photos / "a.jpg")).masks()[0], best)


def test_boxes_of_a_list_are_segmented_as_the_core_does(photos: Path, tmp_path: Path):
    boxes = {"truck": (75.0, 275.0, 1725.0, 850.0), "wheel": (425.0, 600.0, 700.0, 875.0)}
    with (photos / "list.csv").open("w") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "box_xyxy", "label"])
        lines.writerows(["truck.jpg", json.dumps(box), label] for label, box in boxes.items())
    output = tmp_path / "masks"
    exact = "--set prompts.coordinates=pixels --set decode.mode=exact"
    _run(f"run {photos}/list.csv {output} --mode prompt {exact} {SMALL}", output)
    rows = _masks(output).to_pylist()
    assert [row["label"] for row in rows] == list(boxes)
    picture = read_image(photos / "truck.jpg")
    asked = [Prompt(box=box) for box in boxes.values()]
    (seen,) = ImageSegmenter(load_sam2("nano")).segment([picture], [asked])
    best = seen.predicted_iou.argmax(dim=1)
    expected = [masks[place].numpy() for masks, place in zip(seen.masks, best, strict=True)]
    found = sam2ray.open(str(output)).unit(str(photos / "truck.jpg")).masks()
    assert np.array_equal(found, np.stack(expected))


def test_objects_are_discovered_and_followed(clips: Path, tmp_path: Path):
    output = tmp_path / "tracks"
    _run(
        f"run {clips} {output} --mode auto_track --set discover.key_every_frames=3 {SMALL}", output
    )
    rows = _masks(output).to_pylist()
    seen = {number: set() for number in {row["object_id"] for row in rows}}
    for row in rows:
        assert row["frame_index"] not in seen[row["object_id"]], "an object is once on a frame"
        seen[row["object_id"]].add(row["frame_index"])
    assert {min(frames) for frames in seen.values()} == {0, 3}, "they are new on key frames alone"
    assert {row["frame_index"] for row in rows} <= set(range(FRAMES))


def test_pictures_are_embedded_and_all_masks_of_pictures_and_clips_are_found(
    clips: Path, photos: Path, tmp_path: Path
):
    _run(f"run {photos} {tmp_path}/features --mode embed {SMALL}", tmp_path / "features")
    (row,) = pq.read_table(tmp_path / "features" / "embeddings").to_pylist()
    assert len(row["embedding"]) == np.prod(row["shape"])
    shutil.copy(photos / "truck.jpg", clips)
    _run(f"run {clips} {tmp_path}/masks {SMALL}", tmp_path / "masks")
    rows = _masks(tmp_path / "masks").to_pylist()
    by_source = {Path(row["source_uri"]).name for row in rows}
    assert by_source == {"bedroom.mp4", "truck.jpg"}
    assert {row["timestamp_s"] is None for row in rows if row["source_uri"].endswith("jpg")} == {
        True
    }
