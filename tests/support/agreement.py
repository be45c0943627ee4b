"""What it means that two computations agree, in numbers and in masks."""

from __future__ import annotations

import torch
from torch import Tensor

TOLERANCE = 1e-3  # relative to max(1, range): the exactness clause of the project


def assert_close(ours: Tensor, theirs: Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    """Numbers agree relative to max(1, their range)."""
    assert ours.shape == theirs.shape, f"{what}: {tuple(ours.shape)} != {tuple(theirs.shape)}"
    if not theirs.numel():
        return
    scale = max(1.0, theirs.abs().max().item())
    worst = (ours.double() - theirs.double()).abs().max().item() / scale
    assert worst <= tolerance, f"{what}: off by {worst:.2e} of {scale:.3g}"


def assert_masks_equal_where_sure(
    masks: Tensor, logits: Tensor, what: str, tolerance: float = TOLERANCE
) -> None:
    """Masks are the sign of logits, but for pixels that close to zero."""
    sure = logits.abs() > tolerance * max(1.0, logits.abs().max().item())
    wrong = (masks != (logits > 0)) & sure
    assert not wrong.any(), f"{what}: {int(wrong.sum())} pixels differ"


def mean_iou(ours: Tensor, theirs: Tensor) -> float:
    """Mean IoU of pairs of masks [..., H, W]; two empty masks agree."""
    both = (ours & theirs).flatten(-2).sum(-1).double()
    either = (ours | theirs).flatten(-2).sum(-1).double()
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean().item()
