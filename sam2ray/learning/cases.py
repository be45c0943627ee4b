"""The worst and the best answers of an examination, as a picture to look at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sam2_core import Sam2
from sam2_core.inference.preprocess import RgbArray

from .examining import PictureScores, ask_about
from .labels.labelled import LabelSource
from .labels.mask_stack import Masks

_TILE = 240
_GAP = 6
_COLOURS = np.array(
    [[230, 60, 50], [60, 160, 240], [80, 200, 80], [250, 190, 40], [190, 90, 220], [60, 210, 200]],
    np.float32,
)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One picture under its label and under the answer."""

    label: Image.Image
    answer: Image.Image
    words: str


def draw_cases(
    model: Sam2, source: LabelSource, worst: Sequence[int], best: Sequence[int]
) -> bytes:
    """Labels above answers to one click, the worst pictures first: a PNG."""
    rows = [_asked(model, source, numbers) for numbers in (worst, best)]
    return draw_sheet(rows[0], rows[1], "labels above, answers to one click below")


def draw_sheet(worst: Sequence[Case], best: Sequence[Case], words: str) -> bytes:
    """Two rows of cases, each label above its answer: a PNG."""
    columns = max(1, len(worst), len(best))
    height = 2 * (2 * _TILE + 3 * _GAP + 16)
    sheet = Image.new("RGB", (columns * (_TILE + _GAP) + _GAP, height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (word, cases) in enumerate((("worst", worst), ("best", best))):
        top = place * (height // 2)
        draw.text((_GAP, top + 2), f"{word}: {words}", fill="black")
        for column, case in enumerate(cases):
            left = _GAP + column * (_TILE + _GAP)
            sheet.paste(case.label, (left, top + 16))
            sheet.paste(case.answer, (left, top + 16 + _TILE + _GAP))
            draw.text(
                (left + 4, top + 20 + _TILE + _GAP),
                case.words,
                fill="white",
                stroke_width=1,
                stroke_fill="black",
            )
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _asked(model: Sam2, source: LabelSource, numbers: Sequence[int]) -> list[Case]:
    found: list[Case] = []
    for number in numbers:
        for asked in ask_about(model, source, range(number, number + 1), PictureScores()):
            pixels = asked.labelled.pixels
            label = tile_under_masks(pixels, np.asarray(asked.labelled.masks))
            answer = tile_under_masks(pixels, asked.marks.masks.numpy())
            mean = float(asked.marks.clicks[1].mean())
            found.append(Case(label, answer, f"#{asked.number}: IoU {mean:.2f}"))
    return found


def tile_under_masks(pixels: RgbArray, masks_NHW: Masks) -> Image.Image:
    """A picture under its masks, as a tile."""
    return _tile(_under_masks(pixels, masks_NHW))


def _under_masks(pixels: RgbArray, masks_NHW: Masks) -> RgbArray:
    """A picture under its masks, the smallest on top."""
    canvas = pixels.astype(np.float32)
    for place in np.argsort(-masks_NHW.reshape(len(masks_NHW), -1).sum(1)):
        mask = masks_NHW[place]
        canvas[mask] = canvas[mask] * 0.45 + _COLOURS[place % len(_COLOURS)] * 0.55
    return canvas.astype(np.uint8)


def class_tile(pixels: RgbArray, ids_HW: np.ndarray, plain: Sequence[int]) -> Image.Image:
    """A picture under its classes, of which the plain ones are not painted."""
    is_painted = ~np.isin(ids_HW, plain)
    canvas = pixels.astype(np.float32)
    colours = _COLOURS[ids_HW[is_painted] % len(_COLOURS)]
    canvas[is_painted] = canvas[is_painted] * 0.45 + colours * 0.55
    return _tile(canvas.astype(np.uint8))


def _tile(pixels: RgbArray) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((_TILE, _TILE))
    tile = Image.new("RGB", (_TILE, _TILE), (245, 245, 245))
    tile.paste(image, ((_TILE - image.width) // 2, (_TILE - image.height) // 2))
    return tile
