"""Masks on their way from the decoder to records: crop by crop, still as low-res logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ops import (
    CropBox,
    RunLengths,
    concatenate_runs,
    run_areas,
    run_boxes_xyxy,
    suppress,
    upsampled_run_lengths,
    xyxy_to_xywh,
)

from .automask import AutoMaskConfig, FoundMasks


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Masks of one crop that passed the filters so far; coordinates are crop pixels."""

    logits_Nhw: Tensor
    points_N2: Tensor
    predicted_iou_N: Tensor
    stability_N: Tensor
    boxes_xyxy_N4: Tensor

    def __len__(self) -> int:
        return len(self.logits_Nhw)

    def rows(self, chosen: Tensor) -> Candidates:
        """Some of the candidates."""
        return Candidates(
            self.logits_Nhw[chosen],
            self.points_N2[chosen],
            self.predicted_iou_N[chosen],
            self.stability_N[chosen],
            self.boxes_xyxy_N4[chosen],
        )


def concatenate_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Join candidates of one crop."""
    return Candidates(
        torch.cat([part.logits_Nhw for part in parts]),
        torch.cat([part.points_N2 for part in parts]),
        torch.cat([part.predicted_iou_N for part in parts]),
        torch.cat([part.stability_N for part in parts]),
        torch.cat([part.boxes_xyxy_N4 for part in parts]),
    )


def size_of(crop: CropBox) -> tuple[int, int]:
    """Height and width."""
    return crop.y1 - crop.y0, crop.x1 - crop.x0


def corners_of(crop: CropBox) -> tuple[int, int, int, int]:
    """The crop as a box."""
    return crop.x0, crop.y0, crop.x1, crop.y1


def found_masks(
    parts: Sequence[tuple[CropBox, Candidates]], size_hw: tuple[int, int], config: AutoMaskConfig
) -> FoundMasks:
    """What one picture has; where there are several crops, duplicates between them go."""
    if len(parts) > 1:
        parts = _without_duplicates(parts, config)
    runs = concatenate_runs([_runs(*part, size_hw, config) for part in parts])
    corners = [torch.tensor([crop.x0, crop.y0]) for crop, _ in parts]
    crops = [torch.tensor(_crop_xywh(crop)).expand(len(found), 4) for crop, found in parts]
    return FoundMasks(
        runs.to("cpu"),
        run_areas(runs).cpu(),
        xyxy_to_xywh(run_boxes_xyxy(runs)).float().cpu(),
        torch.cat([found.predicted_iou_N.cpu() for _, found in parts]),
        torch.cat([found.stability_N.cpu() for _, found in parts]),
        torch.cat(
            [
                found.points_N2.cpu() + corner
                for (_, found), corner in zip(parts, corners, strict=True)
            ]
        ),
        torch.cat(crops),
        config.output_mode,
    )


def _without_duplicates(
    parts: Sequence[tuple[CropBox, Candidates]], config: AutoMaskConfig
) -> list[tuple[CropBox, Candidates]]:
    """What stays of each crop, smaller crops first: their masks win."""
    boxes = torch.cat(
        [
            found.boxes_xyxy_N4.cpu() + torch.tensor([crop.x0, crop.y0, crop.x0, crop.y0])
            for crop, found in parts
        ]
    )
    counts = torch.tensor([len(found) for _, found in parts])
    areas = torch.tensor([(crop.x1 - crop.x0) * (crop.y1 - crop.y0) for crop, _ in parts])
    smallness = 1 / areas
    kept = suppress(boxes, smallness.repeat_interleave(counts), config.crop_nms_thresh)
    stays = torch.zeros(len(boxes), dtype=torch.bool)
    stays[kept] = True
    survivors = [
        (crop, found.rows(mine.nonzero().squeeze(1).to(found.boxes_xyxy_N4.device)))
        for (crop, found), mine in zip(parts, stays.split(counts.tolist()), strict=True)
    ]
    return [survivors[part] for part in smallness.argsort(descending=True, stable=True).tolist()]


def _runs(
    crop: CropBox, found: Candidates, size_hw: tuple[int, int], config: AutoMaskConfig
) -> RunLengths:
    """Run lengths of a crop's masks in the whole picture."""
    height, width = size_hw
    margins = (crop.x0, width - crop.x1, crop.y0, height - crop.y1)
    return upsampled_run_lengths(
        found.logits_Nhw, size_of(crop), config.mask_threshold, margins=margins
    )


def _crop_xywh(crop: CropBox) -> tuple[float, float, float, float]:
    height, width = size_of(crop)
    return (float(crop.x0), float(crop.y0), float(width), float(height))
