"""DAVIS's layout -> clips with masks: JPEGImages/NAME/00000.jpg and Annotations/NAME/00000.png.

The palette's index is the object, 0 is ground and 255 is void. A resolution (480p) may stand
between. Frames without annotations are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from sam2_core.inference.preprocess import RgbArray

from ...errors import Sam2RayError, UsageError
from ...readers.places import absolute, suffix_of
from ...readers.prompts.davis import BROKEN_PNG, VOID, read_ids
from ...readers.store_file import read_at
from ...records import Unit
from ...storage import Options
from .folders import files_below
from .labelled import BadLabels, LabelledImage, LabelledVideo, WholeClip, neighbours, require_masks
from .reading import read_pixels, refuse

_PICTURES = (".jpg", ".jpeg", ".png")

Frame = tuple[str, str]  # addresses of a picture and of its annotation


@dataclass(frozen=True, slots=True)
class DavisLabels:
    """Clips as folders of pictures and of palette pictures."""

    root: str
    names: tuple[str, ...]
    frames: tuple[tuple[Frame, ...], ...]  # of each clip
    options: Options

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> DavisLabels:
        """Match annotations with pictures of the same name."""
        root = absolute(uri)
        own = files_below(uri, options, lambda name: suffix_of(name) in _PICTURES, "pictures")
        masks = {_key(n): own.uri_of(n) for n in own.names if _is_annotation(n)}
        others = own
        if pictures is not None:
            others = files_below(pictures, options, lambda n: suffix_of(n) in _PICTURES, "pictures")
        clips: dict[str, list[Frame]] = {}
        for name in others.names:
            if not _is_annotation(name) and _key(name) in masks:
                clip = _key(name).rpartition("/")[0]
                clips.setdefault(clip, []).append((others.uri_of(name), masks[_key(name)]))
        if not clips:
            raise UsageError(
                f"labels: {uri} holds no clip of DAVIS: JPEGImages/NAME/00000.jpg beside "
                "Annotations/NAME/00000.png."
            )
        return cls(root, tuple(clips), tuple(tuple(frames) for frames in clips.values()), options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.root

    @property
    def pictures(self) -> int:
        """One of each clip's frames."""
        return len(self.names)

    @property
    def clips(self) -> int:
        """Folders."""
        return len(self.names)

    def picture(self, number: int) -> LabelledImage:
        """The frame in the middle of a clip."""
        clip = self.clip(number, 1, 0.5)
        return LabelledImage(clip.frames[0], clip.masks[0])

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring annotated frames."""
        chosen = [self.frames[number][n] for n in self._chosen(number, frames, start)]
        pictures = [read_pixels(Unit(picture, "image"), self.options) for picture, _ in chosen]
        ids = [self._ids(mask, p) for (_, mask), p in zip(chosen, pictures, strict=True)]
        if len({one.shape for one in ids}) != 1:
            raise BadLabels(f"{self.names[number]}: its pictures have different sizes")
        seen = sorted({int(n) for one in ids for n in np.unique(one)} - {0, VOID})
        masks = np.stack([one == np.array(seen, one.dtype)[:, None, None] for one in ids])
        return LabelledVideo(pictures, masks)

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """All frames of a folder."""
        clip = self.clip(number, len(self.frames[number]), 0.0)
        whole = WholeClip(self.names[number], clip.frames, dict(enumerate(clip.masks)))
        return nullcontext(whole)

    def _chosen(self, number: int, frames: int, start: float) -> Sequence[int]:
        return neighbours(len(self.frames[number]), frames, start)

    def _ids(self, uri: str, picture: RgbArray) -> np.ndarray:
        try:
            ids = read_ids(read_at(uri, self.options))
        except (*BROKEN_PNG, Sam2RayError) as error:
            refuse(uri, error)
        return require_masks(ids, (picture.shape[0], picture.shape[1]), uri)


def _is_annotation(name: str) -> bool:
    return "Annotations" in name.split("/")[:-1]


def _key(name: str) -> str:
    """A clip and a frame, wherever they lie: `bear/00000`."""
    return "/".join(name.rsplit(".", 1)[0].split("/")[-2:])
