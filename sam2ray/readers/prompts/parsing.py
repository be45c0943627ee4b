"""Unit.prompts and the size of the picture -> prompts for the core, in pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from ...errors import UnitFailed
from ...records import ErrorClass
from .fields import BAD, FRAME_NAME, NORMALIZED, PromptFields, prompt_fields

if TYPE_CHECKING:
    from torch import Tensor

    from sam2_core import FramePrompt

SizeHW = tuple[int, int]

# Other tools round, and count pixels from their centres or edges.
_OUTSIDE_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class UnitPrompt:
    """A prompt for the core, and what its rows are labelled with."""

    frame_prompt: FramePrompt
    label: str | None
    prompt_id: str | None


def parse_prompts(
    json_text: str, size_hw: SizeHW, frames: Sequence[str] | None = None
) -> list[UnitPrompt]:
    """All prompts of a unit; UnitFailed (bad_prompt) says which of them does not fit, and why.

    `frames` are what the pictures of a folder are called, without their suffixes.
    """
    prompts: list[UnitPrompt] = []
    seen: set[tuple[int, int]] = set()
    for number, raw in enumerate(_listed(json_text)):
        place = f"Prompt {number}"
        try:
            prompt = _parse(raw, size_hw, frames)
        except ValueError as error:
            _refuse(f"{place}: {error}")
        key = (prompt.frame_prompt.frame, prompt.frame_prompt.object_id)
        if key in seen:
            _refuse(
                f"{place}: object {key[1]} has two prompts on frame {key[0]}; join their points"
            )
        seen.add(key)
        prompts.append(prompt)
    return prompts


def _listed(json_text: str) -> list[object]:
    try:
        content = json.loads(json_text)
    except (ValueError, RecursionError) as error:
        _refuse(f"the prompts are no JSON ({error})")
    if not isinstance(content, list):
        _refuse(f"the prompts are a list, not {content!r:.80}")
    return content


def _parse(raw: object, size_hw: SizeHW, frames: Sequence[str] | None) -> UnitPrompt:
    from sam2_core import FramePrompt, Prompt  # listing imports this module, and needs no torch

    fields = _checked(raw)
    frame = fields["frame"]
    if FRAME_NAME in fields:
        frame = _frame_called(str(fields[FRAME_NAME]), frames)
    scale = (size_hw[1], size_hw[0]) if fields.get(NORMALIZED) else (1, 1)
    points = [_inside(x * scale[0], y * scale[1], size_hw) for x, y in fields.get("points", ())]
    prompt = Prompt(
        points=points,
        labels=fields.get("labels", ()),
        box=_box(fields["box"], scale, size_hw) if "box" in fields else None,
        mask=_mask(fields["mask"], size_hw) if "mask" in fields else None,
    )
    frame_prompt = FramePrompt(frame, fields["object_id"], prompt)
    return UnitPrompt(frame_prompt, fields.get("label"), fields.get("prompt_id"))


def _checked(raw: object) -> PromptFields:
    if not isinstance(raw, Mapping):
        raise ValueError(f"a prompt is an object with fields, not {raw!r:.80}")
    if BAD in raw:
        raise ValueError(raw[BAD])
    given = {str(n): value for n, value in raw.items() if n not in (NORMALIZED, FRAME_NAME)}
    fields = prompt_fields(given, normalized=bool(raw.get(NORMALIZED)))
    if fields is None:
        raise ValueError("neither points, nor a box, nor a mask")
    if "object_id" not in fields:
        raise ValueError("it has no object_id")
    return fields | {FRAME_NAME: raw[FRAME_NAME]} if FRAME_NAME in raw else fields


def _frame_called(name: str, frames: Sequence[str] | None) -> int:
    """The number of a frame; those of a video are called by their numbers, from 0 on."""
    if frames is None:
        if not name.isdecimal():
            raise ValueError(f"{name[:80]!r} is the number of no frame")
        return int(name)
    places = [place for place, own in enumerate(frames) if own == name]
    if len(places) != 1:
        many = "several frames are" if places else "no frame is"
        raise ValueError(f"{many} called {name[:80]!r}; the first is {frames[0][:80]!r}")
    return places[0]


def _box(box: Sequence[float], scale: tuple[int, int], size_hw: SizeHW) -> list[float]:
    x0, y0 = _inside(box[0] * scale[0], box[1] * scale[1], size_hw)
    x1, y1 = _inside(box[2] * scale[0], box[3] * scale[1], size_hw)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty: is it x, y, w, h?")
    return [x0, y0, x1, y1]


def _inside(x: float, y: float, size_hw: SizeHW) -> list[float]:
    """A place in the picture; one that lies a rounding error outside is moved to the edge."""
    height, width = size_hw
    if not (-_OUTSIDE_PX <= x <= width + _OUTSIDE_PX and -_OUTSIDE_PX <= y <= height + _OUTSIDE_PX):
        raise ValueError(
            f"({x:g}, {y:g}) lies outside the picture of {width} x {height} pixels (as shown, "
            "after EXIF rotation)"
        )
    return [min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))]


def _mask(rle: Mapping[str, Any], size_hw: SizeHW) -> Tensor:
    from ops import decode_run_lengths, from_coco_strings

    if tuple(rle["size"]) != size_hw:
        raise ValueError(
            f"the mask is {rle['size'][0]} x {rle['size'][1]}, the picture {size_hw[0]} x "
            f"{size_hw[1]} (height x width)"
        )
    return decode_run_lengths(from_coco_strings([rle["counts"]], *size_hw))[0]


def _refuse(message: str) -> NoReturn:
    raise UnitFailed(ErrorClass.BAD_PROMPT, message)
