"""Fields of a prompt, of whatever type they came, as the one text that a unit keeps (Unit.prompts).

The text is a JSON list of {frame, object_id, points, labels, box, mask, label, prompt_id,
normalized, frame_name}; box is (x0, y0, x1, y1), mask a COCO RLE, and what is absent is left out. A
prompt that makes no sense stays in the list as {bad: why}: it fails its own unit later, not the
listing.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from ...records import canonical_json
from ..cells import as_text, from_json_text
from .rle import rle_of

PromptFields = dict[str, Any]  # as JSON has them

BAD = "bad"
PARTS = ("points", "box", "mask")
KNOWN = ("frame", "object_id", "points", "labels", "box", "mask", "label", "prompt_id")
NORMALIZED = "normalized"
FRAME_NAME = "frame_name"  # of readers alone: a folder's frames are counted when it is opened

_LARGEST = 2**63 - 1


def prompts_text(prompts: Iterable[PromptFields]) -> str | None:
    """The canonical text of a unit's prompts; who has no object id gets the next one from 1 on."""
    listed = list(prompts)
    taken = {prompt["object_id"] for prompt in listed if "object_id" in prompt}
    free = (number for number in count(1) if number not in taken)
    numbered = [
        prompt if BAD in prompt or "object_id" in prompt else {**prompt, "object_id": next(free)}
        for prompt in listed
    ]
    return canonical_json(numbered) if numbered else None


def bad_prompt(place: str, error: Exception | str) -> PromptFields:
    """What stands for a prompt that cannot be read."""
    return {BAD: f"{place}: {error}"}


def prompt_fields(raw: Mapping[str, object], *, normalized: bool) -> PromptFields | None:
    """One prompt in plain types; None if nothing is pointed at; ValueError if it makes no sense."""
    _refuse_unknown(raw)
    given = {name: from_json_text(raw[name]) for name in PARTS if name in raw}
    given = {name: value for name, value in given.items() if value is not None and value != []}
    if not given:
        return None
    fields: PromptFields = {"frame": _integer(raw.get("frame"), "frame", 0)}
    if (object_id := _integer(raw.get("object_id"), "object_id", None)) is not None:
        fields["object_id"] = object_id
    if "points" in given:
        fields["points"] = _points(given["points"])
        fields["labels"] = _labels(raw.get("labels"), len(fields["points"]))
    if "box" in given:
        fields["box"] = four_numbers(given["box"], "box")
    if "mask" in given:
        fields["mask"] = rle_of(given["mask"])
    for name in ("label", "prompt_id"):
        if text := as_text(raw.get(name)):  # an empty cell of CSV is none
            fields[name] = text
    return {**fields, NORMALIZED: True} if normalized else fields


def four_numbers(value: object, name: str) -> list[float]:
    """Numbers of a box, or a ValueError."""
    if isinstance(value, str):
        value = from_json_text(value)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 4:
        raise ValueError(f"{name} is four numbers, not {_short(value)}")
    return [number(item, name) for item in value]


def number(value: object, name: str) -> float:
    """A finite number, or a ValueError."""
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{name} holds {_short(value)} where a number should be")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise ValueError(f"{name} holds {_short(value)} where a number should be")
    return result


def _refuse_unknown(raw: Mapping[str, object]) -> None:
    for name in raw:
        if name not in KNOWN:
            near = difflib.get_close_matches(name, KNOWN, 1)
            hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(KNOWN)}."
            raise ValueError(f"{name[:80]!r} is no field of a prompt.{hint}")


def _points(value: object) -> list[list[float]]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"points are a list of (x, y), not {_short(value)}")
    for point in value:
        if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != 2:
            raise ValueError(f"points are a list of (x, y), and {_short(point)} is none")
    return [[number(x, "points"), number(y, "points")] for x, y in value]


def _labels(value: object, points: int) -> list[int]:
    value = from_json_text(value)
    if value is None:
        return [1] * points
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"labels are a list of 1 (on the object) and 0, not {_short(value)}")
    labels = [number(item, "labels") for item in value]
    if any(label not in (0, 1) for label in labels):
        raise ValueError(f"labels are 1 (on the object) or 0 (off it), not {_short(value)}")
    if len(labels) != points:
        raise ValueError(f"{points} points have {len(labels)} labels")
    return [int(label) for label in labels]


def _integer(value: object, name: str, default: int | None) -> int | None:
    if value is None or value == "":
        return default
    result = number(value, name) if isinstance(value, float | str) else value
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        result = int(value)  # past 2**53 a float would round it
    if isinstance(result, bool) or not isinstance(result, int | float) or result != int(result):
        raise ValueError(f"{name} is an integer, not {_short(value)}")
    if not -_LARGEST <= result <= _LARGEST or (name == "frame" and result < 0):
        raise ValueError(f"{name}={_short(value)} is out of range")
    return int(result)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
