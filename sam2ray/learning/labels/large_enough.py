"""Labels without what is too small to be learned; what has nothing else is no label."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from .labelled import BadLabels, LabelledImage, LabelledVideo, LabelSource, WholeClip
from .mask_stack import areas_of, chosen_of


@dataclass(frozen=True, slots=True)
class LargeEnough:
    """A source, and how many pixels a mask has at least."""

    source: LabelSource
    min_area: int

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.source.name

    @property
    def pictures(self) -> int | None:
        """As many as there are."""
        return self.source.pictures

    @property
    def clips(self) -> int | None:
        """As many as there are."""
        return self.source.clips

    def picture(self, number: int) -> LabelledImage:
        """One picture with its larger masks."""
        found = self.source.picture(number)
        is_large = areas_of(found.masks) >= self.min_area
        if not is_large.any():
            raise BadLabels(
                f"{self.name}: picture {number}: no mask to learn from has {self.min_area} pixels "
                f"or more{_besides(found.left_out)}"
            )
        return replace(found, masks=chosen_of(found.masks, is_large))

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Some frames, and the objects that are larger on any of them."""
        found = self.source.clip(number, frames, start)
        largest = np.max([areas_of(masks) for masks in found.masks], axis=0)
        kept = np.flatnonzero(largest >= self.min_area)
        if not areas_of(chosen_of(found.masks[0], kept)).any():
            raise BadLabels(
                f"{self.name}: clip {number}: on the first of some frames no object is seen that "
                f"has {self.min_area} pixels or more on one of them{_besides(found.left_out)}"
            )
        return replace(found, masks=[chosen_of(masks, kept) for masks in found.masks])

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """A clip as it is: what is judged is not chosen by its size."""
        return self.source.whole_clip(number)


def _besides(left_out: tuple[str, ...]) -> str:
    return f", and {left_out[0]}" if left_out else ""
