"""The nouns of labels: pictures and videos with masks that somebody says are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sam2_core.inference.frame_sources import FrameSource
from sam2_core.inference.preprocess import RgbArray

from .mask_stack import MaskStack

ClassIds = np.ndarray[Any, np.dtype[np.uint8]]


class BadLabels(Exception):
    """One picture or clip cannot be learned from, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """A picture of any size, and masks of what is in it; they may overlap."""

    pixels: RgbArray  # [H, W, 3]
    masks: MaskStack  # [N, H, W]
    left_out: tuple[str, ...] = ()  # annotations that could not be read, and why


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVideo:
    """Some frames of a video, and the masks of its objects, empty where one is not seen."""

    frames: Sequence[RgbArray]  # [H, W, 3] each
    masks: Sequence[MaskStack]  # [N, H, W] each, of the same N objects
    left_out: tuple[str, ...] = ()  # objects that could not be read, and why


@dataclass(frozen=True, slots=True, eq=False)
class WholeClip:
    """A clip from its first frame to its last, and masks of the frames that are labelled."""

    name: str
    frames: Sequence[RgbArray] | FrameSource
    annotated: Mapping[int, MaskStack]  # [N, H, W] each, of the same N objects
    begins_with_objects: bool = False  # as in SA-V: an object's frames are those from its first on
    frames_of: Sequence[Sequence[int]] | None = None  # that each object has a label on; None: all


@dataclass(frozen=True, slots=True, eq=False)
class LabelledClasses:
    """A picture of any size, and the class of each of its pixels."""

    pixels: RgbArray  # [H, W, 3]
    ids: ClassIds  # [H, W], positions in the list of classes; UNKNOWN where nobody knows


class ClassSource(Protocol):
    """Where maps of classes come from; what a number gives is always the same."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def pictures(self) -> int | None:
        """How many pictures there are; None: without end."""
        ...

    def picture(self, number: int) -> LabelledClasses:
        """One picture. Raises BadLabels."""
        ...


class LabelSource(Protocol):
    """Where labels come from; what a number gives is always the same."""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        ...

    @property
    def pictures(self) -> int | None:
        """How many pictures there are; None: without end."""
        ...

    @property
    def clips(self) -> int | None:
        """How many clips there are; None: without end."""
        ...

    def picture(self, number: int) -> LabelledImage:
        """One picture. Raises BadLabels."""
        ...

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """So many neighbouring labelled frames, from a share of the clip on. Raises BadLabels."""
        ...

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """A clip as it is judged; what was brought for it goes afterwards. Raises BadLabels."""
        ...


class NamedLabels(LabelSource, Protocol):
    """A source whose pictures and clips keep their names when others are added."""

    def picture_names(self) -> Sequence[str]:
        """A name for each; frames of one clip share one."""
        ...

    def clip_names(self) -> Sequence[str]:
        """A name for each."""
        ...


class NamedClasses(ClassSource, Protocol):
    """A source of class maps whose pictures keep their names when others are added."""

    def picture_names(self) -> Sequence[str]:
        """A name for each."""
        ...


def require_masks(masks: np.ndarray, size_hw: tuple[int, int], name: str) -> np.ndarray:
    """Masks or ids that fit their picture; BadLabels otherwise."""
    require_size((masks.shape[-2], masks.shape[-1]), size_hw, name)
    return masks


def require_size(
    masks_hw: tuple[int | None, int | None], size_hw: tuple[int, int], name: str
) -> None:
    """BadLabels if masks have another size than their picture."""
    if masks_hw != size_hw:
        raise BadLabels(
            f"{name}: masks of {masks_hw[1]} x {masks_hw[0]} pixels do not fit a picture of "
            f"{size_hw[1]} x {size_hw[0]}"
        )


def neighbours(length: int, frames: int, start: float) -> range:
    """Numbers of neighbouring frames; of what is too short, all."""
    first = int(start * (max(0, length - frames) + 1))
    return range(min(first, max(0, length - frames)), min(length, first + frames))
