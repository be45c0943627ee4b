"""An output of sam2ray -> its pictures and clips with their masks: label, correct, learn, again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow.compute as pc

from ... import dataset
from ...config import JobConfig
from ...errors import Sam2RayError, UsageError
from ...kept_config import kept_config
from ...manifest import read_manifest
from ...records import Unit
from ...storage import Options
from ...unit_rows import unit_of
from .clip_sources import open_clip, read_frames
from .labelled import LabelledImage, LabelledVideo, WholeClip, neighbours
from .mask_stack import MasksByFrame
from .reading import read_pixels, refuse
from .stills import STILLS, share_of
from .unit_stacks import ClipRows, picture_masks


@dataclass(frozen=True, slots=True, eq=False)
class OwnLabels:
    """Units that ended well and have masks."""

    data: dataset.Dataset
    config: JobConfig = field(repr=False)  # of the run
    images: tuple[Unit, ...] = field(repr=False)
    videos: tuple[Unit, ...] = field(repr=False)  # and folders of frames
    min_score: float
    options: Options

    @classmethod
    def opened(cls, uri: str, min_score: float, options: Options) -> OwnLabels:
        """Match what is done with the manifest, which knows where pictures lie."""
        data = dataset.open(uri, options)
        config = kept_config(data.store).config
        if config.mode == "embed":
            raise UsageError(f"labels: {uri} has embeddings and no masks: name another output.")
        if config.mode == "semantic":
            raise UsageError(
                f"labels: {uri} has masks of classes, and not of objects: a head learns from the "
                "maps that `sam2ray export` makes of them (kind: classes)."
            )
        done = data.units(["unit_id"], (pc.field("status") == "ok") & (pc.field("masks") > 0))
        is_done = pc.field("unit_id").isin(done.read_all()["unit_id"])
        units = {
            row["unit_id"]: unit_of(row)
            for table in read_manifest(data.store)
            for row in table.filter(is_done).to_pylist()
        }
        if not units:
            raise UsageError(f"labels: {uri} holds no picture or video with masks.")
        images = tuple(unit for unit in units.values() if unit.kind == "image")
        videos = tuple(unit for unit in units.values() if unit.kind != "image")
        return cls(data, config, images, videos, min_score, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.data.store.uri

    @property
    def pictures(self) -> int:
        """Pictures with masks, and frames of videos whose masks are of no objects."""
        return len(self.images) + (0 if self._has_objects else len(self.videos) * STILLS)

    @property
    def clips(self) -> int:
        """Videos and folders of frames whose objects were tracked."""
        return len(self.videos) if self._has_objects else 0

    def picture_names(self) -> Sequence[str]:
        """Their addresses, with members of archives; of frames those of their video."""
        stills = () if self._has_objects else self.videos * STILLS
        return [_name_of(unit) for unit in (*self.images, *stills)]

    def clip_names(self) -> Sequence[str]:
        """Their addresses."""
        return [_name_of(unit) for unit in self.videos] if self._has_objects else ()

    @property
    def _has_objects(self) -> bool:
        """Masks of a frame are of the same things as those of another; all masks are not."""
        return self.config.mode != "auto"

    def picture(self, number: int) -> LabelledImage:
        """One picture with the masks that are good enough."""
        if number >= len(self.images):
            place, video = divmod(number - len(self.images), len(self.videos))
            return self._still(self.videos[video], share_of(place))
        unit = self.images[number]
        pixels = read_pixels(unit, self.options)
        size = (pixels.shape[0], pixels.shape[1])
        rows = self._result(unit).rows
        good = picture_masks(unit.source_uri, rows, self.min_score, size)
        return LabelledImage(pixels, good.masks, good.left_out)

    def _still(self, unit: Unit, share: float) -> LabelledImage:
        """One of the frames that a run has looked at and found something on."""
        rows = ClipRows.by_frame(unit.source_uri, self._result(unit).rows)
        (place,) = neighbours(len(rows.frames), 1, share)
        frame = rows.frames[place]
        (pixels,) = read_frames(unit, [frame], self.options)
        size, name = (pixels.shape[0], pixels.shape[1]), f"{unit.source_uri}: frame {frame}"
        good = picture_masks(name, rows.of(frame), self.min_score, size)
        return LabelledImage(pixels, good.masks, good.left_out)

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring frames, and the objects that any of them shows, if all its masks are good.

        The first of them shows somebody: who is not there cannot be pointed at.
        """
        unit = self.videos[number]
        result = self._result(unit)
        rows = ClipRows.by_frame(unit.source_uri, result.rows)
        numbers = self._looked_at(unit, rows, result)
        drawn = neighbours(len(numbers), frames, start)
        first = _last_before(numbers[drawn[0]], rows.frames)
        chosen = [*numbers[numbers.index(first) :][: len(drawn)]]
        objects = rows.objects(chosen, self.min_score)
        pixels = read_frames(unit, chosen, self.options)
        size = (pixels[0].shape[0], pixels[0].shape[1])
        good = rows.good(chosen, objects, size)
        return LabelledVideo(pixels, good.masks, good.left_out)

    @contextmanager
    def whole_clip(self, number: int) -> Iterator[WholeClip]:
        """The whole clip, whose frames that a run has looked at are judged."""
        unit = self.videos[number]
        result = self._result(unit)
        rows = ClipRows.by_frame(unit.source_uri, result.rows)
        numbers, objects = self._looked_at(unit, rows, result), rows.objects(rows.frames)
        with open_clip(unit, self.options) as source:
            size = source.size_hw()
            annotated = MasksByFrame(numbers, lambda frame: rows.stack(frame, objects, size))
            yield WholeClip(unit.source_uri, source, annotated)

    def _looked_at(self, unit: Unit, rows: ClipRows, result: dataset.UnitResult) -> Sequence[int]:
        """The frames of which it is known who is there: all from the first that shows somebody.

        Where a run passed frames over, those with rows alone.
        """
        video, seen = self.config.decode.video, rows.frames
        is_bounded = unit.first_frame is not None or unit.end_frame is not None
        is_cut = is_bounded or video.max_frames is not None or video.max_duration_s is not None
        if (
            self.config.mode == "prompt"  # frames with prompts
            or (video.every_nth, video.fps) != (1, None)
            or (is_cut and unit.prompts is not None)  # those beyond, too, and none in between
        ):
            return seen
        end = (unit.first_frame or 0) + (result.outcome["frames"] or 0)
        return range(seen[0], max(end, seen[-1] + 1))

    def _result(self, unit: Unit) -> dataset.UnitResult:
        try:
            return self.data.unit(unit.unit_id)
        except (OSError, Sam2RayError, ValueError) as error:
            refuse(unit.source_uri, error)


def _name_of(unit: Unit) -> str:
    return f"{unit.source_uri}\n{unit.member or ''}"


def _last_before(frame: int, seen: Sequence[int]) -> int:
    """The last of these frames that is not behind one."""
    return seen[bisect_right(seen, frame) - 1]
