"""A unit's rows of masks -> what there is to say of them all, and the few that are drawn."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..dataset import Dataset
from ..records import MASK_SCHEMA
from .unit_pictures import Frame

Row = dict[str, Any]

FRAMES = 6  # of a clip that are shown
_OF_A_PICTURE, _OF_A_FRAME = 250, 100  # masks drawn, the largest
_MOST_LABELS = 1000  # that are told apart
_TOLD = ("frame_index", "object_id", "predicted_iou", "label")
_DRAWN = (
    *("frame_index", "timestamp_s", "object_id", "height", "width", "rle_counts", "area"),
    *("predicted_iou", "label", "prompt_id"),
)


@dataclass(slots=True)
class MaskTally:
    """All masks of a unit, counted."""

    masks: int = 0
    scored: int = 0
    score_sum: float = 0.0
    score_range: tuple[float, float] = (math.inf, -math.inf)
    labels: Counter[str] = field(default_factory=Counter)
    objects: set[int] = field(default_factory=set)
    frames: Counter[int] = field(default_factory=Counter)  # masks on each frame of a clip

    @property
    def score(self) -> float | None:
        """The mean of the model's own estimates of IoU."""
        return self.score_sum / self.scored if self.scored else None

    def add(self, rows: pa.RecordBatch) -> None:
        """Count some more."""
        self.masks += len(rows)
        scores = rows["predicted_iou"].drop_null().to_numpy(zero_copy_only=False)
        if len(scores):
            self.scored += len(scores)
            self.score_sum += float(scores.sum(dtype=np.float64))
            low, high = self.score_range
            self.score_range = (min(low, float(scores.min())), max(high, float(scores.max())))
        for frame, count in _counted(rows["frame_index"]):
            self.frames[frame] += count
        for label, count in _counted(rows["label"]):
            if label in self.labels or len(self.labels) < _MOST_LABELS:
                self.labels[label] += count
        self.objects.update(rows["object_id"].drop_null().unique().to_pylist())


def _counted(column: pa.Array) -> list[tuple[Any, int]]:
    pairs = column.drop_null().value_counts().to_pylist()
    return [(pair["values"], pair["counts"]) for pair in pairs]


def tally_masks(data: Dataset, unit_id: str) -> MaskTally:
    """Count the masks of a unit, batch by batch."""
    tally = MaskTally()
    for batch in data.unit_masks(unit_id, _TOLD):
        tally.add(batch)
    return tally


def frames_to_show(tally: MaskTally, looked_at: range | None) -> list[int]:
    """A few frames of a clip, from the first to the last, those with masks rather than others.

    Where it is not known which frames were looked at, they are of those with masks.
    """
    numbers = sorted(tally.frames)
    if not looked_at:
        return _spread(numbers)
    if numbers:
        looked_at = range(looked_at.start, max(looked_at.stop, numbers[-1] + 1), looked_at.step)
    reach = len(looked_at) * looked_at.step / (2 * FRAMES)
    return sorted({_near(numbers, number, reach) for number in _spread(looked_at)})


def _spread(numbers: Sequence[int]) -> list[int]:
    if len(numbers) <= FRAMES:
        return [*numbers]
    step = (len(numbers) - 1) / (FRAMES - 1)
    return [numbers[round(place * step)] for place in range(FRAMES)]


def _near(numbers: Sequence[int], wanted: int, reach: float) -> int:
    """The number that is nearest to a wanted one, if one is within reach; else the wanted one."""
    place = bisect_left(numbers, wanted)
    around = numbers[max(0, place - 1) : place + 1]
    within = [number for number in around if abs(number - wanted) <= reach]
    return min(within, key=lambda number: abs(number - wanted), default=wanted)


def masks_to_draw(data: Dataset, unit_id: str, frames: Sequence[Frame]) -> dict[Frame, list[Row]]:
    """The largest masks of a picture, or of each of some frames, large ones first."""
    found: dict[Frame, pa.Table] = {}
    schema = pa.schema([MASK_SCHEMA.field(name) for name in _DRAWN])
    numbers = [frame for frame in frames if frame is not None]
    where = pc.field("frame_index").isin(numbers) if numbers else None
    most = _OF_A_FRAME if numbers else _OF_A_PICTURE
    for batch in data.unit_masks(unit_id, _DRAWN, where):
        table = pa.Table.from_batches([batch])
        for frame in numbers or [None]:
            own = table if frame is None else table.filter(pc.field("frame_index") == frame)
            both = pa.concat_tables([found.get(frame, schema.empty_table()), own])
            found[frame] = both.sort_by([("area", "descending")]).slice(0, most)
    return {frame: table.to_pylist() for frame, table in found.items()}
