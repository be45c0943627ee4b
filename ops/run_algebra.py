"""Computes areas, boxes, unions and overlaps on run lengths, without decoding a pixel."""

# N,M masks  H,W pixels ;  an interval is a foreground run of one mask

import torch
from torch import Tensor

from .run_lengths import (
    ForegroundIntervals,
    RunLengths,
    foreground_intervals,
    runs_from_changes,
)

# Pairs of overlapping intervals that run_iou holds at once: about 64 MB of int64 temporaries.
PAIRS_PER_CHUNK = 1 << 20


def run_areas(runs: RunLengths) -> Tensor:
    """Return the foreground pixels of each mask, int64 [N]."""
    intervals = foreground_intervals(runs)
    areas = intervals.start.new_zeros(len(runs))
    return areas.index_add_(0, intervals.mask, intervals.stop - intervals.start)


def run_boxes_xyxy(runs: RunLengths) -> Tensor:
    """Return the box of each mask, int64 [N, 4]: inclusive indices, zeros for an empty mask."""
    intervals = foreground_intervals(runs)
    first, last = intervals.start, intervals.stop - 1
    x_first, x_last = first // runs.height, last // runs.height
    # An interval that goes on in the next column holds that column's top and this one's bottom.
    wraps = x_first != x_last
    y_low = torch.where(wraps, 0, first % runs.height)
    y_high = torch.where(wraps, runs.height - 1, last % runs.height)

    column = intervals.mask[:, None].expand(-1, 2)
    low = first.new_full((len(runs), 2), max(runs.height, runs.width))
    low.scatter_reduce_(0, column, torch.stack((x_first, y_low), 1), "amin")
    high = first.new_full((len(runs), 2), -1)
    high.scatter_reduce_(0, column, torch.stack((x_last, y_high), 1), "amax")
    return torch.cat((low, high), 1) * (high >= 0).all(1, keepdim=True)


def run_union(runs: RunLengths, groups: Tensor | None = None) -> RunLengths:
    """Return the union of all masks, or of the masks of each group id 0 to G - 1.

    A group id that no mask has gives an empty mask.
    """
    group_of_mask, group_count = _checked_groups(runs, groups)
    intervals = foreground_intervals(runs)
    # One key more than pixels, so that the end of a mask never touches the start of the next.
    stride = runs.height * runs.width + 1
    base = group_of_mask[intervals.mask] * stride
    start, order = (base + intervals.start).sort()
    reach = (base + intervals.stop)[order].cummax(0).values

    gap = start[1:] > reach[:-1]
    opens = torch.cat((gap.new_ones(min(1, len(start))), gap))
    closes = torch.cat((gap, gap.new_ones(min(1, len(start)))))
    border = torch.cat((start[opens], reach[closes]))
    border = border[border % stride < stride - 1]
    return runs_from_changes(border - border // stride, group_count, runs.height, runs.width)


def run_iou(a: RunLengths, b: RunLengths) -> Tensor:
    """Return the IoU of every mask of a with every mask of b, float64 [N, M].

    Two empty masks (0 / 0) have IoU 0, as in pycocotools.
    """
    _require_same_size(a, b)
    intersection = _intersections(foreground_intervals(a), foreground_intervals(b), len(a), len(b))
    union = run_areas(a)[:, None] + run_areas(b)[None, :] - intersection
    return intersection.double() / union.clamp(min=1)


def _checked_groups(runs: RunLengths, groups: Tensor | None) -> tuple[Tensor, int]:
    if groups is None:
        return runs.offsets.new_zeros(len(runs)), 1
    if groups.shape != (len(runs),) or groups.is_floating_point():
        raise ValueError(
            f"run_union got groups {groups.dtype} {list(groups.shape)} for {len(runs)} masks; "
            "pass one integer id per mask"
        )
    if len(groups) == 0:
        return groups.long(), 0
    lowest, highest = groups.min().item(), groups.max().item()
    if lowest < 0:
        raise ValueError(f"run_union got group id {lowest}; number the groups from 0")
    return groups.long(), int(highest) + 1


def _require_same_size(a: RunLengths, b: RunLengths) -> None:
    if (a.height, a.width) != (b.height, b.width):
        raise ValueError(
            f"run_iou got masks of {a.height} x {a.width} and of {b.height} x {b.width}; "
            "resize one side before encoding it"
        )


def _intersections(
    a: ForegroundIntervals, b: ForegroundIntervals, count_a: int, count_b: int
) -> Tensor:
    """Return the common pixels of every mask of a with every mask of b, int64 [N, M]."""
    common_NM = a.start.new_zeros((count_a, count_b))
    # Of two intervals that overlap one starts inside the other: each pair is found exactly once.
    _add_starts_inside(common_NM, a, b, from_holder_start=True)
    _add_starts_inside(common_NM.T, b, a, from_holder_start=False)
    return common_NM


def _add_starts_inside(
    common: Tensor,
    holder: ForegroundIntervals,
    guest: ForegroundIntervals,
    *,
    from_holder_start: bool,
) -> None:
    """Add the overlaps of the holders with the guests that start within them."""
    guest_start, order = guest.start.sort()
    guest_stop, guest_mask = guest.stop[order], guest.mask[order]
    first = torch.searchsorted(guest_start, holder.start, right=not from_holder_start)
    found = torch.searchsorted(guest_start, holder.stop) - first
    shift = first - (found.cumsum(0) - found)
    every_holder = torch.arange(len(found), device=found.device)
    looked_up = 0
    for chunk in every_holder.split(_chunk_sizes(found)):
        owner = chunk.repeat_interleave(found[chunk])
        place = torch.arange(looked_up, looked_up + len(owner), device=owner.device)
        looked_up += len(owner)
        index = shift[owner] + place
        overlap = torch.minimum(holder.stop[owner], guest_stop[index]) - guest_start[index]
        common.index_put_((holder.mask[owner], guest_mask[index]), overlap, accumulate=True)


def _chunk_sizes(found: Tensor) -> list[int]:
    """Cut holders into consecutive chunks of about PAIRS_PER_CHUNK pairs."""
    chunk = found.cumsum(0) // PAIRS_PER_CHUNK
    return chunk.unique_consecutive(return_counts=True)[1].tolist()
