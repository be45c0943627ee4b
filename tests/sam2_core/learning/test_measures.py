"""J and F against the definition of DAVIS, written down once more with other tools."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from sam2_core.learning.measures import (
    ClipScore,
    ClipScorer,
    boundary_accuracy,
    mean_score,
    outline,
    region_similarity,
    score_clip,
)
from sam2_core.learning.world import World


def _outline_by_hand(mask: np.ndarray) -> np.ndarray:
    """DAVIS: where a pixel differs from its east, south or south-east neighbour."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            east = mask[y, min(x + 1, width - 1)]
            south = mask[min(y + 1, height - 1), x]
            corner = mask[y + 1, x + 1] if y + 1 < height and x + 1 < width else None
            found[y, x] = mask[y, x] != east or mask[y, x] != south
            if corner is not None:
                found[y, x] |= mask[y, x] != corner
    return found


def _f_by_hand(answer: np.ndarray, target: np.ndarray) -> float:
    radius = math.ceil(0.008 * np.linalg.norm(answer.shape))
    ys, xs = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = ys**2 + xs**2 <= radius**2
    a, b = _outline_by_hand(answer), _outline_by_hand(target)
    if not a.any() and not b.any():
        return 1.0
    precision = (a & binary_dilation(b, disc)).sum() / a.sum() if a.any() else 1.0
    recall = (b & binary_dilation(a, disc)).sum() / b.sum() if b.any() else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _pairs() -> tuple[torch.Tensor, torch.Tensor]:
    clip = World(9, size=96).clip(1, frames=6)
    thing = clip[0].object_ids(60)[-1]
    targets = torch.from_numpy(clip.masks(thing))
    answers = targets.roll((1, 2), (1, 2))
    answers[2] = False
    targets[4] = False
    answers[5] = targets[5] = False
    return answers, targets


def test_outlines_are_those_of_the_definition():
    _, targets = _pairs()
    edge = torch.zeros(1, 5, 7, dtype=torch.bool)
    edge[0, 3:, 4:] = True
    for masks in (targets, edge):
        expected = [_outline_by_hand(mask) for mask in masks.numpy()]
        assert np.array_equal(outline(masks).numpy(), np.stack(expected))


def test_f_is_that_of_the_definition_and_1_where_nothing_is_to_be_found():
    answers, targets = _pairs()
    expected = [_f_by_hand(a, t) for a, t in zip(answers.numpy(), targets.numpy(), strict=True)]
    found = boundary_accuracy(answers, targets)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype))
    assert found[2] == found[4] == 0
    assert found[5] == 1


def test_j_is_iou_and_1_where_nothing_is_to_be_found():
    answers, targets = _pairs()
    found = region_similarity(answers, targets)
    shared, union = (answers & targets).sum((1, 2)), (answers | targets).sum((1, 2))
    assert found[:2].tolist() == pytest.approx((shared / union)[:2].tolist())
    assert found[2:].tolist()[0] == 0
    assert found[5] == 1


def test_a_clip_is_the_mean_of_its_frames_and_a_dataset_that_of_its_objects():
    answers, targets = _pairs()
    score = score_clip(answers, targets)
    assert score.j == pytest.approx(region_similarity(answers, targets).mean().item())
    assert score.j_and_f == pytest.approx((score.j + score.f) / 2)
    none = score_clip(answers[:0], targets[:0])
    assert math.isnan(none.j)
    assert mean_score([ClipScore(0.2, 0.4), none, ClipScore(0.6, 0.8)]) == ClipScore(
        pytest.approx(0.4), pytest.approx(0.6)
    )
    assert math.isnan(mean_score([]).f)


def test_a_clip_that_is_judged_frame_by_frame_gets_what_it_gets_as_a_whole():
    answers, targets = _pairs()
    for case in ("late", "invented first", "never seen", "nothing at all"):
        found, true = answers.clone(), targets.clone()
        true[:2] = False
        if case == "late":
            found[:2] = False
        elif case == "never seen":
            true[:] = False
        elif case == "nothing at all":
            found[:], true[:] = False, False
        one_by_one, in_parts = ClipScorer(), ClipScorer()
        for frame in range(len(true)):
            one_by_one.add(found[frame : frame + 1], true[frame : frame + 1])
        for part in (slice(0, 0), slice(0, 3), slice(3, None)):
            in_parts.add(found[part], true[part])
        whole = score_clip(found, true)
        for score in (one_by_one.score(), in_parts.score()):
            assert (score.j, score.f) == pytest.approx(
                (whole.j, whole.f), rel=1e-12, nan_ok=True
            ), case
        assert math.isnan(whole.j) == (case in ("never seen", "nothing at all"))
