"""Masks of a picture: pixels, or run lengths that become pixels a few masks at a time.

A picture may have hundreds of masks, and a clip has some on each of its frames: as pixels of the
source's own size they do not fit into memory all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from ops import (
    RunLengths,
    decode_run_lengths,
    from_coco_strings,
    run_areas,
    select_runs,
    to_coco_strings,
)

Masks: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class RunLengthMasks:
    """Masks [N, H, W] that are kept as run lengths; what is asked for as pixels is not kept."""

    runs: RunLengths

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, H, W."""
        return len(self.runs), self.runs.height, self.runs.width

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, places: slice) -> Masks:
        some = select_runs(self.runs, torch.arange(len(self))[places])
        return decode_run_lengths(some).numpy()

    def __iter__(self) -> Iterator[Masks]:
        for place in range(len(self)):
            yield self[place : place + 1][0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401 numpy's protocol
        return np.asarray(self[:], dtype)

    def areas(self) -> np.ndarray:
        """How many pixels each mask has, without making any."""
        return run_areas(self.runs).numpy()

    def chosen(self, which: np.ndarray) -> RunLengthMasks:
        """Those of some places, or where it is true."""
        return RunLengthMasks(select_runs(self.runs, torch.from_numpy(which)))


MaskStack: TypeAlias = "Masks | RunLengthMasks"


def stack_of(counts: Sequence[str | None], size_hw: tuple[int, int]) -> RunLengthMasks:
    """COCO's compressed strings as masks, None as one without a pixel; ValueError if one is bad."""
    empty = _without_pixels(size_hw) if None in counts else ""
    strings = [empty if one is None else one for one in counts]
    return RunLengthMasks(from_coco_strings(strings, *size_hw))


def _without_pixels(size_hw: tuple[int, int]) -> str:
    height, width = size_hw
    whole = RunLengths(height, width, torch.tensor([height * width]), torch.tensor([0, 1]))
    return to_coco_strings(whole)[0]


def areas_of(masks: MaskStack) -> np.ndarray:
    """How many pixels each mask has."""
    return masks.areas() if isinstance(masks, RunLengthMasks) else masks.sum((1, 2))


def chosen_of(masks: MaskStack, which: np.ndarray) -> MaskStack:
    """The masks of some places, or where it is true."""
    return masks.chosen(which) if isinstance(masks, RunLengthMasks) else masks[which]


class MasksByFrame(Mapping[int, MaskStack]):
    """Masks of many frames, each made when it is looked at, and again when it is again."""

    def __init__(self, frames: Iterable[int], make: Callable[[int], MaskStack]) -> None:
        self._frames = dict.fromkeys(frames)
        self._make = make

    def __getitem__(self, frame: int) -> MaskStack:
        if frame not in self._frames:
            raise KeyError(frame)
        return self._make(frame)

    def __contains__(self, frame: object) -> bool:
        return frame in self._frames

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames)

    def __len__(self) -> int:
        return len(self._frames)
