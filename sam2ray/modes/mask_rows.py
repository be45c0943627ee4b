"""Masks of one picture or frame -> rows of the table that users read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from ops import (
    RunLengths,
    run_areas,
    run_boxes_xyxy,
    select_runs,
    to_coco_strings,
    xyxy_to_xywh,
)
from sam2_core import TrackedFrame
from sam2_core.inference.automask import FoundMasks

from ..records import MASK_SCHEMA

Labels = Mapping[int, tuple[str | None, str | None]]
"""Label and prompt_id by object."""


@dataclass(frozen=True, slots=True)
class RowPlace:
    """What all rows of one picture or frame share."""

    unit_id: str
    source_uri: str
    frame_index: int | None = None
    timestamp_s: float | None = None


def rows_of_found(place: RowPlace, found: FoundMasks, size_hw: tuple[int, int]) -> pa.Table:
    """Rows of what MaskGenerator found."""
    return mask_table(
        place,
        size_hw,
        rle_counts=to_coco_strings(found.runs),
        bbox_xywh=found.boxes_xywh_N4.tolist(),
        point_xy=found.points_N2.tolist(),
        crop_xywh=found.crops_xywh_N4.tolist(),
        area=found.areas_N.tolist(),
        predicted_iou=found.predicted_iou_N.tolist(),
        stability_score=found.stability_N.tolist(),
    )


def rows_of_runs(
    place: RowPlace, runs: RunLengths, size_hw: tuple[int, int], **columns: Sequence[object]
) -> pa.Table:
    """Rows of masks as run lengths, with further columns of the schema."""
    return mask_table(
        place,
        size_hw,
        rle_counts=to_coco_strings(runs),
        bbox_xywh=xyxy_to_xywh(run_boxes_xyxy(runs)).tolist(),
        area=run_areas(runs).tolist(),
        **columns,
    )


@dataclass(frozen=True, slots=True, eq=False)
class SeenObjects:
    """Those who can be seen on one tracked frame, on the host."""

    object_ids: tuple[int, ...]
    runs: RunLengths
    predicted_iou: Tensor
    object_score: Tensor

    def rows(self, place: RowPlace, labels: Labels | None = None) -> pa.Table:
        """A row of each."""
        said = [(labels or {}).get(object_id, (None, None)) for object_id in self.object_ids]
        return rows_of_runs(
            place,
            self.runs,
            (self.runs.height, self.runs.width),
            object_id=self.object_ids,
            predicted_iou=self.predicted_iou.tolist(),
            object_score=self.object_score.tolist(),
            label=[label for label, _ in said],
            prompt_id=[prompt_id for _, prompt_id in said],
        )


def seen_on(tracked: TrackedFrame) -> SeenObjects:
    """Who is seen on a frame: an object without a pixel is not."""
    runs = tracked.run_lengths().to("cpu")
    seen = torch.nonzero(run_areas(runs)).flatten()
    return SeenObjects(
        tuple(tracked.object_ids[row] for row in seen.tolist()),
        select_runs(runs, seen),
        tracked.predicted_iou[seen],
        tracked.object_score[seen],
    )


def mask_table(place: RowPlace, size_hw: tuple[int, int], **columns: Sequence[object]) -> pa.Table:
    """Rows of the mask table; columns that are not given are null."""
    count = len(next(iter(columns.values())))
    shared = {
        "unit_id": place.unit_id,
        "source_uri": place.source_uri,
        "frame_index": place.frame_index,
        "timestamp_s": place.timestamp_s,
        "height": size_hw[0],
        "width": size_hw[1],
    }
    arrays = []
    for column in MASK_SCHEMA:
        if column.name in shared:
            arrays.append(pa.repeat(pa.scalar(shared[column.name], column.type), count))
        elif column.name in columns:
            arrays.append(pa.array(columns[column.name], column.type))
        else:
            arrays.append(pa.nulls(count, column.type))
    return pa.table(arrays, schema=MASK_SCHEMA)
