"""Figures of all workers become one row a step; those of files that overlap are read once."""

from __future__ import annotations

import math
from pathlib import Path

from sam2ray.learning.figures import read_figures, together, write_figures
from sam2ray.storage import open_store


def row(step: int, **more: object) -> dict[str, object]:
    return {
        "stage": "s",
        "stage_number": 0,
        "step": step,
        "kind": "pictures",
        "skipped": [],
        **more,
    }


def test_workers_are_averaged_and_none_of_what_they_skipped_is_lost():
    one = row(3, loss=1.0, first_iou=0.5, iou_box=0.7, skipped=["a\tbad"])
    other = row(3, loss=2.0, first_iou=math.nan, skipped=["b\tworse"])
    found = together([one, other])
    assert (found["step"], found["loss"], found["first_iou"]) == (3, 1.5, 0.5)
    assert found["iou_box"] == 0.7  # the first worker alone examines
    assert found["skipped"] == ["a\tbad", "b\tworse"]
    assert math.isnan(together([other, other])["first_iou"])


def test_a_resume_with_rarer_checkpoints_loses_no_step(tmp_path: Path):
    store = open_store(str(tmp_path), {})
    write_figures(store, [row(step, loss=1.0) for step in range(4)])
    write_figures(store, [row(step, loss=2.0) for step in range(4, 8)])
    # The second file was written and its checkpoint was not: these come again, and more.
    write_figures(store, [row(step, loss=2.0) for step in range(4, 16)])
    steps = [step for table in read_figures(store) for step in table["step"].to_pylist()]
    assert steps == [*range(16)]
