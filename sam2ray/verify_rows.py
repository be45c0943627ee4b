"""Rows of masks or embeddings, beside the outcomes of their units -> what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ops import from_coco_strings, run_areas

from .sinks.result_files import MASKS

SHARED = ("source_uri", "height", "width")  # what a unit's outcome and its rows both say
_MOST_PIXELS = 1 << 34  # of a side times a side: what run lengths can hold
_DECODED_AT_ONCE = 1 << 20  # characters of run lengths
_SLACK_PX = 0.01  # of boxes: they are float32


def faults_of_rows(rows: pa.Table, outcomes: pa.Table, folder: str) -> Iterator[str]:
    """What is wrong with rows; `outcomes` has for each row the outcome of its unit."""
    yield from _of_other_sources(rows, outcomes)
    yield from _of_other_sizes(rows, outcomes)
    yield from (_faults_of_masks(rows) if folder == MASKS else _faults_of_embeddings(rows))


def _of_other_sources(rows: pa.Table, outcomes: pa.Table) -> Iterator[str]:
    same = _call("equal", rows["source_uri"], outcomes["source_uri"]).fill_null(False)
    yield from _said(rows, ~_array(same), "another source_uri than the unit")


def _of_other_sizes(rows: pa.Table, outcomes: pa.Table) -> Iterator[str]:
    """A unit's size may be unknown, but two sizes of one unit may not differ."""
    differs = np.zeros(len(rows), bool)
    for side in ("height", "width"):
        differs |= _array(_call("not_equal", rows[side], outcomes[side]).fill_null(False))
    yield from _said(rows, differs, "another size than the unit")


def _faults_of_masks(rows: pa.Table) -> Iterator[str]:
    heights, widths = _numbers(rows["height"]), _numbers(rows["width"])
    fine = (heights > 0) & (widths > 0) & (heights * widths <= _MOST_PIXELS)
    yield from _said(rows, ~fine, "an impossible size")
    yield from _said(rows, ~_boxes_inside(rows, heights, widths), "a box outside the picture")
    areas = np.full(len(rows), -1, np.int64)
    strings = rows["rle_counts"].fill_null("")
    sizes = heights << 32 | widths
    lengths = _call("binary_length", strings).to_numpy()
    for size in np.unique(sizes[fine]):
        for places in _pieces(np.flatnonzero((sizes == size) & fine), lengths):
            texts = strings.take(pa.array(places)).to_pylist()
            areas[places] = _areas(texts, int(size >> 32), int(size & 0xFFFFFFFF))
    broken = (areas < 0) & fine
    yield from _said(rows, broken, "run lengths that cannot be decoded")
    said = rows["area"].fill_null(-1).to_numpy()
    yield from _said(
        rows, fine & ~broken & (areas != said), "another area than the run lengths say"
    )


def _pieces(places: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """Places in groups of bounded text: decoded, it takes a hundred times as much memory."""
    number = np.cumsum(lengths[places]) // _DECODED_AT_ONCE
    return np.split(places, np.flatnonzero(np.diff(number)) + 1)


def _areas(texts: Sequence[str], height: int, width: int) -> np.ndarray:
    """Areas of masks; -1 for what is no mask of this size. Halves tell who is to blame."""
    try:
        return run_areas(from_coco_strings(texts, height, width)).numpy()
    except ValueError:
        if len(texts) == 1:
            return np.array([-1])
    half = len(texts) // 2
    return np.concatenate(
        [_areas(texts[:half], height, width), _areas(texts[half:], height, width)]
    )


def _boxes_inside(rows: pa.Table, heights: np.ndarray, widths: np.ndarray) -> np.ndarray:
    lengths = _call("list_value_length", rows["bbox_xywh"]).fill_null(0).to_numpy()
    four = lengths == 4
    boxes = rows["bbox_xywh"].filter(pa.array(four)).combine_chunks().flatten()
    x, y, w, h = boxes.fill_null(np.nan).to_numpy(zero_copy_only=False).reshape(-1, 4).T
    inside = four.copy()
    inside[four] = (
        (np.minimum(x, y) >= -_SLACK_PX)
        & (np.minimum(w, h) >= 0)
        & (x + w <= widths[four] + _SLACK_PX)
        & (y + h <= heights[four] + _SLACK_PX)
    )
    return inside


def _faults_of_embeddings(rows: pa.Table) -> Iterator[str]:
    values = _call("list_value_length", rows["embedding"]).fill_null(-1).to_numpy()
    shapes = rows["shape"].to_pylist()
    wanted = np.array([_product(shape) for shape in shapes], np.int64)
    yield from _said(rows, values != wanted, "another number of values than the shape says")


def _product(shape: Sequence[int] | None) -> int:
    return -2 if not shape or None in shape else int(np.prod(shape, dtype=np.int64))


def _said(rows: pa.Table, wrong: np.ndarray, words: str) -> Iterator[str]:
    """One complaint a unit."""
    ids = rows["unit_id"].filter(pa.array(wrong))
    for entry in ids.value_counts().to_pylist():
        many = "1 row has" if entry["counts"] == 1 else f"{entry['counts']:,} rows have"
        yield f"unit {entry['values']}: {many} {words}"


def _call(function: str, *columns: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.call_function(function, list(columns))


def _array(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy()


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    return column.fill_null(0).to_numpy().astype(np.int64)
