"""Figures of a training -> a picture of its curves, drawn with Pillow alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from .train_config import TrainConfig

_WIDTH, _HEIGHT, _MARGIN = 960, 300, 48
_BINS = 200  # points of a line, each the mean of the steps in it
_INK, _FAINT = (40, 40, 40), (225, 225, 225)
_COLOURS = (
    (31, 119, 180),
    (214, 39, 40),
    (44, 160, 44),
    (148, 103, 189),
    (255, 127, 14),
    (23, 150, 160),
)
_PANELS = (
    ("loss", ("loss",), None),
    (
        "IoU while learning",
        ("alike_iou", "first_iou", "last_iou", "followed_iou", "class_iou"),
        1.0,
    ),
    (
        "IoU in examinations, J&F of clips",
        ("iou_1_clicks", "iou_3_clicks", "iou_5_clicks", "iou_box", "j_and_f", "miou"),
        1.0,
    ),
)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a panel lies, and what its edges stand for."""

    top: int
    steps: int
    highest: float

    def point(self, step: float, value: float) -> tuple[float, float]:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * step / max(1, self.steps)
        share = min(1.0, max(0.0, value / self.highest))
        return x, self.top + _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * share


def draw_curve(figures: pa.Table, config: TrainConfig) -> bytes:
    """A PNG with losses and IoUs over all steps; stages are told apart by lines."""
    starts = np.cumsum([0, *(stage.steps for stage in config.stages)])
    numbers = figures["stage_number"].to_numpy()
    steps = figures["step"].to_numpy() + starts[numbers]
    image = Image.new("RGB", (_WIDTH, _HEIGHT * len(_PANELS)), "white")
    draw = ImageDraw.Draw(image)
    for place, (title, names, highest) in enumerate(_PANELS):
        lines = {name: _line(figures[name].to_numpy(zero_copy_only=False), steps) for name in names}
        lines = {name: line for name, line in lines.items() if len(line)}
        top = highest or _highest(list(lines.values()))
        frame = _Frame(place * _HEIGHT, int(starts[-1]), top)
        _draw_frame(draw, frame, title, config, starts)
        for number, (name, line) in enumerate(lines.items()):
            colour = _COLOURS[number]
            points = [frame.point(step, value) for step, value in line]
            if len(points) > 1:
                draw.line(points, fill=colour, width=2)
            for x, y in points if len(points) <= _BINS // 8 else ():
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
            words = f"{name} {line[-1][1]:.3f}"
            draw.text((_MARGIN + 150 * number, frame.top + 24), words, fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _line(values: np.ndarray, steps: np.ndarray) -> list[tuple[float, float]]:
    """Means of bins, without what is not there."""
    known = np.isfinite(values.astype(float))
    if not known.any():
        return []
    values, steps = values[known], steps[known]
    pieces = np.array_split(np.arange(len(values)), min(_BINS, len(values)))
    return [(float(steps[piece].mean()), float(values[piece].mean())) for piece in pieces]


def _highest(lines: Sequence[list[tuple[float, float]]]) -> float:
    """The top of a panel: what all but the wildest values stay below."""
    values = [value for line in lines for _, value in line]
    return float(np.quantile(values, 0.98)) * 1.1 or 1.0 if values else 1.0


def _draw_frame(
    draw: ImageDraw.ImageDraw, frame: _Frame, title: str, config: TrainConfig, starts: np.ndarray
) -> None:
    draw.text((_MARGIN, frame.top + 8), title, fill=_INK)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        left = frame.point(0, share * frame.highest)
        draw.line((left, frame.point(frame.steps, share * frame.highest)), fill=_FAINT)
        draw.text((6, left[1] - 6), f"{share * frame.highest:.3g}", fill=_INK)
    for stage, start in zip(config.stages, starts, strict=False):
        x, bottom = frame.point(float(start), 0)
        draw.line((x, frame.top + 40, x, bottom), fill=_FAINT)
        draw.text((x + 3, bottom + 4), f"{stage.name} ({stage.steps:,} steps)", fill=_INK)
