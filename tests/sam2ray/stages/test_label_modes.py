"""Every mode on real video files and folders, from bytes to committed rows: as the core by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
import torch
from label_bench import Bench, masks_of, prompts, units_of
from make_archive import box_mask, rle
from make_clip import moving_shapes
from PIL import Image
from small_models import lively_model

from sam2_core import (
    AutoMaskConfig,
    FramePrompt,
    ImageSegmenter,
    MaskGenerator,
    Prompt,
    TrackingConfig,
    VideoTracker,
)
from sam2_core.inference.frame_sources import FrameSource, PictureList, open_frames
from sam2_core.inference.video_file import VideoFile
from sam2ray.modes.auto_track import DiscoverObjects
from sam2ray.records import Unit

SIDE = 64
SIZE_HW = (72, 96)
COUNT = 9
MASK = box_mask(*SIZE_HW, (20, 15, 60, 50))
MASKS = {
    "points_per_side": 3,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
}
SETTINGS = {
    "model": {"name": "nano", "image_size": SIDE},
    "masks": MASKS,
    "discover": {"key_every_frames": 4},
    "resources": {"batch_size": 4, "video_lanes": 2},
}


def model():
    return lively_model(SIDE, seed=1, object_lift=0.1)


@pytest.fixture(scope="module", params=["video", "frames"])
def media(request, tmp_path_factory) -> Path:
    """A clip with textures, as a file or as a folder of pictures."""
    path = tmp_path_factory.mktemp(request.param)
    shapes = moving_shapes(COUNT, *SIZE_HW, seed=3)
    if request.param == "frames":
        for number, shape in enumerate(shapes):
            Image.fromarray(shape).save(path / f"{number:05d}.png")
        return path
    with av.open(str(path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = SIZE_HW
        stream.pix_fmt = "yuv420p"
        for shape in shapes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shape, format="rgb24")))
        container.mux(stream.encode())
    return path / "clip.mp4"


def unit_for(media: Path, text: str | None = None) -> Unit:
    (unit,) = units_of(media, "frames" if media.is_dir() else "auto")
    return replace(unit, prompts=text)


def label(media: Path, folder: Path, mode: str, text: str | None = None, **settings) -> pa.Table:
    extra = {"prompts": {"coordinates": "pixels"}} if text else {}
    bench = Bench(model(), folder, SETTINGS | {"mode": mode} | extra | settings)
    (row,) = bench.label([unit_for(media, text)])
    cut = "max_frames" in settings.get("decode", {}).get("video", {})
    assert (row["status"], row["error_class"]) == ("ok", "partial" if cut else None)
    assert row["is_committed"]
    assert row["masks"] == len(row["found"])
    assert (row["height"], row["width"]) == SIZE_HW
    return row["found"]


def exact(**video) -> dict:
    return {"decode": {"mode": "exact", "video": video}}


def pictures_of(media: Path) -> list[np.ndarray]:
    source = open_frames(media)
    return list(source.read(range(source.length() or 0)))


@pytest.mark.parametrize("mode", ["exact", "rounded"])
def test_track(media, tmp_path, mode):
    text = prompts(
        {"frame": 3, "object_id": 4, "mask": rle(MASK), "label": "cat"},
        {"frame": 1, "object_id": 9, "points": [[40, 30]], "prompt_id": "p"},
    )
    found = label(media, tmp_path, "track", text, decode={"mode": mode})
    source: FrameSource = open_frames(media)
    if mode == "rounded" and not media.is_dir():
        source = VideoFile(media, resized_to=SIDE)
    tracker = VideoTracker(model(), TrackingConfig(max_cond_frames_in_attn=8))
    asked = [
        FramePrompt(3, 4, Prompt(mask=MASK)),
        FramePrompt(1, 9, Prompt(points=[(40, 30)], labels=[1])),
    ]
    expected = [
        (tracked.frame, object_id, mask.numpy())
        for tracked in tracker.track(source, asked)
        for object_id, mask in zip(tracked.object_ids, tracked.masks, strict=True)
        if mask.any()
    ]
    ids = list(zip(found["frame_index"].to_pylist(), found["object_id"].to_pylist(), strict=True))
    assert ids == [(frame, object_id) for frame, object_id, _ in expected]
    if mode == "exact" or not media.is_dir():  # small pictures of folders are never rounded
        assert np.array_equal(masks_of(found), np.array([mask for _, _, mask in expected]))


def test_auto(media, tmp_path):
    found = label(media, tmp_path, "auto", **exact(every_nth=4))
    generator = MaskGenerator(model(), AutoMaskConfig(**MASKS))
    pictures = pictures_of(media)[::4]
    by_hand = generator.generate(pictures)
    assert found["rle_counts"].to_pylist() == [m.rle["counts"] for masks in by_hand for m in masks]
    expected = [4 * n for n, masks in enumerate(by_hand) for _ in masks]
    assert found["frame_index"].to_pylist() == expected
    times = [None if media.is_dir() else number / 25 for number in expected]
    assert found["timestamp_s"].to_pylist() == times


def test_embed(media, tmp_path):
    found = label(media, tmp_path, "embed", **exact(max_frames=5))
    by_hand = ImageSegmenter(model()).embed(pictures_of(media)[:5]).embedding.coarse_BPC
    values = np.array(found["embedding"].to_pylist(), np.float32)
    assert np.allclose(values, by_hand.flatten(1).numpy(), atol=2e-3)
    assert found["frame_index"].to_pylist() == [0, 1, 2, 3, 4]


def test_prompt(media, tmp_path):
    text = prompts({"frame": 6, "points": [[40, 30]]}, {"frame": 2, "box": [10, 10, 60, 50]})
    found = label(media, tmp_path, "prompt", text, **exact())
    pictures = pictures_of(media)
    answers = ImageSegmenter(model()).segment(
        [pictures[2], pictures[6]],
        [[Prompt(box=(10, 10, 60, 50))], [Prompt(points=[(40, 30)], labels=[1])]],
    )
    assert found["frame_index"].to_pylist() == [2, 6]
    best = [answer.masks[0, answer.predicted_iou[0].argmax()] for answer in answers]
    assert np.array_equal(masks_of(found), torch.stack(best).numpy())


def test_auto_track(media, tmp_path):
    found = label(media, tmp_path, "auto_track", **exact())
    source = PictureList(pictures_of(media))
    session = VideoTracker(model(), TrackingConfig(max_cond_frames_in_attn=8)).session(source)
    (masks,) = MaskGenerator(model(), AutoMaskConfig(**MASKS)).generate([pictures_of(media)[0]])
    best = max(masks, key=lambda mask: mask.predicted_iou)
    session.prompt(FramePrompt(0, 1, Prompt(mask=best.decode())))
    followed = {frame.frame: frame.masks[0].numpy() for frame in session.propagate()}
    rows = found.filter(pa.compute.equal(found["object_id"], 1))
    seen = rows["frame_index"].to_pylist()
    assert seen == [frame for frame, mask in followed.items() if mask.any()]
    assert np.array_equal(masks_of(rows), [followed[frame] for frame in seen])
    assert found["object_id"].to_pylist()[0] == 1


class RoomForOne(MaskGenerator):
    """Has too little memory while more than one clip is at work."""

    at_work: dict[str, object]

    def find(self, images):
        if len(self.at_work) > 1:
            raise torch.OutOfMemoryError("two are too many")
        return super().find(images)


def test_clips_that_lack_memory_together_are_labelled_one_by_one(media, tmp_path):
    unit = unit_for(media)
    units = [unit, replace(unit, end_frame=COUNT)]
    bench = Bench(model(), tmp_path, SETTINGS | {"mode": "auto_track"})
    mode = bench.labeller.videos._mode
    assert isinstance(mode, DiscoverObjects)
    generator = RoomForOne(model(), AutoMaskConfig(**MASKS))
    generator.at_work = bench.hands._open
    bench.labeller.videos._mode = replace(mode, generator=generator)
    rows = bench.label(units)
    assert [(row["status"], row["error_message"]) for row in rows] == [("ok", None)] * 2
    assert all(row["masks"] > 0 for row in rows)
