"""An output of sam2ray -> its pictures and clips with their masks: label, correct, learn, again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow.compute as pc

from ... import dataset
from ...errors import Sam2RayError, UsageError
from ...manifest import read_manifest
from ...records import Unit
from ...storage import Options
from ...unit_rows import unit_of
from .labelled import (
    BadLabels,
    LabelledImage,
    LabelledVideo,
    Masks,
    WholeClip,
    neighbours,
    require_masks,
)
from .reading import read_pixels, refuse
from .video_pixels import read_frames, video_path


@dataclass(frozen=True, slots=True, eq=False)
class OwnLabels:
    """Units that ended well and have masks."""

    data: dataset.Dataset
    images: tuple[Unit, ...] = field(repr=False)
    videos: tuple[Unit, ...] = field(repr=False)
    min_score: float
    options: Options

    @classmethod
    def opened(cls, uri: str, min_score: float, options: Options) -> OwnLabels:
        """Match what is done with the manifest, which knows where pictures lie."""
        data = dataset.open(uri, options)
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
        videos = tuple(unit for unit in units.values() if unit.kind == "video")
        return cls(data, images, videos, min_score, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.data.store.uri

    @property
    def pictures(self) -> int:
        """Pictures with masks."""
        return len(self.images)

    @property
    def clips(self) -> int:
        """Videos whose objects were tracked."""
        return len(self.videos)

    def picture(self, number: int) -> LabelledImage:
        """One picture with the masks that are good enough."""
        unit = self.images[number]
        pixels = read_pixels(unit, self.options)
        result = self._result(unit)
        try:
            masks, scores = result.masks(), result.scores()
        except ValueError as error:  # run lengths that somebody corrected badly
            refuse(unit.source_uri, error)
        good = masks[np.nan_to_num(scores, nan=1.0) >= self.min_score]
        size = (pixels.shape[0], pixels.shape[1])
        return LabelledImage(pixels, require_masks(good, size, unit.source_uri))

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """Neighbouring frames with rows, and all objects that any of them shows."""
        unit = self.videos[number]
        result = self._result(unit)
        chosen = [result.frames[n] for n in neighbours(len(result.frames), frames, start)]
        masks = self._masks(unit, result, chosen)
        pixels = read_frames(unit, chosen, self.options)
        size = (pixels[0].shape[0], pixels[0].shape[1])
        return LabelledVideo(pixels, require_masks(masks, size, unit.source_uri))

    @contextmanager
    def whole_clip(self, number: int) -> Iterator[WholeClip]:
        """The whole video, whose frames with rows are judged."""
        unit = self.videos[number]
        result = self._result(unit)
        masks = self._masks(unit, result, result.frames)
        with video_path(unit, self.options) as path:
            annotated = dict(zip(result.frames, masks, strict=True))
            yield WholeClip(unit.source_uri, path, annotated)

    def _result(self, unit: Unit) -> dataset.UnitResult:
        try:
            return self.data.unit(unit.unit_id)
        except (OSError, Sam2RayError, ValueError) as error:
            refuse(unit.source_uri, error)

    def _masks(self, unit: Unit, result: dataset.UnitResult, frames: Sequence[int]) -> Masks:
        """Masks of all objects that these frames show: bool [T, N, H, W]."""
        try:
            found = {
                f: dict(zip(result.object_ids(f), result.masks(f), strict=True)) for f in frames
            }
        except ValueError as error:
            refuse(unit.source_uri, error)
        objects = sorted({one for masks in found.values() for one in masks if one is not None})
        if not objects:
            raise BadLabels(f"{unit.source_uri}: its masks belong to no objects")
        nothing = np.zeros((result.outcome["height"], result.outcome["width"]), bool)
        return np.array([[found[f].get(one, nothing) for one in objects] for f in frames])
