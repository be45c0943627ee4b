"""The rows that an output has of a unit -> stacks of masks, without those that are broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...readers.prompts.rle import Rle
from .labelled import BadLabels
from .mask_stack import RunLengthMasks
from .reading import GoodMasks, GoodObjects, good_masks, good_objects, masks_of_all, refuse

_OF_A_MASK = ["height", "width", "rle_counts"]


@dataclass(frozen=True, slots=True, eq=False)
class ClipRows:
    """The rows of a clip, frame by frame."""

    name: str
    rows: pa.Table
    numbers: np.ndarray  # the frame of each row, ascending

    @classmethod
    def by_frame(cls, name: str, rows: pa.Table) -> ClipRows:
        """Sort them; BadLabels if there are none, or some are of no frame."""
        rows = rows.sort_by("frame_index").combine_chunks()
        numbers = rows["frame_index"].fill_null(-1).to_numpy()
        if not len(numbers) or numbers.min() < 0:
            raise BadLabels(f"{name}: has no masks, or one that is of no frame")
        return cls(name, rows, numbers)

    @property
    def frames(self) -> list[int]:
        """Those with rows."""
        return np.unique(self.numbers).tolist()

    def objects(self, frames: Sequence[int], min_score: float = 0.0) -> list[int]:
        """The objects that these frames show, but none that is rated lower on any of them."""
        rows = self.rows.filter(pa.array(np.isin(self.numbers, np.asarray(frames))))
        ids = rows["object_id"].to_pylist()
        is_good = are_good(rows, min_score).tolist()
        bad = {one for one, good in zip(ids, is_good, strict=True) if not good}
        seen = {one for one in ids if one is not None}
        if not seen:
            raise BadLabels(f"{self.name}: its masks belong to no objects")
        if seen <= bad:
            place = f"frames {frames[0]} to {frames[-1]}"
            raise BadLabels(f"{self.name}: no object is rated {min_score} or better on {place}")
        return sorted(seen - bad)

    def of(self, frame: int) -> pa.Table:
        """The rows of one frame."""
        first, end = np.searchsorted(self.numbers, [frame, frame + 1]).tolist()
        return self.rows.slice(first, end - first)

    def good(
        self, frames: Sequence[int], objects: Sequence[int], size_hw: tuple[int, int]
    ) -> GoodObjects:
        """The masks of these objects on some frames, but of none that is broken on one of them."""
        written = {f"{self.name}: frame {one}": self._written(one, objects) for one in frames}
        return good_objects(written, _rle_of_row, size_hw, objects)

    def _written(self, frame: int, objects: Sequence[int]) -> list[Mapping[str, Any] | None]:
        rows = self.of(frame)
        by_id = dict(
            zip(rows["object_id"].to_pylist(), rows.select(_OF_A_MASK).to_pylist(), strict=True)
        )
        return [by_id.get(one) for one in objects]

    def stack(self, frame: int, objects: Sequence[int], size_hw: tuple[int, int]) -> RunLengthMasks:
        """The masks of these objects on one frame, without a pixel where one is not seen."""
        name, rows = f"{self.name}: frame {frame}", self._written(frame, objects)
        try:
            rles = [None if row is None else _rle_of_row(row) for row in rows]
        except ValueError as error:
            refuse(name, error)
        return masks_of_all(rles, size_hw, name)


def picture_masks(
    name: str, rows: pa.Table, min_score: float, size_hw: tuple[int, int]
) -> GoodMasks:
    """The masks of a picture that are rated so high; others are not even looked at."""
    is_good = are_good(rows, min_score)
    kept = rows.select(_OF_A_MASK).filter(pa.array(is_good)).to_pylist()
    places = np.flatnonzero(is_good).tolist()  # of rows, which reasons name
    named = [{"id": place, **row} for place, row in zip(places, kept, strict=True)]
    return good_masks(named, _rle_of_row, size_hw, name)


def _rle_of_row(row: Mapping[str, Any]) -> Rle:
    if row["rle_counts"] is None:  # somebody corrected it badly
        raise ValueError("a mask has no rle_counts")
    return {"size": [row["height"], row["width"]], "counts": row["rle_counts"]}


def are_good(rows: pa.Table, min_score: float) -> np.ndarray:
    """Which masks are rated so high, or not at all."""
    return np.nan_to_num(rows["predicted_iou"].to_numpy(), nan=1.0) >= min_score
