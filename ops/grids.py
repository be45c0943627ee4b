"""Lays out where an image is prompted: grids of points, and the crops that get their own grid."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True, slots=True)
class CropBox:
    """A crop of an image in pixels, its maximum exclusive; layer 0 is the whole image."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int


def point_grid(points_per_side: int) -> np.ndarray:
    """Return points (x, y) in 0..1, float64 [P, 2], row by row, at the centres of equal cells."""
    if points_per_side < 1:
        raise ValueError(
            f"point_grid got points_per_side={points_per_side}; it needs at least 1 "
            "(fewer crop layers, or a smaller downscale, leave each layer a point)"
        )
    half_cell = 1 / (2 * points_per_side)
    centres = np.linspace(half_cell, 1 - half_cell, points_per_side)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack((x.ravel(), y.ravel()), axis=1)


def point_grids_by_layer(points_per_side: int, layers: int, downscale: int) -> list[np.ndarray]:
    """Return the grid of the whole image, then that of each crop layer, downscale times sparser."""
    return [point_grid(int(points_per_side / downscale**layer)) for layer in range(layers + 1)]


def crop_boxes(height: int, width: int, layers: int, overlap_ratio: float) -> list[CropBox]:
    """Return the whole image, then layer after layer 2 x 2, 4 x 4, ... crops, x-major.

    Lengths are rounded up, so on tiny images the last crops of a layer would lie past the edge and
    hold no pixel. Those are left out.
    """
    boxes = [CropBox(0, 0, width, height, 0)]
    for layer in range(1, layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / per_side))
        crop_width = _crop_length(width, per_side, overlap)
        crop_height = _crop_length(height, per_side, overlap)
        for column, row in product(range(per_side), repeat=2):
            x0, y0 = column * (crop_width - overlap), row * (crop_height - overlap)
            x1, y1 = min(x0 + crop_width, width), min(y0 + crop_height, height)
            if x0 < x1 and y0 < y1:
                boxes.append(CropBox(x0, y0, x1, y1, layer))
    return boxes


def _crop_length(length: int, crops: int, overlap: int) -> int:
    return math.ceil((length + overlap * (crops - 1)) / crops)
