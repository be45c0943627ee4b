"""The worst and the best answers of an examination, as a picture to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from sam2_core import Sam2
from sam2_core.inference.preprocess import RgbArray

from .examining import Asked, PictureScores, ask_about
from .labels.labelled import LabelSource, Masks

_TILE = 240
_GAP = 6
_COLOURS = np.array(
    [[230, 60, 50], [60, 160, 240], [80, 200, 80], [250, 190, 40], [190, 90, 220], [60, 210, 200]],
    np.float32,
)


def draw_cases(
    model: Sam2, source: LabelSource, worst: Sequence[int], best: Sequence[int]
) -> bytes:
    """Rows of labels above answers to one click, the worst pictures first: a PNG."""
    import io

    rows = [("worst", _asked(model, source, worst)), ("best", _asked(model, source, best))]
    columns = max(1, *(len(asked) for _, asked in rows))
    height = 2 * (2 * _TILE + 3 * _GAP + 16)
    sheet = Image.new("RGB", (columns * (_TILE + _GAP) + _GAP, height), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (word, asked) in enumerate(rows):
        top = place * (height // 2)
        draw.text(
            (_GAP, top + 2), f"{word}: labels above, answers to one click below", fill="black"
        )
        for column, one in enumerate(asked):
            left = _GAP + column * (_TILE + _GAP)
            pixels, masks = one.labelled.pixels, one.labelled.masks
            sheet.paste(_tile(pixels, masks), (left, top + 16))
            answers = one.marks.masks.numpy()
            sheet.paste(_tile(pixels, answers), (left, top + 16 + _TILE + _GAP))
            mean = float(one.marks.clicks[1].mean())
            words = f"#{one.number}: IoU {mean:.2f}"
            draw.text(
                (left + 4, top + 20 + _TILE + _GAP),
                words,
                fill="white",
                stroke_width=1,
                stroke_fill="black",
            )
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _asked(model: Sam2, source: LabelSource, numbers: Sequence[int]) -> list[Asked]:
    found: list[Asked] = []
    for number in numbers:
        found += ask_about(model, source, range(number, number + 1), PictureScores())
    return found


def _tile(pixels: RgbArray, masks_NHW: Masks) -> Image.Image:
    """A picture under its masks, the smallest on top."""
    canvas = pixels.astype(np.float32)
    for place in np.argsort(-masks_NHW.reshape(len(masks_NHW), -1).sum(1)):
        mask = masks_NHW[place]
        canvas[mask] = canvas[mask] * 0.45 + _COLOURS[place % len(_COLOURS)] * 0.55
    image = Image.fromarray(canvas.astype(np.uint8))
    image.thumbnail((_TILE, _TILE))
    tile = Image.new("RGB", (_TILE, _TILE), (245, 245, 245))
    tile.paste(image, ((_TILE - image.width) // 2, (_TILE - image.height) // 2))
    return tile
