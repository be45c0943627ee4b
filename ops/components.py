"""Finds 8-connected components of whole batches of masks, and removes the small ones."""

# N masks  H,W pixels  R runs ;  a run is a horizontal stretch of set pixels. Its start and stop
# count pixels of the whole batch in rows of W + 1, so that no run goes on into the next row.

from dataclasses import dataclass

import torch
from torch import Tensor

from .set_pixels import find_set_pixels, mark_differences, mask_chunks, require_masks

# How far clean_up_logits lifts a hole over the threshold and pushes a speck below it.
CLEAN_UP_MARGIN = 10.0


def component_areas(masks_NHW: Tensor) -> Tensor:
    """Return the area of each pixel's 8-connected component, int32 [N, H, W], 0 on background."""
    require_masks("component_areas", masks_NHW)
    areas_NHW = torch.zeros(masks_NHW.shape, dtype=torch.int32, device=masks_NHW.device)
    for chunk in _chunks(masks_NHW):
        runs = _find_runs(masks_NHW[chunk])
        per_pixel = runs.component_area.int().repeat_interleave(runs.stop - runs.start)
        areas_NHW[chunk].masked_scatter_(masks_NHW[chunk], per_pixel)
    return areas_NHW


def fill_small_holes(
    logits_NHW: Tensor, max_area: int, threshold: float = 0.0, fill_value: float = 0.1
) -> Tensor:
    """Return logits whose background components of at most max_area pixels hold fill_value."""
    filled_NHW = logits_NHW.clone(memory_format=torch.contiguous_format)
    for chunk in _chunks(logits_NHW):
        holes_nHW = logits_NHW[chunk] <= threshold
        _overwrite_small(filled_NHW[chunk], holes_nHW, max_area, fill_value)
    return filled_NHW


def drop_small_specks(
    logits_NHW: Tensor, max_area: int, threshold: float = 0.0, fill_value: float = -0.1
) -> Tensor:
    """Return logits whose foreground components of at most max_area pixels hold fill_value."""
    dropped_NHW = logits_NHW.clone(memory_format=torch.contiguous_format)
    for chunk in _chunks(logits_NHW):
        specks_nHW = logits_NHW[chunk] > threshold
        _overwrite_small(dropped_NHW[chunk], specks_nHW, max_area, fill_value)
    return dropped_NHW


def clean_up_logits(
    logits_NHW: Tensor, max_hole_area: int, max_speck_area: int, threshold: float = 0.0
) -> Tensor:
    """Fill holes and drop specks of an image's masks, both found in the mask as it comes in.

    An area of 0 leaves that half out.
    """
    clean_NHW = logits_NHW.clone(memory_format=torch.contiguous_format)
    for chunk in _chunks(logits_NHW):
        logits_nHW, clean_nHW = logits_NHW[chunk], clean_NHW[chunk]
        if max_hole_area > 0:
            value = threshold + CLEAN_UP_MARGIN
            _overwrite_small(clean_nHW, logits_nHW <= threshold, max_hole_area, value)
        if max_speck_area > 0:
            value = threshold - CLEAN_UP_MARGIN
            _overwrite_small(clean_nHW, logits_nHW > threshold, max_speck_area, value)
    return clean_NHW


@dataclass(frozen=True, slots=True, eq=False)
class _Runs:
    start: Tensor  # int64 [R], ascending
    stop: Tensor  # int64 [R], exclusive
    component_area: Tensor  # int64 [R]


def _chunks(pixels_NHW: Tensor) -> list[slice]:
    mask_count, height, width = pixels_NHW.shape
    return mask_chunks(mask_count, height * (width + 1), pixels_NHW.device)


def _overwrite_small(target_nHW: Tensor, masks_nHW: Tensor, max_area: int, value: float) -> None:
    runs = _find_runs(masks_nHW)
    small = runs.component_area <= max_area
    start, length = runs.start[small], (runs.stop - runs.start)[small]
    start -= start // (masks_nHW.shape[2] + 1)  # rows of W + 1 to rows of W
    shift = start - (length.cumsum(0) - length)
    pixels = shift.repeat_interleave(length)
    pixels += torch.arange(len(pixels), device=pixels.device)
    target_nHW.view(-1)[pixels] = value


def _find_runs(masks_nHW: Tensor) -> _Runs:
    _, height, width = masks_nHW.shape
    borders = find_set_pixels(_mark_borders(masks_nHW).view(-1))
    start, stop = borders.view(-1, 2).T.contiguous()
    root = _merge(len(start), *_link_rows(start, stop, height, width + 1))
    area = torch.zeros_like(start).index_add_(0, root, stop - start)
    return _Runs(start, stop, area[root])


def _mark_borders(masks_nHW: Tensor) -> Tensor:
    """Set the first pixel of each run and the first one after it, in rows of W + 1."""
    mask_count, height, width = masks_nHW.shape
    borders = masks_nHW.new_empty((mask_count, height, width + 1))
    borders[:, :, 0] = masks_nHW[:, :, 0]
    mark_differences(masks_nHW[:, :, 1:], masks_nHW[:, :, :-1], out=borders[:, :, 1:width])
    borders[:, :, width] = masks_nHW[:, :, -1]
    return borders


def _link_rows(start: Tensor, stop: Tensor, height: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return the pairs (run, run in the row above) that touch, diagonally too."""
    first = torch.searchsorted(stop, start - stride)
    after = torch.searchsorted(start, stop - stride, right=True)
    touching = (after - first).clamp(min=0)
    touching[start // stride % height == 0] = 0  # the row above belongs to the mask before
    lower = torch.arange(len(start), device=start.device).repeat_interleave(touching)
    shift = first - (touching.cumsum(0) - touching)
    upper = shift[lower] + torch.arange(len(lower), device=start.device)
    return lower, upper


def _merge(run_count: int, lower: Tensor, upper: Tensor) -> Tensor:
    """Return for each run the run that stands for its component.

    Each round hooks every root to its lowest linked root. One that has none lower wins a linked
    root now or finds it hooked to a lower one in the next round: two rounds at least halve the
    roots that still have links, whatever the shape.
    """
    itself = torch.arange(run_count, device=lower.device)
    root = itself
    while len(lower):
        here, there = torch.cat((lower, upper)), torch.cat((upper, lower))
        parent = itself.scatter_reduce(0, here, there, "amin")
        root = _jump_to_roots(parent)[root]
        lower, upper = root[lower], root[upper]
        apart = lower != upper
        lower, upper = lower[apart], upper[apart]
    return root


def _jump_to_roots(parent: Tensor) -> Tensor:
    """Follow the parents up to the roots, twice as far in each step."""
    while True:
        grandparent = parent[parent]
        if torch.equal(grandparent, parent):
            return parent
        parent = grandparent
