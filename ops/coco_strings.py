"""Turns run lengths into COCO's compressed strings and back; run_lengths.py owns the pixels."""

# A count is written in groups of 5 bits, lowest first, as characters from 48 ("0") on: bit 5 says
# that more groups follow, and bit 4 of the last group is the sign. From a mask's 4th count on,
# what is written is the difference to the count two before.

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from .run_lengths import RunLengths

FIRST_CHARACTER = 48
GROUP_BITS = 5
MORE = 0x20
SIGN = 0x10
# 7 groups hold 34 bits and a sign: masks of 131072 x 131072 pixels.
MAX_GROUPS = 7


def to_coco_strings(runs: RunLengths) -> list[str]:
    """Write each mask's runs as the string that pycocotools writes."""
    counts, offsets = runs.counts.cpu().numpy(), runs.offsets.cpu().numpy()
    values = counts.copy()
    late = np.flatnonzero(_places(offsets) >= 3)
    values[late] -= counts[late - 2]
    lengths = _group_counts(values)
    ends = np.cumsum(lengths)
    text = _write_groups(values, lengths, ends - lengths).tobytes().decode("ascii")
    borders = np.concatenate(([0], ends))[offsets].tolist()
    return [text[first:last] for first, last in pairwise(borders)]


def from_coco_strings(strings: Sequence[str | bytes], height: int, width: int) -> RunLengths:
    """Read COCO compressed strings of masks of one size; a ValueError names the bad mask."""
    # UTF-8 turns every character outside ASCII, lone surrogates too, into bytes that are refused.
    encoded = [s if isinstance(s, bytes) else s.encode("utf-8", "surrogatepass") for s in strings]
    borders = np.cumsum([0, *(len(text) for text in encoded)])
    groups = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int64) - FIRST_CHARACTER
    _require_valid_groups(groups, borders)
    is_last = (groups & MORE) == 0
    offsets = np.concatenate(([0], np.cumsum(is_last)))[borders]
    counts = _sum_differences(_read_groups(groups, is_last, borders), offsets)
    _require_valid_counts(counts, offsets, height, width)
    return RunLengths(height, width, torch.from_numpy(counts), torch.from_numpy(offsets))


def _places(offsets: np.ndarray) -> np.ndarray:
    """Return each count's place within its mask."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def _group_counts(values: np.ndarray) -> np.ndarray:
    """Return how many 5-bit groups each value takes, its sign bit included."""
    magnitudes = np.where(values < 0, ~values, values)
    groups = np.ones(len(values), np.int64)
    for bits in range(GROUP_BITS, 64, GROUP_BITS):
        groups += magnitudes >= 1 << (bits - 1)
    return groups


def _write_groups(values: np.ndarray, lengths: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the characters of all values as uint8."""
    text = np.empty(lengths.sum(), np.uint8)
    for place in range(lengths.max(initial=0)):
        reaches = lengths > place
        values, lengths, starts = values[reaches], lengths[reaches], starts[reaches]
        more = np.where(lengths > place + 1, MORE, 0)
        group = (values >> (GROUP_BITS * place)) & (MORE - 1)
        text[starts + place] = group + more + FIRST_CHARACTER
    return text


def _read_groups(groups: np.ndarray, is_last: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """Return the signed values that the groups spell."""
    last = np.flatnonzero(is_last)
    first = np.concatenate(([0], last + 1))[: len(last)]
    place = np.arange(len(groups)) - np.repeat(first, last - first + 1)
    too_long = np.flatnonzero(place >= MAX_GROUPS)
    if len(too_long):
        mask = _owner(borders, too_long[0])
        raise ValueError(
            f"mask {mask}: its string holds a number of more than {MAX_GROUPS} characters; "
            "it is damaged, or not a COCO compressed RLE"
        )
    bits = (groups & (MORE - 1)) << (GROUP_BITS * place)
    negative = (groups[last] & SIGN) != 0
    sums = np.add.reduceat(bits, first) if len(first) else bits
    return sums - (negative.astype(np.int64) << (GROUP_BITS * (place[last] + 1)))


def _sum_differences(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Undo the differences: three sums per mask, of its first count, of the odd and even others."""
    counts = values.copy()
    place = _places(offsets)
    for parity in (0, 1):
        chain = np.flatnonzero(place % 2 == parity)
        sums = np.cumsum(values[chain])
        starts = place[chain] <= 2  # places 0, 1 and 2 are written as they are
        before = sums - values[chain]
        chain_length = np.diff(np.append(np.flatnonzero(starts), len(chain)))
        counts[chain] = sums - np.repeat(before[starts], chain_length)
    return counts


def _require_valid_groups(groups: np.ndarray, borders: np.ndarray) -> None:
    wrong = np.flatnonzero((groups < 0) | (groups >= 2 * MORE))
    if len(wrong):
        mask = _owner(borders, wrong[0])
        place = wrong[0] - borders[mask]
        character = groups[wrong[0]] + FIRST_CHARACTER
        raise ValueError(
            f"mask {mask}: byte {character:#04x} at place {place} is no COCO RLE character "
            "('0' to 'o'); pass the string of `counts`, not of the whole RLE"
        )
    filled = np.flatnonzero(np.diff(borders))
    truncated = filled[(groups[borders[filled + 1] - 1] & MORE) != 0]
    if len(truncated):
        raise ValueError(
            f"mask {truncated[0]}: its string ends within a number; it was cut off, read it again"
        )


def _require_valid_counts(counts: np.ndarray, offsets: np.ndarray, height: int, width: int) -> None:
    area = height * width
    wrong = np.flatnonzero((counts < 0) | (counts > area))
    if len(wrong):
        raise ValueError(
            f"mask {_owner(offsets, wrong[0])}: a run of {counts[wrong[0]]} pixels does not fit "
            f"{height} x {width}; check the size that belongs to the string"
        )
    totals = np.diff(np.concatenate(([0], np.cumsum(counts)))[offsets])
    wrong = np.flatnonzero(totals != area)
    if len(wrong):
        raise ValueError(
            f"mask {wrong[0]}: its runs sum to {totals[wrong[0]]} pixels, {height} x {width} has "
            f"{area}; check the size that belongs to the string"
        )


def _owner(borders: np.ndarray, place: int) -> int:
    """Return the mask whose half-open range of places holds this place."""
    return int(np.searchsorted(borders, place, side="right")) - 1
