"""One in n pictures and clips of a source, to be examined by, or all others, to learn from.

Which those are depends on their names alone, so that they stay the same when others come.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256

from ...errors import UsageError
from .labelled import (
    ClassSource,
    LabelledClasses,
    LabelledImage,
    LabelledVideo,
    NamedClasses,
    NamedLabels,
    WholeClip,
)


@dataclass(frozen=True, slots=True)
class Split:
    """Which side of a source is taken."""

    every: int
    held_out: bool

    def numbers(self, names: Sequence[str]) -> tuple[int, ...]:
        """Where those of this side stand among all."""
        return tuple(n for n, name in enumerate(names) if self._holds(name) == self.held_out)

    def _holds(self, name: str) -> bool:
        digest = sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.every == 0

    def require_some(self, name: str, chosen: int, of: int) -> None:
        """Refuse what leaves nothing on this side."""
        if not chosen:
            raise UsageError(
                f"labels: {name}: hold_out_every={self.every} leaves none of {of} to "
                + ("examine by: a smaller number keeps more." if self.held_out else "learn from.")
            )


@dataclass(frozen=True, slots=True)
class SplitLabels:
    """One side of a source of masks."""

    source: NamedLabels
    picture_numbers: tuple[int, ...]
    clip_numbers: tuple[int, ...]

    @classmethod
    def of(cls, source: NamedLabels, split: Split) -> SplitLabels:
        """Refuse a side with nothing on it."""
        names = source.picture_names(), source.clip_names()
        pictures, clips = (split.numbers(some) for some in names)
        split.require_some(source.name, len(pictures) + len(clips), sum(map(len, names)))
        return cls(source, pictures, clips)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.source.name

    @property
    def pictures(self) -> int:
        """Those of this side."""
        return len(self.picture_numbers)

    @property
    def clips(self) -> int:
        """Those of this side."""
        return len(self.clip_numbers)

    def picture(self, number: int) -> LabelledImage:
        """One of this side."""
        return self.source.picture(self.picture_numbers[number])

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Some frames of one of this side."""
        return self.source.clip(self.clip_numbers[number], frames, start)

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """One of this side."""
        return self.source.whole_clip(self.clip_numbers[number])


@dataclass(frozen=True, slots=True)
class SplitClasses:
    """One side of a source of class maps."""

    source: ClassSource
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, source: NamedClasses, split: Split) -> SplitClasses:
        """Refuse a side with nothing on it."""
        names = source.picture_names()
        numbers = split.numbers(names)
        split.require_some(source.name, len(numbers), len(names))
        return cls(source, numbers)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.source.name

    @property
    def pictures(self) -> int:
        """Those of this side."""
        return len(self.numbers)

    def picture(self, number: int) -> LabelledClasses:
        """One of this side."""
        return self.source.picture(self.numbers[number])
