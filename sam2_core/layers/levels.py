"""The three levels of an embedding as one map: summed where the finest has its pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .windows import unnest


def at_finest(coarse_BPC: Tensor, middle_BPQC: Tensor, fine_BPQC: Tensor) -> Tensor:
    """Sum levels of one width, laid out as an ImageEmbedding has them: [B, C, h, w] at stride 4."""
    side = round(coarse_BPC.shape[1] ** 0.5)
    summed = unnest(fine_BPQC.flatten(1, 2), side, side, depth=2)
    for level in (
        coarse_BPC.transpose(1, 2).unflatten(2, (side, side)),
        unnest(middle_BPQC.flatten(1, 2), side, side, depth=1),
    ):
        summed = summed + F.interpolate(
            level, summed.shape[-2:], mode="bilinear", align_corners=False
        )
    return summed
