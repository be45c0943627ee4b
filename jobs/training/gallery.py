"""Photographs with all the masks that nano finds in them, in one row: the picture of the README.

python jobs/training/gallery.py gallery.jpg PHOTO.jpg ...
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from sam2_core import Mask, MaskGenerator, load_sam2, read_image
from sam2ray.pages.painting import ColouredMask, SmallGrid, jpeg, masks_png, small_picture

_HEIGHT_PX = 260


def painted(photo: Path, finder: MaskGenerator) -> Image.Image:
    """A small picture under its masks, the large ones below."""
    pixels = read_image(photo)
    (masks,) = finder.generate([pixels])
    height, width = pixels.shape[:2]
    longer_px = round(_HEIGHT_PX * max(1.0, width / height))
    grid = SmallGrid.of((height, width), longer_px)
    coloured = [ColouredMask(counts_of(mask), n) for n, mask in enumerate(by_size(masks))]
    over = Image.open(io.BytesIO(masks_png(grid, coloured))).convert("RGBA")
    return Image.alpha_composite(small_picture(pixels, longer_px).convert("RGBA"), over)


def by_size(masks: list[Mask]) -> list[Mask]:
    """The largest first."""
    return sorted(masks, key=lambda mask: -mask.area)


def counts_of(mask: Mask) -> str:
    """Its run lengths as COCO writes them."""
    return str(mask.rle["counts"])


def main(target: Path, *photos: Path) -> None:
    """Paint them side by side."""
    finder = MaskGenerator(load_sam2("nano"))
    pictures = [painted(photo, finder) for photo in photos]
    row = Image.new("RGB", (sum(one.width for one in pictures), max(p.height for p in pictures)))
    left = 0
    for picture in pictures:
        row.paste(picture.convert("RGB"), (left, 0))
        left += picture.width
    target.write_bytes(jpeg(row))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
