"""Judges stability scores by counting pixels in numpy."""

from importlib import import_module

import numpy as np
import pytest
import torch

from ops import stability_scores


def random_logits() -> torch.Tensor:
    return torch.randn(7, 23, 31, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize(("threshold", "offset"), [(0.0, 1.0), (0.5, 0.25), (-1.0, 2.0)])
def test_scores_are_the_ratio_of_the_smaller_to_the_larger_area(threshold, offset):
    logits = random_logits()
    above = [
        (logits.numpy() > limit).sum((1, 2)) for limit in (threshold + offset, threshold - offset)
    ]
    found = stability_scores(logits, threshold, offset)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), above[0] / above[1], rtol=1e-6)


def test_a_logit_at_the_limit_is_outside():
    logits = torch.tensor([[[1.0, 2.0, -1.0, 0.0]]])
    assert stability_scores(logits, 0.0, 1.0).tolist() == pytest.approx([1 / 3])


def test_a_mask_that_is_empty_at_both_limits_scores_nan_and_so_passes_no_filter():
    scores = stability_scores(torch.full((1, 4, 4), -5.0), 0.0, 1.0)
    assert scores.isnan().all()
    assert not (scores >= 0.0).any()


def test_full_masks_score_1_and_no_masks_score_nothing():
    assert stability_scores(torch.full((2, 3, 3), 5.0), 0.0, 1.0).tolist() == [1.0, 1.0]
    assert stability_scores(torch.zeros(0, 3, 3), 0.0, 1.0).shape == (0,)


def test_rows_longer_than_an_int16_are_counted():
    logits = torch.full((1, 1, 40_000), 5.0)
    logits[0, 0, :10_000] = 0.0
    assert stability_scores(logits, 0.0, 1.0).tolist() == [0.75]


@pytest.mark.parametrize("shape", [(3000, 14, 19), (1, 8192, 8192)])
def test_three_thousand_masks_and_a_huge_one_are_scored(shape):
    logits = torch.zeros(shape)
    logits[:, :, 3:] = 5.0
    logits[:, 1, :3] = -5.0
    possible = shape[1] * shape[2] - 3
    certain = shape[1] * (shape[2] - 3)
    expected = torch.tensor(certain / possible).expand(shape[0])
    torch.testing.assert_close(stability_scores(logits, 0.0, 1.0), expected)


@pytest.mark.reference
def test_scores_are_those_of_the_reference():
    amg = import_module("sam2.utils.amg")
    logits = torch.cat((random_logits(), torch.full((1, 23, 31), -9.0)))
    expected = amg.calculate_stability_score(logits, 0.25, 1.0)
    assert torch.equal(stability_scores(logits, 0.25, 1.0).nan_to_num(-1), expected.nan_to_num(-1))
