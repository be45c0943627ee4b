"""Photographs under all the masks that nano finds, and a video through which it follows some.

    python jobs/training/gallery.py gallery.jpg PHOTO.jpg ... [VIDEO.mp4]

Of a video the largest masks of its first frame that leave most of it free are followed.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ops import encode_run_lengths, to_coco_strings
from sam2_core import (
    FramePrompt,
    Mask,
    MaskGenerator,
    Prompt,
    Sam2,
    VideoTracker,
    load_sam2,
    read_image,
)
from sam2_core.inference.preprocess import RgbArray
from sam2_core.inference.video_file import VideoFile
from sam2ray.pages.painting import ColouredMask, SmallGrid, jpeg, masks_png, small_picture

_HEIGHT_PX, _WIDTH_PX = 260, 1100
_FRAMES = (0, 20, 40, 60)
_FOLLOWED, _MOST_SHARE = 8, 0.08


def found_in(photo: Path, model: Sam2) -> Image.Image:
    """A small picture under its masks, the large ones below."""
    pixels = read_image(photo)
    (masks,) = MaskGenerator(model).generate([pixels])
    return _painted(pixels, [_counts_of(mask) for mask in _by_size(masks)])


def followed_through(video: Path, model: Sam2) -> list[Image.Image]:
    """Some frames under the masks of the same things."""
    frames = [np.asarray(frame) for frame in VideoFile(video).read(range(max(_FRAMES) + 1))]
    (masks,) = MaskGenerator(model).generate([frames[0]])
    most = _MOST_SHARE * frames[0][..., 0].size
    chosen = [mask for mask in _by_size(masks) if mask.area < most][:_FOLLOWED]
    prompts = [FramePrompt(0, n, Prompt(mask=mask.decode())) for n, mask in enumerate(chosen)]
    tracked = {one.frame: one for one in VideoTracker(model).track(frames, prompts)}
    return [
        _painted(frames[n], to_coco_strings(encode_run_lengths(tracked[n].masks))) for n in _FRAMES
    ]


def _painted(pixels: RgbArray, counts: Iterable[str]) -> Image.Image:
    height, width = pixels.shape[:2]
    longer_px = round(_HEIGHT_PX * max(1.0, width / height))
    grid = SmallGrid.of((height, width), longer_px)
    coloured = [ColouredMask(one, n) for n, one in enumerate(counts)]
    over = Image.open(io.BytesIO(masks_png(grid, coloured))).convert("RGBA")
    return Image.alpha_composite(small_picture(pixels, longer_px).convert("RGBA"), over)


def _by_size(masks: list[Mask]) -> list[Mask]:
    """The largest first."""
    return sorted(masks, key=lambda mask: -mask.area)


def _counts_of(mask: Mask) -> str:
    """Its run lengths as COCO writes them."""
    return str(mask.rle["counts"])


def _in_a_row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Side by side, and as wide as all rows are."""
    row = Image.new("RGB", (sum(one.width for one in pictures), max(p.height for p in pictures)))
    left = 0
    for picture in pictures:
        row.paste(picture.convert("RGB"), (left, 0))
        left += picture.width
    return row.resize((_WIDTH_PX, round(row.height * _WIDTH_PX / row.width)))


def main(target: Path, *media: Path) -> None:
    """Paint photographs side by side, and each video below."""
    model = load_sam2("nano")
    videos = [one for one in media if one.suffix == ".mp4"]
    photos = [found_in(one, model) for one in media if one not in videos]
    rows = [_in_a_row(photos)] if photos else []
    rows += [_in_a_row(followed_through(video, model)) for video in videos]
    target.write_bytes(jpeg(Image.fromarray(np.concatenate([np.asarray(row) for row in rows]))))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
