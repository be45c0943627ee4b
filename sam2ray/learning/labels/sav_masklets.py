"""SA-V's layout -> videos with masklets: sav_1.mp4 beside sav_1_manual.json.

One frame in four is annotated; those are the frames of a clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...readers.places import absolute
from ...readers.prompts.rle import rle_of
from ...readers.prompts.sav import AUTO, MANUAL, annotated_stride
from ...records import Unit
from ...storage import Options
from .clip_sources import open_clip, read_frames
from .folders import Found, files_below
from .labelled import BadLabels, LabelledVideo, WholeClip, neighbours
from .mask_stack import MasksByFrame, RunLengthMasks
from .one_sided import OfClips
from .reading import good_objects, masks_of_all, read_json, refuse


@dataclass(frozen=True, slots=True)
class SavLabels(OfClips):
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
    def clips(self) -> int:
        """Videos with masklets."""
        return len(self.found.names)

    def clip_names(self) -> Sequence[str]:
        """Their JSON files."""
        return self.found.names

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring annotated frames."""
        uri = self.found.uri_of(self.found.names[number])
        masklets, stride = self._masklets(uri)
        chosen = neighbours(len(masklets), frames, start)
        _require_one_number([masklets[n] for n in chosen], uri)
        video = Unit(self._video_of(uri), "video")
        pictures = read_frames(video, [n * stride for n in chosen], self.options)
        size = (pictures[0].shape[0], pictures[0].shape[1])
        written = {
            f"{uri}: frame {n * stride}": [one or None for one in masklets[n]] for n in chosen
        }
        good = good_objects(written, rle_of, size, range(len(masklets[chosen[0]])))
        return LabelledVideo(pictures, good.masks, good.left_out)

    @contextmanager
    def whole_clip(self, number: int) -> Iterator[WholeClip]:
        """The whole video, whose annotated frames are judged."""
        uri = self.found.uri_of(self.found.names[number])
        masklets, stride = self._masklets(uri)
        _require_one_number(masklets, uri)
        with open_clip(Unit(self._video_of(uri), "video"), self.options) as video:
            size = video.size_hw()

            def masks_on(frame: int) -> RunLengthMasks:
                return _masks_of(masklets[frame // stride], size, f"{uri}: frame {frame}")

            annotated = MasksByFrame(range(0, len(masklets) * stride, stride), masks_on)
            yield WholeClip(uri, video, annotated, begins_with_objects=True)

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


def _masks_of(masklets: Sequence[Any], size_hw: tuple[int, int], name: str) -> RunLengthMasks:
    """Masks of one frame; None and empty ones are objects that are not seen."""
    try:
        rles = [rle_of(one) if one else None for one in masklets]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        refuse(name, error)
    return masks_of_all(rles, size_hw, name)


def _require_one_number(masklets: Sequence[Any], uri: str) -> None:
    for place, of_frame in enumerate(masklets):
        if not isinstance(of_frame, Sequence) or isinstance(of_frame, str):
            raise BadLabels(f"{uri}: masklet {place} is no list of masks but {of_frame!r:.80}")
    if len({len(one) for one in masklets}) != 1:
        raise BadLabels(f"{uri}: its frames have different numbers of masklets")
