"""What sources of clips alone, and of pictures alone, say of what they have not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from .labelled import LabelledImage, LabelledVideo, WholeClip


class OfClips:
    """A source without pictures but the frames of its clips."""

    __slots__ = ()

    @property
    def pictures(self) -> int:
        """None."""
        return 0

    def picture_names(self) -> Sequence[str]:
        """None."""
        return ()

    def picture(self, number: int) -> LabelledImage:
        """There is none to ask for."""
        raise IndexError(number)


class OfPictures:
    """A source without clips."""

    __slots__ = ()

    @property
    def clips(self) -> int:
        """None."""
        return 0

    def clip_names(self) -> Sequence[str]:
        """None."""
        return ()

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:  # noqa: ARG002
        """There is none to ask for."""
        raise IndexError(number)

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """There is none to ask for."""
        raise IndexError(number)
