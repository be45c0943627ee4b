"""SA-V's layout for judging -> clips with masks: a folder of black and white PNGs an object.

JPEGImages_24fps/VIDEO/00000.jpg and Annotations_6fps/VIDEO/000/00000.png, where one frame in four
is annotated. All frames are followed, and the annotated ones are judged.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ...errors import Sam2RayError, UsageError
from ...readers.places import absolute, base_name, suffix_of
from ...readers.prompts.davis import BROKEN_PNG, raw_ids
from ...readers.store_file import read_at
from ...records import Unit
from ...storage import Options
from .clip_sources import open_clip, read_frames
from .folders import Found, files_below
from .labelled import BadLabels, LabelledVideo, WholeClip, neighbours, require_masks
from .mask_stack import Masks, MasksByFrame
from .one_sided import OfClips
from .reading import refuse

_ANNOTATIONS = "Annotations"  # with or without the rate behind it
_PICTURES = (".jpg", ".jpeg")
_RESOLUTION = re.compile(r"\d+p|Full-Resolution")


@dataclass(frozen=True, slots=True)
class _Clip:
    """A folder of pictures, and the PNGs of its objects."""

    name: str
    pictures: str  # address of the folder
    objects: tuple[str, ...]
    annotated: Mapping[int, Mapping[str, str]]  # by frame and object: the address of a PNG


@dataclass(frozen=True, slots=True)
class SavFolders(OfClips):
    """Videos as folders of pictures, and of a folder an object."""

    root: str
    videos: tuple[_Clip, ...]
    options: Options

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> SavFolders:
        """Match the folders of videos with those of pictures by their names."""
        masks = files_below(uri, options, is_object_png, "PNGs of objects")
        shown = files_below(pictures or uri, options, _is_picture, "pictures of SA-V's videos")
        stems: dict[str, list[str]] = defaultdict(list)
        folders: dict[str, str] = {}
        for name in shown.names:
            folder, _, file = name.rpartition("/")
            video = base_name(folder) or base_name(shown.root)
            other = folders.setdefault(video, folder)
            if other != folder:
                raise UsageError(f"labels: {uri}: {other} and {folder} are both of video {video}.")
            stems[video].append(file.rpartition(".")[0])
        of_videos: dict[str, list[str]] = defaultdict(list)
        for name in masks.names:
            of_videos[name.split("/")[-3]].append(name)
        videos = tuple(
            _clip(video, shown.uri_of(folders[video]), stems[video], names, masks)
            for video, names in of_videos.items()
            if video in folders
        )
        videos = tuple(video for video in videos if video.annotated)
        if not videos:
            raise UsageError(
                f"labels: {uri}: no folder of pictures is called as a video of its annotations, "
                f"as {next(iter(of_videos))}, with pictures called as its PNGs: name where they "
                "lie."
            )
        return cls(absolute(uri), videos, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.root

    @property
    def clips(self) -> int:
        """Videos with annotations."""
        return len(self.videos)

    def clip_names(self) -> Sequence[str]:
        """Their folders."""
        return [video.name for video in self.videos]

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring annotated frames."""
        clip = self.videos[number]
        annotated = [*clip.annotated]
        chosen = [annotated[place] for place in neighbours(len(annotated), frames, start)]
        pixels = read_frames(Unit(clip.pictures, "frames"), chosen, self.options)
        size = (pixels[0].shape[0], pixels[0].shape[1])
        broken: dict[int, str] = {}
        stacks = [self._masks(clip, frame, size, broken) for frame in chosen]
        kept = [place for place in range(len(clip.objects)) if place not in broken]
        if not kept:
            raise BadLabels(f"{next(iter(broken.values()))}; it has no better one")
        return LabelledVideo(pixels, [stack[kept] for stack in stacks], (*broken.values(),))

    @contextmanager
    def whole_clip(self, number: int) -> Iterator[WholeClip]:
        """The whole video, whose annotated frames are judged."""
        clip = self.videos[number]
        with open_clip(Unit(clip.pictures, "frames"), self.options) as source:
            size = source.size_hw()
            masks = MasksByFrame(clip.annotated, lambda frame: self._masks(clip, frame, size))
            frames_of = [
                [frame for frame, there in clip.annotated.items() if one in there]
                for one in clip.objects
            ]
            yield WholeClip(clip.name, source, masks, frames_of=frames_of)

    def _masks(
        self,
        clip: _Clip,
        frame: int,
        size_hw: tuple[int, int],
        broken: dict[int, str] | None = None,
    ) -> Masks:
        """Those of all objects, without a pixel where one has no PNG.

        What is broken is noted by its object's place, where somebody takes note of it.
        """
        there = clip.annotated[frame]
        stack = np.zeros((len(clip.objects), *size_hw), bool)
        for place, one in enumerate(clip.objects):
            if one not in there:
                continue
            try:
                stack[place] = require_masks(self._read(there[one]), size_hw, there[one])
            except BadLabels as error:
                if broken is None:
                    raise
                broken.setdefault(place, str(error))
        return stack

    def _read(self, uri: str) -> Masks:
        try:
            return raw_ids(read_at(uri, self.options)) > 0
        except (*BROKEN_PNG, Sam2RayError) as error:
            refuse(uri, error)


def is_object_png(name: str) -> bool:
    """Whether a file is of one object of a clip: `Annotations_6fps/sav_1/000/00000.png`."""
    folders = name.split("/")[:-1]
    if suffix_of(name) != ".png" or len(folders) < 2 or not folders[-1].isdecimal():
        return False
    # DAVIS has a resolution where SA-V has a video, and there may be clips that are numbers.
    return not (folders[-2].startswith(_ANNOTATIONS) or _RESOLUTION.fullmatch(folders[-2]))


def _is_picture(name: str) -> bool:
    folders = name.split("/")[:-1]
    is_annotation = any(folder.startswith(_ANNOTATIONS) for folder in folders)
    return suffix_of(name) in _PICTURES and not is_annotation


def _clip(video: str, pictures: str, stems: list[str], names: list[str], masks: Found) -> _Clip:
    """The PNGs of a video by frame; those of frames that there are not are left out."""
    places = {stem: place for place, stem in enumerate(stems)}
    annotated: dict[int, dict[str, str]] = {}
    for name in names:
        _, one, file = name.rsplit("/", 2)
        place = places.get(file.rpartition(".")[0])
        if place is not None:
            annotated.setdefault(place, {})[one] = masks.uri_of(name)
    objects = sorted({one for of_frame in annotated.values() for one in of_frame})
    return _Clip(video, pictures, tuple(objects), dict(sorted(annotated.items())))
