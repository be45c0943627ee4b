"""A model and labels -> how good it is by now, and which answers were best and worst."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from sam2_core import ImageSegmenter, Sam2
from sam2_core.learning.exams import CLICKS, Marks, correlation, examine_picture

from .labels.labelled import BadLabels, ClassSource, LabelledImage, LabelSource

_MOST_OBJECTS = 32  # of a picture
_LEAST_PIXELS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One picture, what was sought in it, and how it went."""

    number: int
    labelled: LabelledImage
    marks: Marks


@dataclass(slots=True)
class PictureScores:
    """Marks of many objects."""

    clicks: dict[int, list[float]] = field(default_factory=lambda: {n: [] for n in CLICKS})
    box: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    pictures: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, marks: Marks) -> None:
        """Take a picture into account."""
        self.pictures += 1
        for count, ious in marks.clicks.items():
            self.clicks[count] += ious.tolist()
        self.box += marks.box.tolist()
        self.predicted += marks.predicted.tolist()

    @property
    def objects(self) -> int:
        """How many were asked for."""
        return len(self.box)

    def figures(self) -> dict[str, float]:
        """Means, and how well the model knows how good it is."""
        found = {f"iou_{count}_clicks": _mean(self.clicks[count]) for count in CLICKS}
        found["iou_box"] = _mean(self.box)
        found["quality_correlation"] = correlation(self.predicted, self.clicks[1])
        return found


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def ask_about(
    model: Sam2, source: LabelSource, numbers: range, scores: PictureScores
) -> Iterator[Asked]:
    """Examine a model on pictures one after another; what cannot be read is counted."""
    segmenter = ImageSegmenter(model)
    for number in numbers:
        try:
            labelled = source.picture(number)
        except BadLabels as error:
            scores.skipped.append(str(error))
            continue
        areas = labelled.masks.reshape(len(labelled.masks), -1).sum(1)
        kept = labelled.masks[areas >= _LEAST_PIXELS][:_MOST_OBJECTS]
        if not len(kept):
            continue
        generator = torch.Generator().manual_seed(number)
        chosen = LabelledImage(labelled.pixels, kept)
        marks = examine_picture(segmenter, labelled.pixels, torch.from_numpy(kept), generator)
        scores.add(marks)
        yield Asked(number, chosen, marks)


def numbers_of(source: LabelSource | ClassSource, most: int) -> range:
    """The first so many pictures."""
    return range(most if source.pictures is None else min(most, source.pictures))
