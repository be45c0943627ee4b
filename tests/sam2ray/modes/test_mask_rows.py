"""Tracked objects as rows: those that are seen, with what is known of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from label_bench import masks_of

from sam2_core import TrackedFrame
from sam2ray.modes.mask_rows import RowPlace, seen_on
from sam2ray.records import MASK_SCHEMA

SIZE_HW = (30, 44)
PLACE = RowPlace("unit", "s3://bucket/a.mp4", 17, 0.68)


def tracked(*logits: torch.Tensor, non_overlapping: bool = False) -> TrackedFrame:
    count = len(logits)
    return TrackedFrame(
        17,
        tuple(range(5, 5 + count)),
        torch.stack(logits) if logits else torch.zeros(0, 16, 16),
        torch.arange(count) + 0.5,
        torch.arange(count) / 10,
        SIZE_HW,
        non_overlapping,
    )


def blob(row: int, column: int) -> torch.Tensor:
    logits = torch.full((16, 16), -5.0)
    logits[row : row + 6, column : column + 6] = 5.0
    return logits


NOTHING = torch.full((16, 16), -5.0)


def test_objects_that_are_not_seen_have_no_row():
    frame = tracked(NOTHING, blob(2, 3), NOTHING, blob(8, 8))
    rows = seen_on(frame).rows(PLACE, {6: ("cat", "a"), 8: (None, "b")})
    assert rows.schema == MASK_SCHEMA
    assert rows["object_id"].to_pylist() == [6, 8]
    assert rows["object_score"].to_pylist() == [1.5, 3.5]
    assert rows["predicted_iou"].to_pylist() == pytest.approx([0.1, 0.3])
    assert rows["label"].to_pylist() == ["cat", None]
    assert rows["prompt_id"].to_pylist() == ["a", "b"]
    masks = frame.masks.numpy()[[1, 3]]
    assert np.array_equal(masks_of(rows), masks)
    assert rows["area"].to_pylist() == masks.sum((1, 2)).tolist()
    assert rows["stability_score"].null_count == len(rows)


def test_rows_say_where_they_are_from():
    (row,) = seen_on(tracked(blob(2, 3))).rows(PLACE).to_pylist()
    expected = {"unit_id": "unit", "source_uri": "s3://bucket/a.mp4", "frame_index": 17}
    expected |= {"timestamp_s": 0.68, "height": 30, "width": 44, "label": None}
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("frame", [tracked(), tracked(NOTHING, NOTHING)])
def test_a_frame_on_which_nobody_is_seen_has_no_rows(frame):
    rows = seen_on(frame).rows(PLACE)
    assert len(rows) == 0
    assert rows.schema == MASK_SCHEMA


def test_pixels_belong_to_one_object_where_that_is_asked_for():
    frame = tracked(blob(2, 3), blob(3, 4) * 2, non_overlapping=True)
    masks = masks_of(seen_on(frame).rows(PLACE))
    assert not (masks[0] & masks[1]).any()
    assert np.array_equal(masks, frame.masks.numpy())
