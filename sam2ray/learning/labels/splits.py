"""Every n-th picture and clip of a source, to be examined by, or all others, to learn from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from ...errors import UsageError
from .labelled import (
    ClassSource,
    LabelledClasses,
    LabelledImage,
    LabelledVideo,
    LabelSource,
    WholeClip,
)


@dataclass(frozen=True, slots=True)
class Split:
    """Which side of a source is taken."""

    every: int
    held_out: bool

    def count(self, count: int | None) -> int | None:
        """How many of so many are on this side."""
        if count is None:
            return None
        held = count // self.every
        return held if self.held_out else count - held

    def number(self, number: int) -> int:
        """Where one of this side stands among all: each `every`-th is held out."""
        if self.held_out:
            return number * self.every + self.every - 1
        return number + number // (self.every - 1)

    def require_some(self, name: str, *counts: int | None) -> None:
        """Refuse what leaves nothing on this side."""
        if not any(self.count(count) != 0 for count in counts):
            raise UsageError(
                f"labels: {name}: hold_out_every={self.every} of {max(c or 0 for c in counts)} "
                f"leaves nothing {'to be examined by' if self.held_out else 'to learn from'}."
            )


@dataclass(frozen=True, slots=True)
class SplitLabels:
    """One side of a source of masks."""

    source: LabelSource
    split: Split

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.source.name

    @property
    def pictures(self) -> int | None:
        """Those of this side."""
        return self.split.count(self.source.pictures)

    @property
    def clips(self) -> int | None:
        """Those of this side."""
        return self.split.count(self.source.clips)

    def picture(self, number: int) -> LabelledImage:
        """One of this side."""
        return self.source.picture(self.split.number(number))

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Some frames of one of this side."""
        return self.source.clip(self.split.number(number), frames, start)

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """One of this side."""
        return self.source.whole_clip(self.split.number(number))


@dataclass(frozen=True, slots=True)
class SplitClasses:
    """One side of a source of class maps."""

    source: ClassSource
    split: Split

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.source.name

    @property
    def pictures(self) -> int | None:
        """Those of this side."""
        return self.split.count(self.source.pictures)

    def picture(self, number: int) -> LabelledClasses:
        """One of this side."""
        return self.source.picture(self.split.number(number))
