"""Masks -> PNGs whose pixels are ids: of objects of clips as DAVIS has them, or of classes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ops import decode_run_lengths, from_coco_strings

from ..dataset import Dataset
from ..storage import Options, Store
from .exported import CannotBeShown, Exported, Watch
from .frame_names import frame_names, patterns_of
from .names import stem_of

_GROUND, _VOID = 0, 255
_MASKS_AT_ONCE = 16

Row = Mapping[str, Any]
Ids = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(slots=True, eq=False)
class _Folder:
    """Where PNGs are written, each name once."""

    store: Store
    written: int = 0

    def add(self, name: str, ids: Ids) -> None:
        """Write one; who has the name already keeps it."""
        image = Image.fromarray(ids)
        image.putpalette(_palette())  # which makes indices of what was grey
        file = io.BytesIO()
        image.save(file, "PNG", optimize=False)
        if not self.store.create(name, file.getvalue()):
            raise CannotBeShown("another unit is called so but for the suffix")
        self.written += 1

    def take_back(self, names: Sequence[str]) -> None:
        """Remove what belongs to a unit that cannot be shown to its end."""
        for name in names:
            self.store.delete(name)
        self.written -= len(names)


def write_objects(
    data: Dataset,
    roots: Sequence[str],
    store: Store,
    watch: Watch,
    options: Options,
    *,
    all_frames: bool,
) -> Exported:
    """CLIP/00000.png for each frame on which somebody is seen; with `all_frames` for all others.

    Where objects overlap, a pixel shows the smallest. Frames of folders are called as they are.
    """
    patterns = patterns_of(data.store)

    def frames_of(outcome: Row, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, Ids]]:
        if outcome["kind"] == "image":
            raise CannotBeShown("pictures, which DAVIS has no place for")
        stem, size = stem_of(outcome, roots), (outcome["height"], outcome["width"])
        name_of_frame = frame_names(outcome, patterns, options)
        seen = set()
        for frame, rows in _by_frame(batches):
            seen.add(frame)
            ids = _painted(rows, size, _GROUND, _object_id)
            yield f"{stem}/{name_of_frame(frame)}.png", ids
        if all_frames:
            empty = np.full(size, _GROUND, np.uint8)
            for frame in sorted(set(range(outcome["frames"] or 0)) - seen):
                yield f"{stem}/{name_of_frame(frame)}.png", empty

    return _write(data, store, watch, frames_of)


def _object_id(row: Row) -> int:
    number = row["object_id"]
    if number is None or not _GROUND < number < _VOID:
        raise CannotBeShown(f"objects called {number}: ids of DAVIS are 1 to 254")
    return number


def write_classes(
    data: Dataset,
    roots: Sequence[str],
    store: Store,
    watch: Watch,
    options: Options,
    *,
    names: Sequence[str],
    ground: str | None,
) -> Exported:
    """PICTURE.png, and CLIP/00000.png for frames; ids count `names` from 0, 255 is unknown.

    What no mask covers is ground, if one of the names is said to mean that.
    """
    numbers = {name: number for number, name in enumerate(names)}
    patterns = patterns_of(data.store)
    elsewhere = _VOID if ground is None else numbers[ground]

    def class_id(row: Row) -> int:
        return numbers[row["label"]]

    def maps_of(outcome: Row, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[str, Ids]]:
        stem, size = stem_of(outcome, roots), (outcome["height"], outcome["width"])
        frames = _by_frame(batches)
        if outcome["kind"] == "image":
            _, rows = next(frames, (None, []))
            yield f"{stem}.png", _painted(rows, size, elsewhere, class_id)
            return
        name_of_frame = frame_names(outcome, patterns, options)
        for frame, rows in frames:
            yield f"{stem}/{name_of_frame(frame)}.png", _painted(rows, size, elsewhere, class_id)

    return _write(data, store, watch, maps_of)


def _write(
    data: Dataset,
    store: Store,
    watch: Watch,
    drawn: Callable[[Row, Iterator[pa.RecordBatch]], Iterator[tuple[str, Ids]]],
) -> Exported:
    folder, masks, skipped = _Folder(store), 0, Counter[str]()

    def reason_to_skip(outcome: Row, batches: Iterator[pa.RecordBatch]) -> str | None:
        names: list[str] = []
        try:
            for name, ids in drawn(outcome, batches):
                folder.add(name, ids)
                names.append(name)
        except CannotBeShown as error:
            folder.take_back(names)
            return str(error)
        return None

    for outcome, batches in data.by_unit(watch):
        reason = reason_to_skip(outcome, batches)
        if reason is None:
            masks += outcome["masks"] or 0
        else:
            skipped[reason] += 1
    return Exported(folder.written, masks, skipped)


def _by_frame(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, list[Row]]]:
    """Rows of one frame together, as they follow one another."""
    rows = (row for batch in batches for row in batch.to_pylist())
    for frame, same in groupby(rows, key=lambda row: row["frame_index"] or 0):
        yield frame, list(same)


def _painted(
    rows: Sequence[Row], size_hw: tuple[int, int], ground: int, id_of: Callable[[Row], int]
) -> Ids:
    """Paint masks over one another, the largest first."""
    ids = np.full(size_hw, ground, np.uint8)
    rows = sorted(rows, key=lambda row: -row["area"])
    for start in range(0, len(rows), _MASKS_AT_ONCE):
        some = rows[start : start + _MASKS_AT_ONCE]
        runs = from_coco_strings([row["rle_counts"] for row in some], *size_hw)
        for row, mask in zip(some, decode_run_lengths(runs).numpy(), strict=True):
            ids[mask] = id_of(row)
    return ids


@cache
def _palette() -> bytes:
    """Colours that tell neighbouring ids apart, as VOC and DAVIS have them."""
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            is_set = (np.arange(256) >> (3 * bit + channel)) & 1
            colours[:, channel] |= (is_set << (7 - bit)).astype(np.uint8)
    return colours.tobytes()
