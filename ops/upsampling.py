"""Low-res logits at full resolution, as bits or figures, never as a whole batch of floats."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import spans_to_boxes
from .cell_runs import cell_run_lengths
from .cells import measure_cells
from .resize import upsample_logits
from .run_lengths import RunLengths, concatenate_runs, encode_run_lengths, select_runs
from .set_pixels import mask_chunks

_FLOAT_BYTES = 4
_LARGE_CELL = 8  # pixels for each logit, from which on a CPU does not make them all


@dataclass(frozen=True, slots=True, eq=False)
class UpsampledMeasures:
    """What filters ask of masks at full resolution."""

    boxes_xyxy_N4: Tensor
    area_above_N: Tensor  # pixels over threshold + offset
    area_below_N: Tensor  # pixels over threshold - offset

    @property
    def stability(self) -> Tensor:
        """IoU of the mask cut higher and the mask cut lower; NaN where both are empty."""
        return self.area_above_N / self.area_below_N


def upsample_masks(logits_Nhw: Tensor, size_hw: tuple[int, int], threshold: float = 0.0) -> Tensor:
    """Masks at full resolution: bool [N, H, W]."""
    height, width = size_hw
    masks = torch.empty(len(logits_Nhw), height, width, dtype=torch.bool, device=logits_Nhw.device)
    for part in _chunks(logits_Nhw, size_hw):
        masks[part] = _upsample(logits_Nhw[part], size_hw) > threshold
    return masks


def upsampled_run_lengths(
    logits_Nhw: Tensor,
    size_hw: tuple[int, int],
    threshold: float = 0.0,
    *,
    margins: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> RunLengths:
    """Masks at full resolution as run lengths; few of them are pixels at a time.

    `margins` are pixels without a mask that lie left, right, above and below.
    """
    if not _has_large_cells(logits_Nhw, size_hw):
        return _runs_of_pixels(logits_Nhw, size_hw, threshold, margins)
    parts = [
        _runs_of_cells(logits_Nhw[some], size_hw, threshold, margins)
        for some in _cell_chunks(logits_Nhw)
    ]
    return concatenate_runs(parts)


def _runs_of_cells(
    logits_Nhw: Tensor,
    size_hw: tuple[int, int],
    threshold: float,
    margins: tuple[int, int, int, int],
) -> RunLengths:
    found = cell_run_lengths(logits_Nhw, size_hw, threshold, margins)
    undecided = found.is_undecided_N.nonzero()[:, 0]
    if not len(undecided):
        return found.runs
    others = _runs_of_pixels(logits_Nhw[undecided], size_hw, threshold, margins)
    places = torch.arange(len(logits_Nhw) + len(undecided), device=undecided.device)
    places, of_others = places.split([len(logits_Nhw), len(undecided)])
    places = places.scatter(0, undecided, of_others)
    return select_runs(concatenate_runs([found.runs, others]), places)


def _runs_of_pixels(
    logits_Nhw: Tensor,
    size_hw: tuple[int, int],
    threshold: float,
    margins: tuple[int, int, int, int],
) -> RunLengths:
    left, right, above, below = margins
    whole_hw = (size_hw[0] + above + below, size_hw[1] + left + right)
    parts = []
    for part in _chunks(logits_Nhw, whole_hw):
        masks = _upsample(logits_Nhw[part], size_hw) > threshold
        parts.append(encode_run_lengths(F.pad(masks, margins) if any(margins) else masks))
    return concatenate_runs(parts)


def measure_upsampled(
    logits_Nhw: Tensor, size_hw: tuple[int, int], threshold: float, offset: float
) -> UpsampledMeasures:
    """Box, and area at threshold +- offset, of masks at full resolution."""
    boxes, above, below = [], [], []
    if _has_large_cells(logits_Nhw, size_hw):
        for some in _cell_chunks(logits_Nhw):
            cells = measure_cells(logits_Nhw[some], size_hw, threshold, offset)
            boxes.append(spans_to_boxes(cells.columns_NW, cells.rows_NH))
            above.append(cells.area_above_N)
            below.append(cells.area_below_N)
        return UpsampledMeasures(torch.cat(boxes), torch.cat(above), torch.cat(below))
    for part in _chunks(logits_Nhw, size_hw):
        logits = _upsample(logits_Nhw[part], size_hw)
        boxes.append(spans_to_boxes(logits.amax(1) > threshold, logits.amax(2) > threshold))
        above.append(_count_over(logits, threshold + offset))
        below.append(_count_over(logits, threshold - offset))
    return UpsampledMeasures(torch.cat(boxes), torch.cat(above), torch.cat(below))


def _has_large_cells(logits_Nhw: Tensor, size_hw: tuple[int, int]) -> bool:
    _, height, width = logits_Nhw.shape
    is_large = size_hw[0] * size_hw[1] >= _LARGE_CELL * height * width
    return is_large and logits_Nhw.device.type == "cpu"


def _count_over(logits_NHW: Tensor, threshold: float) -> Tensor:
    # Ones written as floats add up ten times faster than booleans do, and a row's sum is exact.
    ones = torch.gt(logits_NHW, threshold, out=torch.empty_like(logits_NHW))
    return ones.sum(2).long().sum(1)


def _upsample(logits_Nhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return upsample_logits(logits_Nhw[:, None], size_hw)[:, 0]


def _chunks(logits_Nhw: Tensor, size_hw: tuple[int, int]) -> list[slice]:
    mask_bytes = size_hw[0] * size_hw[1] * _FLOAT_BYTES
    return mask_chunks(len(logits_Nhw), mask_bytes, logits_Nhw.device)


def _cell_chunks(logits_Nhw: Tensor) -> list[slice]:
    count, height, width = logits_Nhw.shape
    return mask_chunks(count, height * width * _FLOAT_BYTES, logits_Nhw.device)
