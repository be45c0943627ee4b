"""Masks of one picture or frame -> rows of the table that users read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from ops import (
    RunLengths,
    run_areas,
    run_boxes_xyxy,
    select_runs,
    to_coco_strings,
    xyxy_to_xywh,
)
from sam2_core import Mask, TrackedFrame

from ..records import MASK_SCHEMA


@dataclass(frozen=True, slots=True)
class RowPlace:
    """What all rows of one picture or frame share."""

    unit_id: str
    source_uri: str
    frame_index: int | None = None
    timestamp_s: float | None = None


def rows_of_found(place: RowPlace, masks: Sequence[Mask], size_hw: tuple[int, int]) -> pa.Table:
    """Rows of what MaskGenerator found."""
    return mask_table(
        place,
        size_hw,
        rle_counts=[mask.rle["counts"] for mask in masks],
        bbox_xywh=[mask.bbox_xywh for mask in masks],
        point_xy=[mask.point for mask in masks],
        crop_xywh=[mask.crop_xywh for mask in masks],
        area=[mask.area for mask in masks],
        predicted_iou=[mask.predicted_iou for mask in masks],
        stability_score=[mask.stability_score for mask in masks],
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


def rows_of_tracked(
    place: RowPlace,
    tracked: TrackedFrame,
    labels: Mapping[int, tuple[str | None, str | None]] | None = None,
) -> pa.Table:
    """Rows of the objects that can be seen on a frame; labels: (label, prompt_id) by object."""
    runs = tracked.run_lengths().to("cpu")
    seen = torch.nonzero(run_areas(runs)).flatten()
    ids = [tracked.object_ids[row] for row in seen.tolist()]
    said = [(labels or {}).get(object_id, (None, None)) for object_id in ids]
    return rows_of_runs(
        place,
        select_runs(runs, seen),
        tracked.size_hw,
        object_id=ids,
        predicted_iou=tracked.predicted_iou[seen].tolist(),
        object_score=tracked.object_score[seen].tolist(),
        label=[label for label, _ in said],
        prompt_id=[prompt_id for _, prompt_id in said],
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
