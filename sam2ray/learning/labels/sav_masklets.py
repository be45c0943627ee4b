"""SA-V's layout -> videos with masklets: sav_1.mp4 beside sav_1_manual.json.

One frame in four is annotated; those are the frames of a clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...readers.places import absolute
from ...readers.prompts.rle import rle_of
from ...readers.prompts.sav import AUTO, MANUAL, annotated_stride
from ...records import Unit
from ...storage import Options
from .folders import Found, files_below
from .labelled import BadLabels, LabelledImage, LabelledVideo, Masks, WholeClip, neighbours
from .reading import decoded, read_json, refuse
from .video_pixels import frames_at, read_frames, video_path


@dataclass(frozen=True, slots=True)
class SavLabels:
    """A folder of videos with a JSON each; those made by hand go before those made by a model."""

    found: Found
    folder: str | None  # of the videos; None: beside their JSON
    options: Options

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> SavLabels:
        """List the folder."""
        found = files_below(
            uri, options, lambda name: name.endswith((MANUAL, AUTO)), f"*{MANUAL} files"
        )
        by_hand = {n.removesuffix(MANUAL) for n in found.names if n.endswith(MANUAL)}
        names = [
            name
            for name in found.names
            if name.endswith(MANUAL) or name.removesuffix(AUTO) not in by_hand
        ]
        folder = absolute(pictures) if pictures else None
        return cls(Found(found.root, tuple(names)), folder, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.found.root

    @property
    def pictures(self) -> int:
        """One of each video's frames."""
        return len(self.found.names)

    @property
    def clips(self) -> int:
        """Videos with masklets."""
        return len(self.found.names)

    def picture(self, number: int) -> LabelledImage:
        """The frame in the middle of a video."""
        clip = self.clip(number, 1, 0.5)
        return LabelledImage(clip.frames[0], clip.masks[0])

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring annotated frames."""
        uri = self.found.uri_of(self.found.names[number])
        masklets, stride = self._masklets(uri)
        chosen = neighbours(len(masklets), frames, start)
        video = Unit(self._video_of(uri), "video")
        pictures = read_frames(video, [n * stride for n in chosen], self.options)
        size = (pictures[0].shape[0], pictures[0].shape[1])
        masks = [_masks_of(masklets[n], size, f"{uri}: frame {n * stride}") for n in chosen]
        return LabelledVideo(pictures, np.stack(_of_one_number(masks, uri)))

    @contextmanager
    def whole_clip(self, number: int) -> Iterator[WholeClip]:
        """The whole video, whose annotated frames are judged."""
        uri = self.found.uri_of(self.found.names[number])
        masklets, stride = self._masklets(uri)
        video = Unit(self._video_of(uri), "video")
        with video_path(video, self.options) as path:
            (first,) = frames_at(path, [0], video)
            size = (first.shape[0], first.shape[1])
            masks = [_masks_of(one, size, f"{uri}: frame {n}") for n, one in enumerate(masklets)]
            masks = _of_one_number(masks, uri)
            annotated = {n * stride: one for n, one in enumerate(masks)}
            yield WholeClip(uri, path, annotated, begins_with_objects=True)

    def _masklets(self, uri: str) -> tuple[Sequence[Any], int]:
        """One list of masks an annotated frame, and how many frames lie between two of them."""
        content = read_json(uri, self.options)
        masklets, count = content.get("masklet"), content.get("video_frame_count")
        if not isinstance(masklets, Sequence) or isinstance(masklets, str) or not masklets:
            raise BadLabels(f"{uri}: is no file of SA-V's masklets (masklet, masklet_id)")
        try:
            return masklets, annotated_stride(len(masklets), count)
        except ValueError as error:
            refuse(uri, error)

    def _video_of(self, uri: str) -> str:
        base = uri.rpartition("/")[2]
        folder = self.folder or uri.rpartition("/")[0]
        return f"{folder}/{base.removesuffix(MANUAL).removesuffix(AUTO)}.mp4"


def _masks_of(masklets: Any, size_hw: tuple[int, int], name: str) -> np.ndarray:  # noqa: ANN401
    """Masks of one frame; None and empty ones are objects that are not seen."""
    found = np.zeros((len(masklets), *size_hw), bool)
    seen = [place for place, one in enumerate(masklets) if one]
    try:
        rles = [rle_of(masklets[place]) for place in seen]
    except (ValueError, TypeError) as error:
        refuse(name, error)
    found[seen] = decoded(rles, size_hw, name)
    return found


def _of_one_number(masks: Sequence[Masks], uri: str) -> Sequence[Masks]:
    if len({len(one) for one in masks}) != 1:
        raise BadLabels(f"{uri}: its frames have different numbers of masklets")
    return masks
