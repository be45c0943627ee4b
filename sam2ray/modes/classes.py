"""Mode semantic: of each picture a mask of every class that a head finds in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from sam2_core import ClassMap, ClassSegmenter

from ..records import MASK_SCHEMA
from ..sinks.result_files import MASKS
from .mask_rows import RowPlace, rows_of_runs
from .pictures import PictureItem, ToRows


@dataclass(frozen=True, slots=True, eq=False)
class ClassMasks:
    """What each pixel shows: one row a class that is there, but for those that are skipped."""

    segmenter: ClassSegmenter
    skipped: frozenset[int]  # ids of classes
    folder: str = MASKS

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """The classes of each picture."""
        maps = self.segmenter.segment([item.picture for item in items])
        return [
            partial(self._rows, item.place, found) for item, found in zip(items, maps, strict=True)
        ]

    def _rows(self, place: RowPlace, found: ClassMap) -> pa.Table:
        """Rows in the order of the classes."""
        shown = [number for number in found.present if number not in self.skipped]
        if not shown:
            return MASK_SCHEMA.empty_table()
        return rows_of_runs(
            place,
            found.run_lengths(shown),
            (found.ids.shape[0], found.ids.shape[1]),
            object_score=found.confidence[shown].tolist(),
            label=[found.classes[number] for number in shown],
        )
