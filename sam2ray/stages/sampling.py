"""Which frames of a clip are looked at: decided from numbers and times, before any is decoded."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from heapq import merge
from itertools import pairwise

Seconds = Callable[[int], float | None]

# Frames between two that are wanted, from which on it is better to seek than to decode them all.
_FAR = 250
_ROUNDING_TICKS = 1e-6  # times are fractions: 3 * (1 / 30) must not fall short of a tenth


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What a job takes of each clip."""

    every_nth: int = 1
    fps: float | None = None  # instead of every_nth
    max_frames: int | None = None  # of the source: a longer clip is cut off there
    max_duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """Frames of one clip, by their index in the source, ascending.

    A clip may have millions: numbers are a range or an array, unless somebody counts them out.
    """

    numbers: Sequence[int]
    reaches_end: bool  # nobody asked to cut the clip off
    cut: str | None = None  # where it was cut off, and by which setting

    def position_of(self, number: int) -> int:
        """Where a frame of the sample stands in it."""
        position = bisect_left(self.numbers, number)
        assert self.numbers[position] == number
        return position

    def with_frames(self, wanted: Collection[int]) -> Sample:
        """The same with some more frames."""
        missing = sorted(number for number in wanted if not _holds(self.numbers, number))
        if not missing:
            return self
        return replace(self, numbers=array("q", merge(self.numbers, missing)))


def sample(
    length: int, seconds: Seconds, rule: Sampling, first: int = 0, end: int | None = None
) -> Sample:
    """The frames of [first, end) that a rule takes.

    Where nothing says when frames are shown, no duration is too long; ValueError if a rate is
    asked for.
    """
    whole_end = length if end is None else min(end, length)
    stop, limit = whole_end, ""
    if rule.max_frames is not None and first + rule.max_frames < stop:
        stop, limit = first + rule.max_frames, f"max_frames={rule.max_frames}"
    if first >= stop:
        return Sample(range(0), first >= whole_end)
    start_s = seconds(first)
    if rule.max_duration_s is not None and start_s is not None:
        end_s = start_s + rule.max_duration_s
        all_of_it = stop
        stop = bisect_left(range(stop), end_s, lo=first, key=lambda number: seconds(number) or 0.0)
        limit = limit if stop == all_of_it else f"max_duration_s={rule.max_duration_s:g}"
    numbers: Sequence[int] = range(first, stop, rule.every_nth)
    if rule.fps is not None:
        if start_s is None:
            raise ValueError("nothing says when its frames are shown")
        numbers = _at_rate(range(first, stop), seconds, start_s, rule.fps)
    if stop == whole_end:
        return Sample(numbers, reaches_end=True)
    cut = f"cut off behind frame {stop - 1} of {whole_end} by decode.video.{limit}"
    return Sample(numbers, reaches_end=False, cut=cut)


def _at_rate(numbers: range, seconds: Seconds, start_s: float, fps: float) -> Sequence[int]:
    """The first frame shown in each interval of 1 / fps."""
    chosen = array("q")
    next_tick = 0
    for number in numbers:
        tick = math.floor(((seconds(number) or 0.0) - start_s) * fps + _ROUNDING_TICKS)
        if tick >= next_tick:
            chosen.append(number)
            next_tick = tick + 1
    return _as_range(chosen)


def _as_range(numbers: Sequence[int]) -> Sequence[int]:
    """The same numbers as a range if they are one."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    even = range(numbers[0], numbers[-1] + 1, step)
    same = len(even) == len(numbers) and all(a == b for a, b in zip(even, numbers, strict=True))
    return even if same else numbers


def _holds(numbers: Sequence[int], number: int) -> bool:
    if isinstance(numbers, range):
        return number in numbers
    position = bisect_left(numbers, number)
    return position < len(numbers) and numbers[position] == number


def select(numbers: Sequence[int], positions: range) -> Sequence[int]:
    """The frames at some positions of a sample; a range where that is possible."""
    if not positions:
        return range(0)
    if isinstance(numbers, range):
        first, last = numbers[positions[0]], numbers[positions[-1]]
        step = numbers.step * positions.step
        return range(first, last + (1 if step > 0 else -1), step)
    return array("q", (numbers[position] for position in positions))


def legs(numbers: Sequence[int], *, seeks: bool) -> Iterator[tuple[range, Sequence[int]]]:
    """Ranges to be read one after another, each with those of its frames that are wanted.

    Decoders go from frame to frame, so what lies between is read too, unless it is much and the
    file can be sought in.
    """
    if not numbers:
        return
    if isinstance(numbers, range):
        yield numbers, numbers
        return
    group = array("q", numbers[:1])
    for before, number in pairwise(numbers):
        if seeks and abs(number - before) > _FAR:
            yield _leg(group), group
            group = array("q")
        group.append(number)
    yield _leg(group), group


def _leg(numbers: Sequence[int]) -> range:
    gaps = (after - before for before, after in pairwise(numbers))
    step = reduce(math.gcd, gaps, 0) or 1
    sign = -1 if numbers[-1] < numbers[0] else 1
    return range(numbers[0], numbers[-1] + sign, sign * step)
