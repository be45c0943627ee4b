"""A model and labels -> how good it is by now, and which answers were best and worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch

from ops import component_areas, decode_run_lengths, from_coco_strings
from sam2_core import ImageSegmenter, MaskGenerator, Sam2
from sam2_core.inference.preprocess import RgbArray
from sam2_core.learning.exams import CLICKS, Marks, correlation, examine_picture

from .labels.labelled import BadLabels, ClassSource, LabelledImage, LabelSource
from .labels.mask_stack import Masks, MaskStack, areas_of, chosen_of

_MASKS_AT_ONCE = 8
_BAND = 1 << 16  # pixels of all masks that are compared at once
_FOUND = 0.5  # IoU from which on a mask is one of an object
_SIZES = {"small": 0.0, "medium": 32**2 / (640 * 480), "large": 96**2 / (640 * 480)}
"""From which share of its picture on an object is what COCO calls so, in its own pictures."""
_WHOLE = 0.99  # of an object in one piece, but for specks

GroupMarks = dict[str, dict[str, float | int]]
"""How many objects there are of a kind, and their means."""


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
    predicted: list[float] = field(default_factory=list)  # of the mask that was chosen first
    three: list[float] = field(default_factory=list)  # IoU of each of the three after one click
    three_predicted: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)  # of their picture
    wholeness: list[float] = field(default_factory=list)  # by `wholeness_of`; where it was asked
    found: list[float] = field(default_factory=list)  # the best of all masks; where it was asked
    masks: int = 0  # that were found
    pictures: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, marks: Marks) -> None:
        """Take a picture into account."""
        self.pictures += 1
        for count, ious in marks.clicks.items():
            self.clicks[count] += ious.tolist()
        self.box += marks.box.tolist()
        self.predicted += marks.predicted.tolist()
        self.three += marks.three.flatten().tolist()
        self.three_predicted += marks.three_predicted.flatten().tolist()
        self.shares += marks.shares.tolist()

    def extend(self, other: PictureScores) -> None:
        """Take into account what another process asked."""
        for count, ious in other.clicks.items():
            self.clicks[count] += ious
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, list):
                value += getattr(other, part.name)
        self.masks += other.masks
        self.pictures += other.pictures

    def to_json(self) -> dict[str, Any]:
        """All of it, for another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, parts: Mapping[str, Any]) -> PictureScores:
        """What another process found; JSON has only words for keys."""
        clicks = {int(count): ious for count, ious in parts["clicks"].items()}
        return cls(**{**parts, "clicks": clicks})

    @property
    def objects(self) -> int:
        """How many were asked for."""
        return len(self.box)

    def figures(self) -> dict[str, float]:
        """Means, and how well the model knows how good it is."""
        found = {f"iou_{count}_clicks": _mean(self.clicks[count]) for count in CLICKS}
        found["iou_box"] = _mean(self.box)
        found["iou_best_of_three"] = _mean(np.reshape(self.three, (-1, 3)).max(1).tolist())
        found["quality_correlation"] = correlation(self.predicted, self.clicks[1])
        found["quality_correlation_three"] = correlation(self.three_predicted, self.three)
        if self.found:
            found["recall"] = _mean([float(iou >= _FOUND) for iou in self.found])
            found["best_iou"] = _mean(self.found)
            found["masks_a_picture"] = self.masks / self.pictures
        return found

    def by_size(self) -> GroupMarks:
        """The means of small, medium and large objects, where there are such."""
        return self._by_group([*_SIZES], np.digitize(self.shares, [*_SIZES.values()]) - 1)

    def by_pieces(self) -> GroupMarks:
        """The means of objects whose label is one piece, and of those where it is several."""
        return self._by_group(["in pieces", "in one piece"], np.array(self.wholeness) >= _WHOLE)

    def _by_group(self, names: list[str], groups: np.ndarray) -> GroupMarks:
        asked = {f"iou_{count}_clicks": ious for count, ious in self.clicks.items()}
        asked["iou_box"] = self.box
        if self.found:
            asked["best_iou"] = self.found
        means: dict[str, dict[str, float | int]] = {}
        for number, group in enumerate(names):
            chosen = np.flatnonzero(groups == number).tolist()
            if chosen:
                one = {name: _mean([ious[i] for i in chosen]) for name, ious in asked.items()}
                means[group] = {"objects": len(chosen), **one}
        return means


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def ask_about(
    model: Sam2,
    source: LabelSource,
    numbers: range,
    scores: PictureScores,
    finder: MaskGenerator | None = None,
) -> Iterator[Asked]:
    """Examine a model on pictures one after another; what cannot be read is counted.

    With a finder it is also asked for all masks, and objects are sought among them.
    """
    segmenter = ImageSegmenter(model)
    for number in numbers:
        try:
            labelled = source.picture(number)
        except BadLabels as error:
            scores.skipped.append(str(error))
            continue
        scores.skipped.extend(labelled.left_out)
        kept = _objects_of(labelled.masks)
        if not len(kept):
            continue
        generator = torch.Generator().manual_seed(number)
        marks = examine_picture(segmenter, labelled.pixels, torch.from_numpy(kept), generator)
        scores.add(marks)
        if finder is not None:
            best, count = _best_found(finder, labelled.pixels, kept)
            scores.found += best
            scores.masks += count
        yield Asked(number, LabelledImage(labelled.pixels, kept), marks)


def _objects_of(masks: MaskStack) -> Masks:
    """Those of which there is anything."""
    return np.asarray(chosen_of(masks, areas_of(masks) > 0))


def wholeness_of(masks: Masks) -> list[float]:
    """The share of each object that its largest piece has."""
    found: list[float] = []
    for some in torch.from_numpy(masks).split(_MASKS_AT_ONCE):
        largest = component_areas(some).flatten(1).amax(1)
        found += (largest / some.flatten(1).sum(1)).tolist()
    return found


def _best_found(finder: MaskGenerator, pixels: RgbArray, kept: Masks) -> tuple[list[float], int]:
    """The IoU of each object with the mask that fits it best, and how many masks there are."""
    (masks,) = finder.generate([pixels])
    if not masks:
        return [0.0] * len(kept), 0
    runs = from_coco_strings([mask.rle["counts"] for mask in masks], *pixels.shape[:2])
    targets, found = torch.from_numpy(kept).flatten(1), decode_run_lengths(runs).flatten(1)
    shared = torch.zeros(len(targets), len(found), dtype=torch.float64)
    for own, other in zip(targets.split(_BAND, 1), found.split(_BAND, 1), strict=True):
        shared += own.float() @ other.float().T  # whole numbers, as far as fp32 has all of them
    union = targets.sum(1)[:, None] + found.sum(1) - shared
    return (shared / union).amax(1).tolist(), len(masks)


def numbers_of(source: LabelSource | ClassSource, most: int) -> range:
    """The first so many pictures."""
    return range(most if source.pictures is None else min(most, source.pictures))
