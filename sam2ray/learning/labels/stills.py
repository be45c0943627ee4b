"""Frames of labelled clips as pictures, beside the pictures that a source has anyway."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from .labelled import LabelledImage, LabelledVideo, LabelSource, WholeClip

STILLS = 16  # of a clip


@dataclass(frozen=True, slots=True)
class WithStills:
    """A source whose clips are pictures, too: first the middle of each, then other places."""

    source: LabelSource

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.source.name

    @property
    def pictures(self) -> int | None:
        """Its own, and some of each clip."""
        own, clips = self.source.pictures, self.source.clips
        return own if own is None or clips is None else own + clips * STILLS

    @property
    def clips(self) -> int | None:
        """As many as there are."""
        return self.source.clips

    def picture(self, number: int) -> LabelledImage:
        """One picture, or one frame."""
        own, clips = self.source.pictures, self.source.clips
        if own is None or not clips or number < own:
            return self.source.picture(number)
        place, clip = divmod(number - own, clips)
        found = self.source.clip(clip, 1, share_of(place))
        return LabelledImage(found.frames[0], found.masks[0], found.left_out)

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Some frames of a clip."""
        return self.source.clip(number, frames, start)

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """A clip as it is judged."""
        return self.source.whole_clip(number)


def share_of(place: int) -> float:
    """1/2, 1/4, 3/4, 1/8, 5/8 and so on: each falls where the ones before left most room."""
    share, width, rest = 0.0, 0.5, place + 1
    while rest:
        share += width * (rest & 1)
        rest, width = rest >> 1, width / 2
    return share
