"""Measures and converts boxes; coordinates are pixel indices, and the maximum is inclusive."""

# N masks or boxes  H,W pixels ;  xyxy = x_min, y_min, x_max, y_max.
# As in the reference, a box's width is x_max - x_min: one less than the columns it covers.

import torch
from torch import Tensor

from .set_pixels import require_masks


def xyxy_to_xywh(boxes_xyxy: Tensor) -> Tensor:
    """Return [..., 4] boxes as corner and size, the size being max minus min."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat((low, high - low), -1)


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """Return [..., 4] boxes as two corners, undoing xyxy_to_xywh."""
    low, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return torch.cat((low, low + size), -1)


def mask_boxes_xyxy(masks_NHW: Tensor) -> Tensor:
    """Return the box around each boolean mask, int64 [N, 4], zeros for an empty mask."""
    require_masks("mask_boxes_xyxy", masks_NHW)
    pixels_NHW = masks_NHW.view(torch.uint8)  # amax over bytes is 10 times as fast as any()
    return spans_to_boxes(pixels_NHW.amax(1).bool(), pixels_NHW.amax(2).bool())


def spans_to_boxes(columns_NW: Tensor, rows_NH: Tensor) -> Tensor:
    """Return the box of the occupied columns and rows, int64 [N, 4], zeros where none is."""
    x_low, x_high = _extent(columns_NW)
    y_low, y_high = _extent(rows_NH)
    return torch.stack((x_low, y_low, x_high, y_high), 1) * (x_high >= 0)[:, None]


def touches_crop_edge(
    boxes_xyxy: Tensor,
    crop_xyxy: tuple[int, int, int, int],
    image_size_hw: tuple[int, int],
    tolerance_px: float = 20.0,
) -> Tensor:
    """Tell which boxes, in the crop's coordinates, end near a crop edge inside the image.

    Such a mask is probably cut off by its crop. An edge that is the image's own, or within
    tolerance_px of it, cuts nothing.
    """
    x_crop, y_crop, _, _ = crop_xyxy
    height, width = image_size_hw
    in_image = (boxes_xyxy + boxes_xyxy.new_tensor((x_crop, y_crop, x_crop, y_crop))).float()
    crop_edges = in_image.new_tensor(crop_xyxy)
    image_edges = in_image.new_tensor((0, 0, width, height))
    near_crop = (in_image - crop_edges).abs() <= tolerance_px
    near_image = (in_image - image_edges).abs() <= tolerance_px
    return (near_crop & ~near_image).any(1)


def _extent(occupied_NL: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last occupied index of each row, the last being -1 if there is none."""
    length = occupied_NL.shape[1]
    index = torch.arange(length, device=occupied_NL.device)
    return (
        torch.where(occupied_NL, index, length).amin(1),
        torch.where(occupied_NL, index, -1).amax(1),
    )
