"""Turns boolean masks into COCO run lengths and back; run_algebra.py computes on the runs."""

# N masks  n of them at once  H,W pixels  K intervals
# A pixel's place in column-major order is x * H + y; its key n * H * W + x * H + y orders the
# pixels of the whole batch.

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from .set_pixels import find_set_pixels, mark_differences, mask_chunks, require_masks


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """Run lengths of N masks of one size, in COCO order (columns first, zeros first)."""

    height: int
    width: int
    counts: Tensor  # int64, all masks' runs one after another; each mask's sum to H * W
    offsets: Tensor  # int64 [N + 1], where each mask's runs start in counts

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.offsets) - 1

    def to(self, device: torch.device | str) -> "RunLengths":
        """Return the same runs on another device."""
        counts, offsets = self.counts.to(device), self.offsets.to(device)
        return RunLengths(self.height, self.width, counts, offsets)


@dataclass(frozen=True, slots=True, eq=False)
class ForegroundIntervals:
    """Foreground runs [start, stop) of a batch, in pixels from the first of their own mask."""

    mask: Tensor  # int64 [K], ascending
    start: Tensor  # int64 [K]
    stop: Tensor  # int64 [K]


def encode_run_lengths(masks_NHW: Tensor) -> RunLengths:
    """Encode a batch of boolean masks without transposing or copying its pixels."""
    require_masks("encode_run_lengths", masks_NHW)
    mask_count, height, width = masks_NHW.shape
    area = height * width
    chunks = mask_chunks(mask_count, area, masks_NHW.device)
    # One buffer for all chunks: a fresh one each time costs more in page faults than the pixels.
    buffer_nHW = masks_NHW.new_empty((chunks[0].stop, height, width))
    keys = []
    for chunk in chunks:
        changes_nHW = buffer_nHW[: chunk.stop - chunk.start]
        _mark_changes(masks_NHW[chunk], out=changes_nHW)
        keys.append(_column_major_keys(changes_nHW) + chunk.start * area)
    return runs_from_changes(torch.cat(keys), mask_count, height, width)


def decode_run_lengths(runs: RunLengths) -> Tensor:
    """Decode runs into boolean masks [N, H, W] on the runs' device."""
    masks_NHW = _empty_masks((len(runs), runs.height, runs.width), runs.counts.device)
    intervals = foreground_intervals(runs)
    every_mask = torch.arange(len(runs) + 1, device=intervals.mask.device)
    firsts = torch.searchsorted(intervals.mask, every_mask).tolist()
    for chunk in mask_chunks(len(runs), runs.height * runs.width, masks_NHW.device):
        mine = slice(firsts[chunk.start], firsts[chunk.stop])
        mask = intervals.mask[mine] - chunk.start
        _paint(mask, intervals.start[mine], intervals.stop[mine], out=masks_NHW[chunk])
    return masks_NHW


def select_runs(runs: RunLengths, index: Tensor) -> RunLengths:
    """Return the masks that an int64 index (any order, repeats allowed) or a bool mask names."""
    if index.dtype == torch.bool:
        index = index.nonzero().flatten()
    lengths = runs.offsets.diff()[index]
    offsets = _offsets_of(lengths)
    shift = (runs.offsets[:-1][index] - offsets[:-1]).repeat_interleave(lengths)
    source = torch.arange(len(shift), device=shift.device) + shift
    return RunLengths(runs.height, runs.width, runs.counts[source], offsets)


def concatenate_runs(batches: Sequence[RunLengths]) -> RunLengths:
    """Join batches of runs of one size, in order."""
    sizes = {(runs.height, runs.width) for runs in batches}
    if len(sizes) != 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)) or "no batch"
        raise ValueError(
            f"concatenate_runs needs batches of one mask size, found {found}; group them by size"
        )
    height, width = sizes.pop()
    offsets = _offsets_of(torch.cat([runs.offsets.diff() for runs in batches]))
    return RunLengths(height, width, torch.cat([runs.counts for runs in batches]), offsets)


def runs_from_changes(keys: Tensor, mask_count: int, height: int, width: int) -> RunLengths:
    """Build runs from the keys, in any order, of the pixels that differ from their predecessor.

    A mask's predecessor of its first pixel is background; no key may occur twice.
    """
    # A change at the first pixel of a mask has the same key as the end of the mask before it,
    # so the sorted difference is the leading 0 that COCO asks for.
    mask_ends = torch.arange(1, mask_count + 1, device=keys.device) * (height * width)
    run_ends = _sorted(torch.cat((keys, mask_ends)))
    counts = run_ends.diff(prepend=run_ends.new_zeros(1))
    offsets = torch.searchsorted(run_ends, mask_ends) + 1
    return RunLengths(height, width, counts, torch.cat((offsets.new_zeros(1), offsets)))


