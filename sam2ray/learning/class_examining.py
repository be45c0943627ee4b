"""A model with a head and labelled maps -> pixels by truth and answer, and from them mIoU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sam2_core import ClassHead, ClassMap, ClassSegmenter, Sam2
from sam2_core.learning.classes import class_iou, confusion, mean_iou

from .labels.labelled import BadLabels, ClassSource, LabelledClasses


@dataclass(frozen=True, slots=True, eq=False)
class AskedClasses:
    """One picture, what it shows, and how it went."""

    number: int
    labelled: LabelledClasses
    answer: ClassMap
    confusion: Tensor  # [C, C], see learning.classes


@dataclass(slots=True, eq=False)
class ClassScores:
    """Counts of many pictures, which add up."""

    classes: tuple[str, ...]
    pictures: int = 0
    skipped: list[str] = field(default_factory=list)
    counts: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.counts = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)

    def add(self, counts: Tensor) -> None:
        """Take a picture into account."""
        self.pictures += 1
        self.counts += counts

    @property
    def miou(self) -> float:
        """See mean_iou."""
        return mean_iou(self.counts)

    def iou_by_class(self) -> dict[str, float]:
        """IoU of each class; NaN of one that is nowhere."""
        return dict(zip(self.classes, class_iou(self.counts).tolist(), strict=True))

    def pixels_by_class(self) -> dict[str, int]:
        """How many pixels are of each class in truth."""
        return dict(zip(self.classes, self.counts.sum(1).tolist(), strict=True))


def ask_about_classes(
    model: Sam2, head: ClassHead, source: ClassSource, numbers: range, scores: ClassScores
) -> Iterator[AskedClasses]:
    """Examine a head on pictures one after another; what cannot be read is counted."""
    segmenter = ClassSegmenter(model, head)
    for number in numbers:
        try:
            labelled = source.picture(number)
        except BadLabels as error:
            scores.skipped.append(str(error))
            continue
        (answer,) = segmenter.segment([labelled.pixels])
        truth = torch.from_numpy(labelled.ids)
        counts = confusion(answer.ids, truth, len(answer.classes))
        scores.add(counts)
        yield AskedClasses(number, labelled, answer, counts)
