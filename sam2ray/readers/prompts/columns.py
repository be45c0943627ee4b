"""Rows of a table -> prompts, by the names of its columns.

Names that can only mean one thing are taken; where a box could be read in two ways, the user says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import UsageError
from ..cells import from_json_text
from .fields import PromptFields, bad_prompt, four_numbers, number, prompt_fields

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
Part = Literal["points", "box", "mask"]
Row = Mapping[str, object]

_ONE_BOX: dict[str, BoxFormat] = {
    "box": "xyxy",  # as Prompt.box of the core
    "box_xyxy": "xyxy",
    "bbox_xyxy": "xyxy",
    "box_xywh": "xywh",
    "bbox_xywh": "xywh",
    "box_cxcywh": "cxcywh",
    "bbox_cxcywh": "cxcywh",
}
_FOUR_SIDES: dict[tuple[str, str, str, str], BoxFormat] = {
    ("x0", "y0", "x1", "y1"): "xyxy",
    ("x1", "y1", "x2", "y2"): "xyxy",
    ("xmin", "ymin", "xmax", "ymax"): "xyxy",
    ("x_min", "y_min", "x_max", "y_max"): "xyxy",
    ("x", "y", "w", "h"): "xywh",
    ("cx", "cy", "w", "h"): "cxcywh",
}
_UNCLEAR_BOX = "bbox"

_POINTS = ("points",)
_LABELS = ("labels", "point_labels")
_MASK = ("mask", "mask_rle", "rle")
_COUNTS = ("rle_counts",)  # with height and width, as our own tables of masks
_FRAME = ("frame", "frame_index")
_OBJECT = ("object_id",)
_LABEL = ("label", "category", "class")
_PROMPT_ID = ("prompt_id", "annotation_id")
_WHOLE = ("prompts",)

_SINGLE = (_POINTS, _LABELS, _MASK, _COUNTS, _FRAME, _OBJECT, _LABEL, _PROMPT_ID, _WHOLE)
PROMPT_NAMES = frozenset(_ONE_BOX).union((_UNCLEAR_BOX,), *_FOUR_SIDES, *_SINGLE)
"""All names of columns that may say something about a prompt."""

_CHOICES = (
    "points (and labels), box or box_xyxy, box_xywh, box_cxcywh, x0 y0 x1 y1, xmin ymin xmax ymax, "
    "x y w h, cx cy w h, mask_rle, rle_counts with height and width, or prompts"
)


@dataclass(frozen=True, slots=True)
class _Box:
    """The columns of a box: one with four numbers, or four."""

    columns: tuple[str, ...]
    format: BoxFormat

    def of(self, row: Row) -> list[float] | None:
        """The corners (x0, y0, x1, y1); None if the row has no box."""
        cells = [row.get(name) for name in self.columns]
        if all(cell is None or cell == "" for cell in cells):
            return None
        if len(cells) == 1:
            values = four_numbers(cells[0], self.columns[0])
        else:
            values = [number(cell, name) for cell, name in zip(cells, self.columns, strict=True)]
        return corners(values, self.format)


@dataclass(frozen=True, slots=True)
class PromptColumns:
    """Which columns of a table say what about a prompt."""

    points: str | None
    labels: str | None
    box: _Box | None
    mask: str | None
    rle: tuple[str, str, str] | None  # counts, height, width
    whole: str | None  # prompts of a row as a list
    frame: str | None
    object_id: str | None
    label: str | None
    prompt_id: str | None
    normalized: bool

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are needed."""
        single = (self.points, self.labels, self.mask, self.whole)
        about = (self.frame, self.object_id, self.label, self.prompt_id)
        box = self.box.columns if self.box else ()
        return tuple(name for name in (*single, *about, *box, *(self.rle or ())) if name)

    def prompts_of(self, row: Row, place: str) -> list[PromptFields]:
        """The prompts of a row; what makes no sense is kept as a bad one."""
        try:
            whole = from_json_text(row.get(self.whole)) if self.whole else []
            if whole is None:
                whole = []
            if not isinstance(whole, Sequence) or isinstance(whole, str):
                raise ValueError(f"{self.whole} is a list of prompts, not {whole!r:.80}")
            found = [self._fields(raw) for raw in (self._raw(row), *whole)]
        except (ValueError, TypeError) as error:
            return [bad_prompt(place, error)]
        return [fields for fields in found if fields is not None]

    def _fields(self, raw: object) -> PromptFields | None:
        if not isinstance(raw, Mapping):
            raise ValueError(f"a prompt is an object with fields, not {raw!r:.80}")
        return prompt_fields(raw, normalized=self.normalized)

    def _raw(self, row: Row) -> dict[str, object]:
        named = {
            "points": self.points,
            "labels": self.labels,
            "mask": self.mask,
            "frame": self.frame,
            "object_id": self.object_id,
            "label": self.label,
            "prompt_id": self.prompt_id,
        }
        raw = {field: row.get(column) for field, column in named.items() if column}
        if self.box is not None:
            raw["box"] = self.box.of(row)
        if self.rle is not None and row.get(self.rle[0]):
            counts, height, width = (row.get(name) for name in self.rle)
            size = [number(height, self.rle[1]), number(width, self.rle[2])]
            raw["mask"] = {"size": size, "counts": counts}
        return raw


