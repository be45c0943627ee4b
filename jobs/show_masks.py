"""Draws all masks of a picture beside it, with the small untrained model."""

from __future__ import annotations

import argparse
import colorsys
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from sam2_core import Mask, MaskGenerator, Sam2Error, load_sam2, read_image


def main() -> None:
    """Segment the picture and save what is found."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("photo", nargs="?", metavar="PHOTO", help="without it, a drawn picture")
    asked.add_argument("out", nargs="?", metavar="OUT", type=Path, default=Path("masks.png"))
    given = asked.parse_args()
    if not is_writable(given.out):
        asked.error(f"{given.out}: give a file such as FOLDER/masks.png, in a folder that is there")
    photo = given.photo or draw_picture(given.out.with_name("drawn_picture.png"))
    picture = read_image(photo)
    (masks,) = MaskGenerator(load_sam2("nano")).generate([picture])
    Image.fromarray(np.hstack([picture, painted(picture, masks)])).save(given.out)
    print(f"{len(masks)} masks, drawn in {given.out}.")
    print("The model `nano` is UNTRAINED: its weights are random, and so is what it finds.")


def is_writable(path: Path) -> bool:
    """Whether the folder is there, and the suffix one of those that Pillow writes."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    return kind in Image.SAVE and path.parent.is_dir() and not path.is_dir()


def draw_picture(path: Path) -> Path:
    """A plain picture for those who have none at hand: a gradient with three discs."""
    ys, xs = np.mgrid[0:240, 0:360]
    canvas = np.stack([xs * 0.7, ys, 255 - xs * 0.5], axis=-1)
    for y, x, radius, colour in ((80, 90, 50, 230), (150, 250, 60, 40), (60, 280, 30, 140)):
        canvas[(ys - y) ** 2 + (xs - x) ** 2 < radius**2] = colour
    Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).save(path)
    return path


def painted(picture: np.ndarray, masks: list[Mask]) -> np.ndarray:
    """The picture under the masks, large ones first, each in a colour of its own."""
    canvas = picture.astype(np.float32)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -mask.area)):
        colour = np.array(colorsys.hsv_to_rgb(number * 0.382 % 1, 0.8, 1.0)) * 255
        canvas[mask.decode()] = canvas[mask.decode()] * 0.45 + colour * 0.55
    return canvas.astype(np.uint8)


if __name__ == "__main__":
    try:
        main()
    except (Sam2Error, OSError, ValueError) as error:
        print(f"show_masks: {error}", file=sys.stderr)
        sys.exit(2)
