"""Settings of the wrong kind are refused by name, before anything is computed with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_models import lively_model

from sam2_core import AutoMaskConfig, ConfigError, MaskGenerator, TrackingConfig, VideoTracker


@pytest.mark.parametrize(
    ("kind", "name", "value", "words"),
    [
        (AutoMaskConfig, "points_per_side", "32", "an integer or None"),
        (AutoMaskConfig, "points_per_side", 3.5, "an integer or None"),
        (AutoMaskConfig, "points_per_batch", None, "an integer"),
        (AutoMaskConfig, "points_per_batch", True, "an integer"),
        (AutoMaskConfig, "pred_iou_thresh", "0.5", "a number"),
        (AutoMaskConfig, "multimask_output", 1, "True or False"),
        (TrackingConfig, "fill_hole_area", "8", "an integer"),
        (TrackingConfig, "history_frames", 2.5, "an integer or None"),
        (TrackingConfig, "non_overlap_masks", "no", "True or False"),
    ],
)
def test_a_setting_of_another_kind_is_refused(
    kind: Any, name: str, value: object, words: str
) -> None:
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{name}={value!r}.*must be {words}"):
        kind(**{name: value})


def test_numbers_of_numpy_are_numbers() -> None:
    config = AutoMaskConfig(points_per_side=np.int64(4), pred_iou_thresh=np.float32(0.5))  # type: ignore[arg-type]
    assert config.points_per_side == 4


@pytest.mark.parametrize("user", [MaskGenerator, VideoTracker])
def test_settings_as_a_dict_are_refused(user: Any) -> None:
    with pytest.raises(ConfigError, match=r"write (AutoMask|Tracking)Config\(\.\.\.\)"):
        user(lively_model(64), {"fill_hole_area": 0})
