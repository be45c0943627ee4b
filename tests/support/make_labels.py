"""The same pictures and clips with masks in every layout that labels come in."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from make_archive import rle
from PIL import Image

from sam2_core.learning.world import LabelledClip, LabelledPicture, World

WORLD = World(31, size=96)


def pictures(count: int) -> list[LabelledPicture]:
    """The first pictures of a small world."""
    return [WORLD.picture(number) for number in range(count)]


def masks_of(picture: LabelledPicture) -> np.ndarray:
    """All that can be seen in it, bool [N, H, W]."""
    return picture.masks(picture.object_ids(16))


def write_coco(folder: Path, made: Sequence[LabelledPicture]) -> Path:
    """instances.json beside its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, picture in enumerate(made):
        name = f"{number}.png"
        Image.fromarray(picture.pixels).save(folder / name)
        height, width = picture.ids.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        annotations += [
            {"id": len(annotations) + n, "image_id": number, "segmentation": rle(mask)}
            for n, mask in enumerate(masks_of(picture))
        ]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def write_sa1b(folder: Path, made: Sequence[LabelledPicture]) -> Path:
    """sa_1.png beside sa_1.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(made):
        name = f"sa_{number}.png"
        Image.fromarray(picture.pixels).save(folder / name)
        annotations = [{"segmentation": rle(mask)} for mask in masks_of(picture)]
        content = {"image": {"file_name": name}, "annotations": annotations}
        (folder / f"sa_{number}.json").write_text(json.dumps(content))
    return folder


def write_davis_clip(folder: Path, name: str, clip: LabelledClip, resolution: str = "480p") -> Path:
    """JPEGImages and Annotations, with a palette."""
    for kind in ("JPEGImages", "Annotations"):
        (folder / kind / resolution / name).mkdir(parents=True)
    for number in range(len(clip)):
        Image.fromarray(clip.frames[number]).save(
            folder / "JPEGImages" / resolution / name / f"{number:05}.jpg", quality=95
        )
        ids = Image.fromarray(clip.ids[number].astype(np.uint8), "P")
        ids.putpalette([value for n in range(256) for value in (n, 255 - n, n * 7 % 256)])
        ids.save(folder / "Annotations" / resolution / name / f"{number:05}.png")
    return folder


def png_header(width: int, height: int) -> bytes:
    """The beginning of a grey PNG of this size, up to where its pixels would begin."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", len(header) - 4) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT"


def write_sav_clip(folder: Path, name: str, clip: LabelledClip, stride: int = 4) -> Path:
    """A video whose every fourth frame is annotated."""
    folder.mkdir(parents=True, exist_ok=True)
    write_frames(folder / f"{name}.mp4", clip.frames)
    objects = clip[0].object_ids(16)
    masklet = [
        [rle(clip[frame].masks([one])[0]) for one in objects]
        for frame in range(0, len(clip), stride)
    ]
    content = {
        "video_id": name,
        "masklet_id": objects,
        "masklet": masklet,
        "video_frame_count": float(len(clip)),
    }
    (folder / f"{name}_manual.json").write_text(json.dumps(content))
    return folder


def write_sav_folders(folder: Path, name: str, clip: LabelledClip, stride: int = 4) -> Path:
    """All frames as pictures, and of every fourth a PNG for each object, in its folder."""
    shown = folder / "JPEGImages_24fps" / name
    shown.mkdir(parents=True)
    for number in range(len(clip)):
        Image.fromarray(clip.frames[number]).save(shown / f"{number:05}.jpg", quality=95)
    for place, one in enumerate(clip[0].object_ids(16)):
        of_object = folder / "Annotations_6fps" / name / f"{place:03}"
        of_object.mkdir(parents=True)
        for number in range(0, len(clip), stride):
            mask = Image.fromarray(clip[number].masks([one])[0])
            mask.convert("L").save(of_object / f"{number:05}.png")
    return folder


def write_frames(path: Path, frames: np.ndarray) -> Path:
    """A video of given frames [T, H, W, 3]."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path
