"""What tracking says about one frame: every object's mask and scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ops import (
    RunLengths,
    encode_run_lengths,
    upsample_logits,
    upsample_masks,
    upsampled_run_lengths,
)

_SUPPRESSED_LOGIT = -10.0  # at most, where another object won the pixel


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TrackedFrame:
    """All objects on one frame, in the order of their first prompt; N may be 0.

    Masks and logits at source size are computed when they are read; until then a frame holds
    low-res logits only, on the device where they were made.
    """

    frame: int
    object_ids: tuple[int, ...]
    low_res_logits: Tensor  # [N, h, w], holes filled
    object_score: Tensor  # [N], raw logit on the CPU: above 0 where the object is in the picture
    predicted_iou: Tensor  # [N], of the chosen mask, on the CPU; 1 where a mask was given
    size_hw: tuple[int, int]
    non_overlapping: bool = False

    def __len__(self) -> int:
        return len(self.object_ids)

    def __repr__(self) -> str:
        shape = [len(self), *self.size_hw]
        return f"TrackedFrame(frame={self.frame}, object_ids={self.object_ids}, masks={shape})"

    @property
    def masks(self) -> Tensor:
        """Bool [N, H, W]."""
        if self.non_overlapping:
            return self.logits > 0
        return upsample_masks(self.low_res_logits, self.size_hw).cpu()

    @property
    def logits(self) -> Tensor:
        """Float32 [N, H, W] at source size."""
        logits = upsample_logits(self.low_res_logits[:, None], self.size_hw)[:, 0]
        return (keep_winners(logits) if self.non_overlapping else logits).cpu()

    def run_lengths(self) -> RunLengths:
        """The masks as run lengths, made on the device."""
        if self.non_overlapping:
            return encode_run_lengths(self.masks)
        return upsampled_run_lengths(self.low_res_logits, self.size_hw)


def keep_winners(logits_NHW: Tensor) -> Tensor:
    """Leave each pixel to the object with the highest logit, and press the others down."""
    if len(logits_NHW) < 2:
        return logits_NHW
    winner = logits_NHW.argmax(dim=0)
    mine = winner == torch.arange(len(logits_NHW), device=logits_NHW.device)[:, None, None]
    return torch.where(mine, logits_NHW, logits_NHW.clamp(max=_SUPPRESSED_LOGIT))
