"""Whether two tables of masks say the same of the same pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as pads
from pycocotools import mask as coco

Rle = Any  # COCO's {"size": [height, width], "counts": text}, which has no type to be imported
Found = Mapping[str, Sequence[Rle]]  # masks by the name of their picture


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two sides are."""

    equal: bool  # to the bit
    iou: float  # mean of the best that each mask finds on the other side, both ways
    ours: int
    theirs: int

    def __str__(self) -> str:
        counts = f"{self.ours} and {self.theirs} masks"
        return f"{counts}, all equal" if self.equal else f"{counts}, mean best IoU {self.iou:.4f}"


def read_masks(folder: Path) -> Found:
    """Masks of a folder of Parquet files."""
    columns = ["source_uri", "height", "width", "rle_counts"]
    found: defaultdict[str, list[Rle]] = defaultdict(list)
    for row in pads.dataset(folder.resolve(), format="parquet").to_table(columns).to_pylist():
        name = row["source_uri"].rpartition("/")[2]
        found[name].append({"size": [row["height"], row["width"]], "counts": row["rle_counts"]})
    return found


def agreement(ours: Found, theirs: Found) -> Agreement:
    """Compare two sides."""
    equal = _as_sets(ours) == _as_sets(theirs)
    best: list[float] = []
    for name in () if equal else {*ours, *theirs}:
        best += _best_overlaps(ours.get(name, []), theirs.get(name, []))
    return Agreement(
        equal,
        float(np.mean(best)) if best else 1.0,
        sum(map(len, ours.values())),
        sum(map(len, theirs.values())),
    )


def _as_sets(found: Found) -> dict[str, list[str]]:
    return {name: sorted(rle["counts"] for rle in masks) for name, masks in found.items()}


def _best_overlaps(ours: Sequence[Rle], theirs: Sequence[Rle]) -> list[float]:
    """For each mask of either side the IoU with the most similar one of the other."""
    if not ours or not theirs:
        return [0.0] * (len(ours) + len(theirs))
    overlaps = np.asarray(coco.iou(list(ours), list(theirs), [0] * len(theirs)))
    return [*overlaps.max(axis=1).tolist(), *overlaps.max(axis=0).tolist()]
