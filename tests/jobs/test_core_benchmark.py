"""Figures of speed stand beside how well the sides agree."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.benchmarks.core import features_note, mean_iou


def _packed(*masks: list[int]) -> np.ndarray:
    return np.packbits(np.array(masks, dtype=bool), axis=-1)


def test_masks_that_are_equal_or_both_empty_agree() -> None:
    masks = _packed([1, 0, 0, 1, 1, 0, 0, 0, 1], [0] * 9)
    assert mean_iou(masks, masks) == 1.0


def test_the_iou_of_masks_is_averaged_and_masks_of_other_numbers_are_named() -> None:
    ours, theirs = _packed([1, 1, 0, 0], [1, 1, 1, 0]), _packed([1, 0, 0, 0], [1, 1, 1, 0])
    assert mean_iou(ours, theirs) == 0.75
    assert mean_iou(ours[:1], theirs) == "shapes (1, 1) (2, 1)"


@pytest.mark.parametrize(("range_", "said"), [(4.0, "5.0e-01"), (0.5, "2.0e+00")])
def test_features_are_compared_by_their_largest_difference_within_their_range(
    range_: float, said: str
) -> None:
    theirs = np.array([0.0, range_])
    assert features_note(theirs + np.array([0.0, 2.0]), theirs) == (
        f"features differ by {said} of their range"
    )


def test_features_of_another_shape_are_named() -> None:
    assert features_note(np.zeros(3), np.zeros(4)) == "features of shape (3,), the reference's (4,)"
