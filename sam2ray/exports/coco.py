"""Masks of pictures -> one COCO file of instances, whatever its size.

Labels of prompts are its categories; a mask without one is an `object`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from ..dataset import Dataset
from .exported import Exported, Watch, labels_in
from .names import name_of, whole_name_of

_UNNAMED = "object"
_KEPT_SCORES = ("stability_score", "object_score", "prompt_id")


def write_coco(
    data: Dataset, roots: Sequence[str], min_score: float, place: Path, watch: Watch
) -> Exported:
    """Write the file; pictures without a mask are in it, too."""
    labels = sorted(label or _UNNAMED for label in labels_in(data))
    categories = {name: number for number, name in enumerate(dict.fromkeys(labels), 1)}
    names = _Names(roots)
    pictures = masks = clips = 0
    with ExitStack() as stack:
        parts = [stack.enter_context(_scratch(place)) for _ in range(2)]
        images, annotations = (_List(file) for file in parts)
        for outcome, batches in data.by_unit(watch):
            if outcome["kind"] != "image":
                clips += 1
                continue
            pictures += 1
            images.add(_image(pictures, outcome, names.of(outcome)))
            for row in _rows(batches, min_score):
                masks += 1
                annotations.add(_annotation(masks, pictures, categories, row))
        with place.open("x", encoding="utf-8") as file:
            file.write('{"info": {"description": "Masks found by sam2ray."}, "images": [')
            images.pour_into(file)
            file.write('\n], "annotations": [')
            annotations.pour_into(file)
            named = [{"id": number, "name": name} for name, number in categories.items()]
            file.write(f'\n], "categories": {json.dumps(named)}}}\n')
    return Exported(pictures, masks, {"clips, which COCO has no place for": clips} if clips else {})


def _scratch(place: Path) -> Any:  # noqa: ANN401 a file that is gone when it is closed
    return tempfile.TemporaryFile("w+", encoding="utf-8", dir=place.parent)


class _Names:
    """What pictures are called, each otherwise: files are matched with annotations by it."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._given: set[bytes] = set()  # digests: there may be millions of names

    def of(self, outcome: Mapping[str, Any]) -> str:
        """Its name below its root, or its whole address where another is called so."""
        name = name_of(outcome, self._roots)
        if not self._is_new(name):
            name = whole_name_of(outcome)
            self._is_new(name)
        return name

    def _is_new(self, name: str) -> bool:
        before = len(self._given)
        self._given.add(blake2b(name.encode(), digest_size=8).digest())
        return len(self._given) > before


class _List:
    """Items of a JSON array that do not fit into memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._is_empty = True

    def add(self, item: Mapping[str, Any]) -> None:
        """One more, on a line of its own."""
        self._file.write(f"{'' if self._is_empty else ','}\n{json.dumps(item)}")
        self._is_empty = False

    def pour_into(self, file: IO[str]) -> None:
        """Copy all of them."""
        self._file.seek(0)
        shutil.copyfileobj(self._file, file)


def _rows(batches: Iterator[pa.RecordBatch], min_score: float) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield from (row for row in batch.to_pylist() if _is_good(row, min_score))


def _is_good(row: Mapping[str, Any], min_score: float) -> bool:
    return row["predicted_iou"] is None or row["predicted_iou"] >= min_score


def _image(number: int, outcome: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": name,
        "width": outcome["width"],
        "height": outcome["height"],
        "unit_id": outcome["unit_id"],
    }


def _annotation(
    number: int, image: int, categories: Mapping[str, int], row: Mapping[str, Any]
) -> dict[str, Any]:
    x, y, width, height = row["bbox_xywh"]
    kept = {name: row[name] for name in _KEPT_SCORES if row[name] is not None}
    if row["predicted_iou"] is not None:
        kept["score"] = row["predicted_iou"]
    return {
        "id": number,
        "image_id": image,
        "category_id": categories[row["label"] or _UNNAMED],
        "segmentation": {"size": [row["height"], row["width"]], "counts": row["rle_counts"]},
        "area": row["area"],
        # COCO counts pixels, where our boxes end on the middle of the last one.
        "bbox": [x, y, width + 1, height + 1],
        "iscrowd": 0,
        **kept,
    }
