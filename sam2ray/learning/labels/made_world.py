"""Labels from a world that is made as they are needed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from sam2_core.learning.shapes import HELD_OUT, TRAINED
from sam2_core.learning.world import World

from .labelled import LabelledImage, LabelledVideo, WholeClip

EXAM_FRAMES = 24
_BEGINNING_PX = 16


@dataclass(frozen=True, slots=True)
class WorldLabels:
    """An endless album."""

    seed: int
    size: int
    held_out: bool
    min_area: int

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"world {self.seed}{' of shapes held out' if self.held_out else ''}"

    @property
    def pictures(self) -> None:
        """There is no end of them."""

    @property
    def clips(self) -> None:
        """There is no end of them."""

    @property
    def _world(self) -> World:
        return World(self.seed, self.size, families=HELD_OUT if self.held_out else TRAINED)

    def picture(self, number: int) -> LabelledImage:
        """One picture."""
        made = self._world.picture(number)
        return LabelledImage(made.pixels, made.masks(made.object_ids(self.min_area)))

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:  # noqa: ARG002
        """One clip: it is as long as it is asked to be."""
        made = self._world.clip(number, frames)
        seen = made[0].object_ids(self.min_area)
        masks = [made[frame].masks(seen) for frame in range(len(made))]
        return LabelledVideo(list(made.frames), masks)

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """One of 24 frames, in which things are hidden and return."""
        # What is judged is not chosen by size; what is hardly there at first has no beginning.
        clip = replace(self, min_area=_BEGINNING_PX).clip(number, EXAM_FRAMES, 0.0)
        annotated = dict(enumerate(clip.masks))
        return nullcontext(WholeClip(f"{self.name}, clip {number}", clip.frames, annotated))
