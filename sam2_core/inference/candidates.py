"""Masks on their way from the decoder to records: crop by crop, still as low-res logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import (
    CropBox,
    RunLengths,
    concatenate_runs,
    encode_run_lengths,
    run_areas,
    run_boxes_xyxy,
    select_runs,
    suppress,
    to_coco_strings,
    upsample_masks,
    xyxy_to_xywh,
)

from .automask import AutoMaskConfig, Mask

_CHUNK_PIXELS = 1 << 26  # of full-resolution bits alive at once


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Masks of one crop that passed the filters so far; coordinates are crop pixels."""

    logits_Nhw: Tensor
    points_N2: Tensor
    predicted_iou_N: Tensor
    stability_N: Tensor
    boxes_xyxy_N4: Tensor

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


def mask_records(
    parts: Sequence[tuple[CropBox, Candidates]], size_hw: tuple[int, int], config: AutoMaskConfig
) -> list[Mask]:
    """Records of one picture's masks; where there are several crops, duplicates between them go."""
    order = _order(parts, config)
    runs = select_runs(concatenate_runs([_runs(*part, size_hw, config) for part in parts]), order)
    offsets = [torch.tensor([crop.x0, crop.y0]) for crop, _ in parts]
    points = torch.cat(
        [found.points_N2.cpu() + offset for (_, found), offset in zip(parts, offsets, strict=True)]
    )
    scores = torch.cat([found.predicted_iou_N.cpu() for _, found in parts])
    stability = torch.cat([found.stability_N.cpu() for _, found in parts])
    crops = [crop for crop, found in parts for _ in range(len(found.points_N2))]
    boxes = xyxy_to_xywh(run_boxes_xyxy(runs)).float()
    return [
        Mask(
            {"size": list(size_hw), "counts": counts},
            _four(box),
            area,
            iou,
            stable,
            _two(point),
            _crop_xywh(crops[place]),
            config.output_mode,
        )
        for place, counts, box, area, iou, stable, point in zip(
            order.tolist(),
            to_coco_strings(runs),
            boxes.tolist(),
            run_areas(runs).tolist(),
            scores[order].tolist(),
            stability[order].tolist(),
            points[order].tolist(),
            strict=True,
        )
    ]


def _order(parts: Sequence[tuple[CropBox, Candidates]], config: AutoMaskConfig) -> Tensor:
    """Which of all candidates stay, and in which order; masks of smaller crops win."""
    counts = [len(found.points_N2) for _, found in parts]
    if len(parts) == 1:
        return torch.arange(counts[0])
    boxes = torch.cat(
        [
            found.boxes_xyxy_N4.cpu() + torch.tensor([crop.x0, crop.y0, crop.x0, crop.y0])
            for crop, found in parts
        ]
    )
    areas = [(crop.x1 - crop.x0) * (crop.y1 - crop.y0) for crop, _ in parts]
    smallness = 1 / torch.tensor(areas).repeat_interleave(torch.tensor(counts))
    return suppress(boxes, smallness, config.crop_nms_thresh)


def _runs(
    crop: CropBox, found: Candidates, size_hw: tuple[int, int], config: AutoMaskConfig
) -> RunLengths:
    """Run lengths of a crop's masks in the whole picture."""
    height, width = size_hw
    margins = (crop.x0, width - crop.x1, crop.y0, height - crop.y1)
    step = max(1, _CHUNK_PIXELS // (height * width))
    parts = []
    for start in range(0, max(1, len(found.logits_Nhw)), step):
        logits = found.logits_Nhw[start : start + step]
        masks = upsample_masks(logits, size_of(crop), config.mask_threshold)
        parts.append(encode_run_lengths(F.pad(masks, margins) if any(margins) else masks))
    return concatenate_runs(parts)


def _crop_xywh(crop: CropBox) -> tuple[float, float, float, float]:
    height, width = size_of(crop)
    return (float(crop.x0), float(crop.y0), float(width), float(height))


def _two(values: list[float]) -> tuple[float, float]:
    return (values[0], values[1])


def _four(values: list[float]) -> tuple[float, float, float, float]:
    return (values[0], values[1], values[2], values[3])