def foreground_intervals(runs: RunLengths) -> ForegroundIntervals:
    """Return the foreground runs of at least one pixel, mask after mask, in order."""
    device = runs.counts.device
    every_mask = torch.arange(len(runs), device=device)
    mask = every_mask.repeat_interleave(runs.offsets.diff())
    place = torch.arange(len(runs.counts), device=device) - runs.offsets[mask]
    foreground = (place % 2 == 1) & (runs.counts > 0)
    mask, length = mask[foreground], runs.counts[foreground]
    stop = runs.counts.cumsum(0)[foreground] - mask * (runs.height * runs.width)
    return ForegroundIntervals(mask, stop - length, stop)


def _mark_changes(masks_nHW: Tensor, out: Tensor) -> None:
    mark_differences(masks_nHW[:, 1:], masks_nHW[:, :-1], out=out[:, 1:])
    # Column-major order: the pixel before a column's top is the bottom of the column before it.
    out[:, 0, 0] = masks_nHW[:, 0, 0]
    mark_differences(masks_nHW[:, 0, 1:], masks_nHW[:, -1, :-1], out=out[:, 0, 1:])


def _column_major_keys(changes_nHW: Tensor) -> Tensor:
    _, height, width = changes_nHW.shape
    batch_row, column = _divide(find_set_pixels(changes_nHW.view(-1)), width)
    mask, row = _divide(batch_row, height)
    return (mask * width + column) * height + row


def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type == "cpu":
        return torch.from_numpy(np.sort(keys.numpy()))  # vectorised; torch.sort takes twice as long
    return keys.sort().values


def _offsets_of(lengths: Tensor) -> Tensor:
    return torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))


def _empty_masks(shape_NHW: tuple[int, int, int], device: torch.device) -> Tensor:
    if device.type == "cpu":
        # Zeros that the system hands out untouched, in huge pages where it has them: a fifth of the
        # time of torch.zeros, which was the largest part of decoding.
        return torch.from_numpy(np.zeros(shape_NHW, np.bool_))
    return torch.zeros(shape_NHW, dtype=torch.bool, device=device)


def _paint(mask: Tensor, start: Tensor, stop: Tensor, out: Tensor) -> None:
    """Write each pixel of empty masks as the parity of the interval borders at or before it."""
    mask_count, height, width = out.shape
    inside = stop < height * width
    mask = torch.cat((mask, mask[inside]))
    column, row = _divide(torch.cat((start, stop[inside])), height)
    one = torch.ones(1, dtype=torch.uint8, device=out.device).expand(len(mask))

    # uint8 counts wrap at 256, which keeps their parity.
    parity_nHW = out.view(torch.uint8)
    flat, place = parity_nHW.view(-1), (mask * height + row) * width + column
    flat.scatter_add_(0, place, one)
    flat[place] &= 1
    per_column_nW = parity_nHW.new_zeros((mask_count, width))
    per_column_nW.view(-1).scatter_add_(0, mask * width + column, one)
    parity_nHW[:, 0, 1:] ^= per_column_nW[:, :-1].cumsum(1, dtype=torch.uint8) & 1
    _accumulate_parity(parity_nHW)


def _accumulate_parity(parity_nHW: Tensor) -> None:
    if parity_nHW.device.type == "cpu":
        _accumulate_in_blocks(parity_nHW.numpy())
    else:
        parity_nHW.cumsum_(1, dtype=torch.uint8).bitwise_and_(1)


def _accumulate_in_blocks(parity_nHW: np.ndarray) -> None:
    """Accumulate down the columns with 2 sqrt(H) operations, each on many rows at once.

    Rows fall into blocks of equally many. Each block's parity goes on to the first row of the next;
    then the blocks are accumulated side by side. numpy's accumulate is 10 times as slow: it goes
    down one column after the other.
    """
    mask_count, height, width = parity_nHW.shape
    depth = isqrt(height)
    whole = height // depth * depth
    blocks_nADW = parity_nHW[:, :whole].reshape(mask_count, whole // depth, depth, width)  # a view
    carry_nAW = np.bitwise_xor.reduce(blocks_nADW, axis=2)
    _accumulate_rows(carry_nAW.swapaxes(0, 1))
    blocks_nADW[:, 1:, 0] ^= carry_nAW[:, :-1]
    _accumulate_rows(blocks_nADW.transpose(2, 0, 1, 3))
    _accumulate_rows(parity_nHW[:, whole - 1 :].swapaxes(0, 1))  # less than a block is left


def _accumulate_rows(rows: np.ndarray) -> None:
    for above, row in pairwise(rows):
        np.bitwise_xor(row, above, out=row)


def _divide(numerator: Tensor, denominator: int) -> tuple[Tensor, Tensor]:
    quotient = numerator // denominator
    return quotient, numerator - quotient * denominator
