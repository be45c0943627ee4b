"""DAVIS's layout -> clips with masks: JPEGImages/NAME/00000.jpg and Annotations/NAME/00000.png.

The palette's index is the object, 0 is ground and 255 is void. A resolution (480p) may stand
between, or several. Frames without annotations are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from sam2_core.inference.preprocess import RgbArray

from ...errors import Sam2RayError, UsageError
from ...readers.places import absolute, suffix_of
from ...readers.prompts.davis import BROKEN_PNG, VOID, as_objects, is_in_white, raw_ids
from ...readers.store_file import read_at
from ...records import Unit
from ...stages.clip_frames import FolderFrames
from ...stages.sampling import Sample
from ...storage import Options
from .folders import files_below
from .labelled import BadLabels, LabelledVideo, WholeClip, neighbours, require_masks
from .mask_stack import Masks, MasksByFrame
from .one_sided import OfClips
from .reading import read_pixels, refuse

_PICTURES = (".jpg", ".jpeg", ".png")
_THREADS = 2  # that open pictures
_IMAGES, _ANNOTATIONS = "JPEGImages", "Annotations"

Frame = tuple[str, str]  # addresses of a picture and of its annotation


@dataclass(frozen=True, slots=True)
class DavisLabels(OfClips):
    """Clips as folders of pictures and of palette pictures."""

    root: str
    names: tuple[str, ...]
    frames: tuple[tuple[Frame, ...], ...]  # of each clip
    options: Options

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> DavisLabels:
        """Match annotations with pictures of the same name; in a folder of pictures all are."""
        own = files_below(uri, options, lambda name: suffix_of(name) in _PICTURES, "pictures")
        others = own
        if pictures is not None:
            others = files_below(pictures, options, lambda n: suffix_of(n) in _PICTURES, "pictures")
        alone = pictures is not None
        masks = [name for name in own.names if _is_annotation(name, stands_alone=alone)]
        shown = [name for name in others.names if _ANNOTATIONS not in _folders(name)]
        clips: dict[str, list[Frame]] = {}
        for picture, mask in _matched(shown, masks, uri):
            clip = _key(picture).rpartition("/")[0]
            clips.setdefault(clip, []).append((others.uri_of(picture), own.uri_of(mask)))
        if not clips:
            raise UsageError(
                f"labels: {uri} holds no clip of DAVIS: JPEGImages/NAME/00000.jpg beside "
                "Annotations/NAME/00000.png."
            )
        frames = tuple(tuple(frames) for frames in clips.values())
        return cls(absolute(uri), tuple(clips), frames, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.root

    @property
    def clips(self) -> int:
        """Folders."""
        return len(self.names)

    def clip_names(self) -> Sequence[str]:
        """Their folders."""
        return self.names

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring annotated frames."""
        found = self._read(number, neighbours(len(self.frames[number]), frames, start))
        return LabelledVideo(found.pictures, [found.masks(n) for n in range(len(found.ids))])

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """All frames of a folder, none of which is kept."""
        frames, name = self.frames[number], self.names[number]
        every = range(len(frames))

        def open_frame(place: int) -> RgbArray:
            return read_pixels(Unit(frames[place][0], "image"), self.options)

        first = open_frame(0)
        size = (first.shape[0], first.shape[1])
        values = [np.unique(self._raw(mask, size)) for _, mask in frames]
        in_white = is_in_white(values)
        shown = np.unique(np.concatenate([as_objects(v, in_white=in_white) for v in values]))
        objects = [n for n in shown.tolist() if n not in (0, VOID)]

        def masks_on(place: int) -> Masks:
            ids = as_objects(self._raw(frames[place][1], size), in_white=in_white)
            return _masks_of(ids, objects)

        clip = FolderFrames(name, size, Sample(every, reaches_end=True), open_frame, _THREADS)
        return nullcontext(WholeClip(name, clip, MasksByFrame(every, masks_on)))

    def _read(self, number: int, places: Sequence[int]) -> _Frames:
        chosen = [self.frames[number][n] for n in places]
        pictures = [read_pixels(Unit(picture, "image"), self.options) for picture, _ in chosen]
        sizes = [(pixels.shape[0], pixels.shape[1]) for pixels in pictures]
        ids = [self._raw(mask, size) for (_, mask), size in zip(chosen, sizes, strict=True)]
        if len({one.shape for one in ids}) != 1:
            raise BadLabels(f"{self.names[number]}: its pictures have different sizes")
        in_white = is_in_white([*self._first_shown(number), *ids])
        ids = [as_objects(one, in_white=in_white) for one in ids]
        seen = {int(n) for one in ids for n in np.unique(one)} - {0, VOID}
        return _Frames(pictures, ids, sorted(seen))

    def _first_shown(self, number: int) -> Iterator[np.ndarray]:
        """The first annotation that shows anything: it tells what the clip means by white."""
        for _, mask in self.frames[number]:
            try:
                ids = raw_ids(read_at(mask, self.options))
            except (*BROKEN_PNG, Sam2RayError):  # of use to nobody, and of harm to its own frame
                continue
            if ids.any():
                yield ids
                return

    def _raw(self, uri: str, size_hw: tuple[int, int]) -> np.ndarray:
        try:
            ids = raw_ids(read_at(uri, self.options))
        except (*BROKEN_PNG, Sam2RayError) as error:
            refuse(uri, error)
        return require_masks(ids, size_hw, uri)


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Some frames of a clip."""

    pictures: Sequence[RgbArray]
    ids: Sequence[np.ndarray]  # [H, W] each
    objects: Sequence[int]  # that any of them shows

    def masks(self, place: int) -> Masks:
        """The masks of all objects on one frame; those of all frames may be many."""
        return _masks_of(self.ids[place], self.objects)


def _masks_of(ids: np.ndarray, objects: Sequence[int]) -> Masks:
    return ids == np.array(objects, ids.dtype)[:, None, None]


def _is_annotation(name: str, *, stands_alone: bool) -> bool:
    """Whether a file is one; where pictures lie elsewhere, all PNGs are but those of a clip."""
    if stands_alone:
        return suffix_of(name) == ".png" and _IMAGES not in _folders(name)
    return _ANNOTATIONS in _folders(name)


def _matched(pictures: Sequence[str], masks: Sequence[str], uri: str) -> Iterator[tuple[str, str]]:
    """Pictures with their annotations, by all that stands above both, or by clip and frame."""
    key, by_key = _key, {_key(name): name for name in masks}
    if not any(_key(name) in by_key for name in pictures):
        key, by_key = _short_key, _by_short_key(masks, uri)
    for name in pictures:
        if (own := key(name)) in by_key:
            yield name, by_key[own]


def _by_short_key(masks: Sequence[str], uri: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in masks:
        other = found.setdefault(_short_key(name), name)
        if other != name:
            raise UsageError(
                f"labels: {uri}: {other} and {name} are both annotations of "
                f"{_short_key(name)}, and no pictures lie in folders of their names: name the "
                "folder of one of them."
            )
    return found


def _key(name: str) -> str:
    """A clip and a frame, and what stands above them in both trees: `480p/bear/00000`."""
    kept = [part for part in name.split("/") if part not in (_IMAGES, _ANNOTATIONS)]
    return "/".join(kept).rpartition(".")[0]


def _short_key(name: str) -> str:
    """A clip and a frame, wherever they lie: `bear/00000`."""
    return "/".join(_key(name).split("/")[-2:])


def _folders(name: str) -> list[str]:
    return name.split("/")[:-1]
