"""Asking for all masks of small pictures, and comparing what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from make_clip import textured_picture

from sam2_core import AutoMaskConfig, Mask, MaskGenerator, Sam2

# Thresholds that let some masks of the lively model through, and stop some.
SOME: dict[str, Any] = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.2,
    "box_nms_thresh": 1.0,  # masks of random weights all span their picture
}
ALL: dict[str, Any] = {
    "points_per_side": 3,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
}


@cache
def small_picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A picture with texture, the same one for the same seed."""
    return textured_picture(height, width, seed)


def all_masks(model: Sam2, images: Iterable[np.ndarray], **settings: Any) -> list[list[Mask]]:
    """All masks of pictures with these settings."""
    return MaskGenerator(model, AutoMaskConfig(**settings)).generate(images)


def assert_same(found: Sequence[Mask], expected: Sequence[Mask]) -> None:
    """The same records, but for rounding."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.point == theirs.point
        assert ours.crop_xywh == theirs.crop_xywh
        assert ours.predicted_iou == pytest.approx(theirs.predicted_iou, abs=1e-4)
        stability = pytest.approx(theirs.stability_score, abs=1e-2, nan_ok=True)
        assert ours.stability_score == stability
        changed = (ours.decode() != theirs.decode()).sum()
        assert changed <= 3, f"{changed} pixels differ"  # where logits close to zero


def count_rows(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rows: Callable[..., int]
) -> list[int]:
    """Let calls through and note the number of rows in each."""
    counts: list[int] = []
    through = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        counts.append(rows(*args, **kwargs))
        return through(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return counts