def corners(values: Sequence[float], box_format: BoxFormat) -> list[float]:
    """A box of any format as (x0, y0, x1, y1)."""
    a, b, c, d = values
    if box_format == "xyxy":
        return [a, b, c, d]
    if box_format == "xywh":
        return [a, b, a + c, b + d]
    return [a - c / 2, b - d / 2, a + c / 2, b + d / 2]


def find_prompt_columns(
    names: Sequence[str],
    place: str,
    *,
    normalized: bool,
    box_format: BoxFormat | None = None,
    use: Sequence[Part] = get_args(Part),
) -> PromptColumns:
    """Recognise columns by their names; UsageError if there are none, or two for one thing."""
    box = _find_box(names, place, box_format) if "box" in use else None
    mask = _first(names, _MASK, place) if "mask" in use else None
    rle = _find_rle(names) if "mask" in use and mask is None else None
    points = _first(names, _POINTS, place) if "points" in use else None
    columns = PromptColumns(
        points=points,
        labels=_first(names, _LABELS, place) if points else None,
        box=box,
        mask=mask,
        rle=rle,
        whole=_first(names, _WHOLE, place),
        frame=_first(names, _FRAME, place),
        object_id=_first(names, _OBJECT, place),
        label=_first(names, _LABEL, place),
        prompt_id=_first(names, _PROMPT_ID, place),
        normalized=normalized,
    )
    if not any((points, box, mask, rle, columns.whole)):
        raise UsageError(
            f"{place} has no column that prompts could be read from. Known are: {_CHOICES}. It "
            f"has: {', '.join(names)}."
        )
    return columns


def _find_box(names: Sequence[str], place: str, said: BoxFormat | None) -> _Box | None:
    single = [_Box((name,), form) for name, form in _ONE_BOX.items() if name in names]
    if _UNCLEAR_BOX in names and said is not None:
        single.append(_Box((_UNCLEAR_BOX,), said))
    sides = [_Box(four, form) for four, form in _FOUR_SIDES.items() if set(four) <= set(names)]
    found = [box for box in (*single, *sides) if said in (None, box.format)]
    if len(found) > 1:
        options = "; ".join(f"{' '.join(box.columns)} ({box.format})" for box in found)
        raise UsageError(
            f"{place} says boxes in several ways: {options}. Leave one of them, or "
            "say prompts.box_format."
        )
    if not found and _UNCLEAR_BOX in names:
        raise UsageError(
            f"{place}: `bbox` may be x0 y0 x1 y1, or x y width height, or centre and size. Name it "
            "bbox_xyxy, bbox_xywh or bbox_cxcywh, or say prompts.box_format=xyxy, xywh or cxcywh."
        )
    return found[0] if found else None


def _find_rle(names: Sequence[str]) -> tuple[str, str, str] | None:
    if _COUNTS[0] in names and {"height", "width"} <= set(names):
        return _COUNTS[0], "height", "width"
    return None


def _first(names: Sequence[str], known: Sequence[str], place: str) -> str | None:
    found = [name for name in known if name in names]
    if len(found) > 1:
        raise UsageError(f"{place} has columns {' and '.join(found)}, two for one thing.")
    return found[0] if found else None
