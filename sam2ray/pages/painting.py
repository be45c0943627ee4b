"""Masks and pixels -> small pictures: a JPEG of what was seen, and a PNG of masks to lie on it.

A mask is never decoded as a whole, however large its picture is said to be: of its run lengths only
those pixels are asked for that the small picture has.
"""

# H,W pixels of a picture  h,w of the small one

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from ops import from_coco_strings

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Rgb = tuple[int, int, int]

COLOURS = 120  # each takes two places of a PNG's palette, one for a mask and one for its outline
_GOLDEN = 0.618034  # of a turn of hues from one colour to the next: no two of a few are alike
_TONES = ((0.78, 1.0), (0.58, 0.98), (0.92, 0.86))  # saturation and value
_FILL, _LINE = 110, 255  # opacity
_PX_A_LINE = 320  # of the longer side for each pixel that an outline is thick
_JPEG_QUALITY = 84


@dataclass(frozen=True, slots=True)
class ColouredMask:
    """The run lengths of a mask, as COCO writes them, and the number of its colour."""

    counts: str
    colour: int


def small_hw(size_hw: tuple[int, int], most_px: int) -> tuple[int, int]:
    """The size of the small picture: no side is longer, and none that is shorter grows."""
    scale = min(1.0, most_px / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


@dataclass(frozen=True, slots=True, eq=False)
class SmallGrid:
    """Which pixels of a picture its small one shows."""

    size_hw: tuple[int, int]
    small_hw: tuple[int, int]
    places: np.ndarray[Any, np.dtype[np.int64]]  # [w * h], column after column, as COCO counts

    @classmethod
    def of(cls, size_hw: tuple[int, int], most_px: int) -> SmallGrid:
        """The grid of a picture; ValueError if it has no pixel."""
        if min(size_hw) < 1:
            raise ValueError(f"masks of {size_hw[1]} x {size_hw[0]} pixels")
        small = small_hw(size_hw, most_px)
        rows, columns = (_middles(*sides) for sides in zip(size_hw, small, strict=True))
        places = columns[:, None] * size_hw[0] + rows[None, :]
        return cls(size_hw, small, places.ravel())

    def sample(self, counts: str) -> Mask:
        """A mask on the small picture, bool [h, w]; ValueError if it is none of this size."""
        ends = np.cumsum(from_coco_strings([counts], *self.size_hw).counts.numpy())
        # Where each run ends among the places that are asked for, which ascend as runs do.
        borders = np.searchsorted(self.places, ends)
        passed = np.cumsum(np.bincount(borders, minlength=len(self.places) + 1)[:-1])
        height, width = self.small_hw
        return (passed % 2 == 1).reshape(width, height).T


def _middles(side: int, small: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return ((np.arange(small) + 0.5) * side / small).astype(np.int64)


def masks_png(grid: SmallGrid, masks: Iterable[ColouredMask]) -> bytes:
    """Masks over one another in the order in which they come, transparent where there is none."""
    canvas = np.zeros(grid.small_hw, np.uint8)
    thickness = max(1, round(max(grid.small_hw) / _PX_A_LINE))
    for mask in masks:
        inside = grid.sample(mask.counts)
        place = 1 + 2 * (mask.colour % COLOURS)
        canvas[inside] = place
        canvas[outline(inside, thickness)] = place + 1
    height, width = canvas.shape
    image = Image.frombytes("P", (width, height), canvas.tobytes())
    image.putpalette([level for colour in _palette() for level in colour])
    opacity = bytes([0, *(_FILL, _LINE) * COLOURS])
    return _encoded(image, "PNG", transparency=opacity, optimize=True)


def outline(mask: Mask, thickness: int) -> Mask:
    """The pixels of a mask that lie so near to its border."""
    inner = mask
    for _ in range(thickness):
        framed = np.pad(inner, 1)
        rows = framed[:-2, 1:-1] & framed[2:, 1:-1]
        inner = inner & rows & framed[1:-1, :-2] & framed[1:-1, 2:]
    return mask & ~inner


def small_picture(pixels: np.ndarray[Any, Any], most_px: int) -> Image.Image:
    """Pixels [H, W, 3] as the small picture."""
    height, width = small_hw(pixels.shape[:2], most_px)
    image = Image.fromarray(pixels)
    # In two steps where much goes: a box over whole pixels first, which is many times as fast.
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def jpeg(image: Image.Image) -> bytes:
    """The file of a small picture."""
    return _encoded(image, "JPEG", quality=_JPEG_QUALITY, optimize=True)


def css_colour(number: int) -> str:
    """The colour of a mask as style sheets write it."""
    red, green, blue = _colour(number % COLOURS)
    return f"#{red:02x}{green:02x}{blue:02x}"


@cache
def _palette() -> list[Rgb]:
    """Nothing, and of each colour the mask and its lighter outline."""
    found: list[Rgb] = [(0, 0, 0)]
    for number in range(COLOURS):
        colour = _colour(number)
        red, green, blue = (round(level + (255 - level) * 0.35) for level in colour)
        found += [colour, (red, green, blue)]
    return found


def _colour(number: int) -> Rgb:
    saturation, value = _TONES[number % len(_TONES)]
    levels = colorsys.hsv_to_rgb((0.02 + number * _GOLDEN) % 1, saturation, value)
    red, green, blue = (round(level * 255) for level in levels)
    return red, green, blue


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 of Pillow
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
