"""Masks in every form that COCO files have them -> compressed run lengths: {size, counts}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..cells import from_json_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rle = dict[str, Any]  # {"size": [height, width], "counts": text}

_LONGEST_SIDE = 1 << 16
_MOST_PIXELS = 1 << 30
_LONGEST_OUTLINE_PX = 4_000_000  # pycocotools takes 40 bytes for each


def rle_of(value: object) -> Rle:
    """A COCO RLE, compressed or not, as a dict or as JSON; ValueError if it is none."""
    value = from_json_text(value)
    if not isinstance(value, Mapping) or not {"size", "counts"} <= set(value):
        raise ValueError(
            f"a mask is a COCO RLE, {{size: [height, width], counts}}, not {value!r:.80}"
        )
    height, width = size_of(value["size"])
    counts = value["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts}
    if not isinstance(counts, Sequence):
        raise ValueError(f"the counts of an RLE are a string or a list, not {counts!r:.80}")
    return {"size": [height, width], "counts": _compress(counts, height, width)}


def size_of(value: object) -> tuple[int, int]:
    """Height and width that a picture may have."""
    if isinstance(value, Sequence):
        sides = [int(side) for side in value if isinstance(side, int | float) and side == side // 1]
        fits = all(0 < side <= _LONGEST_SIDE for side in sides)
        if len(value) == len(sides) == 2 and fits and sides[0] * sides[1] <= _MOST_PIXELS:
            return sides[0], sides[1]
    raise ValueError(f"{value!r:.80} is no size (height, width) of a picture")


def rle_of_bitmap(mask_HW: NDArray[np.bool_]) -> Rle:
    """The run lengths of a mask of pixels."""
    import torch  # listing needs it for masks alone, and it takes seconds to load

    from ops import encode_run_lengths, to_coco_strings

    runs = encode_run_lengths(torch.from_numpy(np.ascontiguousarray(mask_HW))[None])
    return {"size": list(mask_HW.shape), "counts": to_coco_strings(runs)[0]}


def rle_of_polygons(polygons: object, size_hw: tuple[int, int]) -> Rle:
    """What the outlines of an annotation enclose, drawn as COCO's tools draw it."""
    from pycocotools import mask as coco

    height, width = size_hw
    if not isinstance(polygons, Sequence) or isinstance(polygons, str) or not polygons:
        raise ValueError(f"a segmentation is a list of polygons, not {polygons!r:.80}")
    outlines = [_outline(polygon, size_hw) for polygon in polygons]
    drawn: Any = coco.frPyObjects(cast("Any", outlines), height, width)  # its stub knows less
    joined: Any = coco.merge(drawn)
    return {"size": [height, width], "counts": joined["counts"].decode("ascii")}


def _outline(polygon: object, size_hw: tuple[int, int]) -> list[float]:
    """A polygon that cannot make the drawing run away: it takes memory by the outline's length."""
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{polygon!r:.80} is no polygon [x, y, x, y, ...]") from error
    if points.ndim != 1 or len(points) < 6 or len(points) % 2:
        raise ValueError(f"{polygon!r:.80} is no polygon [x, y, x, y, ...] of three points or more")
    corners = points.reshape(-1, 2)
    most = np.array([size_hw[1], size_hw[0]])
    if not np.isfinite(points).all() or (corners < -most).any() or (corners > 2 * most).any():
        raise ValueError(f"a polygon lies far outside its picture of {most[0]} x {most[1]} pixels")
    if np.abs(np.diff(corners, axis=0)).max(axis=1).sum() > _LONGEST_OUTLINE_PX:
        raise ValueError("a polygon has an outline of millions of pixels")
    return points.tolist()


def _compress(counts: Sequence[object], height: int, width: int) -> str:
    import torch

    from ops import RunLengths, to_coco_strings

    runs = [run for run in counts if isinstance(run, int) and 0 <= run <= height * width]
    if len(runs) != len(counts) or sum(runs) != height * width:
        raise ValueError(f"the counts of an RLE do not sum to its {height} x {width} pixels")
    offsets = torch.tensor([0, len(runs)])
    return to_coco_strings(RunLengths(height, width, torch.tensor(runs), offsets))[0]
