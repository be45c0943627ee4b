"""Low-res mask logits at full resolution, as bits or as numbers, never as a whole batch of floats."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import mask_boxes_xyxy
from .resize import upsample_logits

_CHUNK_PIXELS = 1 << 24  # of float logits alive at once: 64 MiB


@dataclass(frozen=True, slots=True, eq=False)
class UpsampledMeasures:
    """What filters ask of masks at full resolution."""

    boxes_xyxy_N4: Tensor
    area_above_N: Tensor  # pixels over threshold + offset
    area_below_N: Tensor  # pixels over threshold - offset

    @property
    def stability_N(self) -> Tensor:
        """IoU of the mask cut higher and the mask cut lower; NaN where both are empty."""
        return self.area_above_N / self.area_below_N


def upsample_masks(logits_Nhw: Tensor, size_hw: tuple[int, int], threshold: float = 0.0) -> Tensor:
    """Masks at full resolution: bool [N, H, W]."""
    height, width = size_hw
    masks = torch.empty(len(logits_Nhw), height, width, dtype=torch.bool, device=logits_Nhw.device)
    for part in _chunks(len(logits_Nhw), size_hw):
        masks[part] = _upsample(logits_Nhw[part], size_hw) > threshold
    return masks


def measure_upsampled(
    logits_Nhw: Tensor, size_hw: tuple[int, int], threshold: float, offset: float
) -> UpsampledMeasures:
    """Box, and area at threshold +- offset, of masks at full resolution."""
    boxes, above, below = [], [], []
    for part in _chunks(len(logits_Nhw), size_hw):
        logits = _upsample(logits_Nhw[part], size_hw)
        boxes.append(mask_boxes_xyxy(logits > threshold))
        above.append(torch.count_nonzero(logits > threshold + offset, dim=(1, 2)))
        below.append(torch.count_nonzero(logits > threshold - offset, dim=(1, 2)))
    return UpsampledMeasures(torch.cat(boxes), torch.cat(above), torch.cat(below))


def _upsample(logits_Nhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return upsample_logits(logits_Nhw[:, None], size_hw)[:, 0]


def _chunks(count: int, size_hw: tuple[int, int]) -> list[slice]:
    step = max(1, _CHUNK_PIXELS // (size_hw[0] * size_hw[1]))
    return [slice(i, i + step) for i in range(0, max(count, 1), step)]
