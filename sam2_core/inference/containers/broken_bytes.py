"""What a walk through a container reads from, and what it may find: the first bytes that are wrong.

Files are hostile: a walk goes forward only, each step reads a few bytes, and steps are counted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MOST_STEPS = 50_000_000  # ten times those of a day of video with sound
_STEPS_A_REPORT = 256  # of MPEG-TS 240 MB


@dataclass(frozen=True, slots=True)
class Break:
    """Where a file stops being what it says; whatever begins before is as it should be."""

    at: int
    reason: str


def unheard() -> None:
    """Something long gets on, and nobody needs to know."""


class TooManySteps(Exception):
    """A file of so many parts that nobody looks at all of them."""


@dataclass(slots=True, eq=False)
class Walk:
    """A file that is looked at here and there."""

    descriptor: int
    size: int
    on_progress: Callable[[], None] = unheard
    steps: int = field(default=0)

    def read(self, at: int, count: int) -> bytes:
        """Some bytes; fewer at the end of the file."""
        return os.pread(self.descriptor, count, at)

    def step(self, at: int, count: int) -> bytes:
        """The head of the next part."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TooManySteps
        if self.steps % _STEPS_A_REPORT == 0:
            self.on_progress()
        return os.pread(self.descriptor, count, at)


def open_walk(path: Path, on_progress: Callable[[], None] = unheard) -> Walk:
    """A walk through a file; `close_walk` ends it."""
    descriptor = os.open(path, os.O_RDONLY)
    return Walk(descriptor, os.fstat(descriptor).st_size, on_progress)


def close_walk(walk: Walk) -> None:
    """Let go of the file."""
    os.close(walk.descriptor)


def cut_off(size: int, announced: int) -> str:
    """The words for a file that ends too early."""
    return f"the file is cut off after {size} of {announced} bytes"
