"""The prompts of a clip, checked as a whole before the first frame is encoded."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..config import ModelConfig
from ..data import FramePrompt, Prompt
from ..errors import FrameSourceError, PromptError
from .frame_sources import FrameSource
from .prompts import CheckedPrompt, check_prompt

_NAMED = 5  # prompts in a message

ObjectPrompts = dict[int, dict[int, CheckedPrompt]]  # object id -> frame -> prompt, in order


class LostPrompt(NamedTuple):
    """A prompt on a frame that cannot be read."""

    object_id: int
    frame: int


def words_of_lost(prompts: Sequence[LostPrompt]) -> str:
    """A sentence about prompts that were left out."""
    named = [f"object {one.object_id} on frame {one.frame}" for one in prompts[:_NAMED]]
    more = [f"{len(prompts) - _NAMED} more"] if len(prompts) > _NAMED else []
    return f"Prompts on frames that cannot be read were left out: {', '.join([*named, *more])}."


def check_frame_prompts(
    prompts: Sequence[FramePrompt], source: FrameSource, config: ModelConfig
) -> ObjectPrompts:
    """Prompts by object and frame, both in order of first appearance."""
    by_object: ObjectPrompts = {}
    for number, item in enumerate(_listed(prompts)):
        if not isinstance(item, FramePrompt):
            raise PromptError(
                f"Prompt {number}: expected a FramePrompt, got {type(item).__name__}. Write "
                "FramePrompt(frame, object_id, Prompt(...))."
            )
        object_id = check_object_id(item.object_id, f"Prompt {number}: ")
        frame = _check_frame(item, source)
        of_object = by_object.setdefault(object_id, {})
        if frame in of_object:
            raise PromptError(
                f"Object {item.object_id} has two prompts on frame {frame}: join their points, or "
                "use a session to prompt again."
            )
        of_object[frame] = check_frame_prompt(item, source.size_hw(), config)
    return by_object


def check_object_id(object_id: int, place: str = "") -> int:
    """An integer that fits into the columns that tables of masks keep them in."""
    number = whole_number(object_id, f"{place}object_id")
    if not -(2**63) <= number < 2**63:
        raise PromptError(f"{place}object_id={number} does not fit into 64 bits.")
    return number


def whole_number(value: int, name: str) -> int:
    """An integer of any kind, but neither true nor false."""
    try:
        if isinstance(value, bool):
            raise TypeError("bool")
        return operator.index(value)
    except TypeError as error:
        raise PromptError(f"{name} must be an integer, not {value!r}.") from error


def _listed(prompts: Sequence[FramePrompt]) -> list[FramePrompt]:
    if not isinstance(prompts, Iterable) or isinstance(prompts, Mapping | str):
        way_out = "[prompt]" if isinstance(prompts, FramePrompt) else "[FramePrompt(...), ...]"
        raise PromptError(
            f"Prompts are a list of FramePrompt, not a {type(prompts).__name__}: write {way_out}."
        )
    try:
        listed = list(prompts)
    except Exception as error:
        # What makes prompts up is the caller's, and may fail in any way.
        raise PromptError(
            f"The prompts broke off with an error: {type(error).__name__}: {error}."
        ) from error
    if not listed:
        raise PromptError("There is nothing to track: give at least one FramePrompt.")
    return listed


def check_frame_prompt(
    item: FramePrompt, size_hw: tuple[int, int], config: ModelConfig
) -> CheckedPrompt:
    """One prompt of a clip; what tells where, and what is wrong."""
    place = f"Object {item.object_id}, frame {item.frame}"
    if not isinstance(item.prompt, Prompt):
        raise PromptError(f"{place}: expected a Prompt, got {type(item.prompt).__name__}.")
    try:
        checked = check_prompt(item.prompt, size_hw, config)
        _refuse_mixtures(checked)
    except PromptError as error:
        raise PromptError(f"{place}: {error}") from error
    return checked


def _refuse_mixtures(prompt: CheckedPrompt) -> None:
    if prompt.mask_HW is not None and prompt.has_points:
        raise PromptError("a mask is taken as it is; leave out points and box, or leave out mask.")
    if prompt.logits_hw is not None and not prompt.has_points:
        raise PromptError("low_res_logits refine points or a box on a frame: add one of these.")


def _check_frame(item: FramePrompt, source: FrameSource) -> int:
    frame = whole_number(item.frame, f"Object {item.object_id}: frame")
    length = source.length()
    if length == 0:
        raise FrameSourceError(f"{source.name} holds no frame.")
    if length is not None and frame >= length:
        source.refuse_loss()
    if frame < 0 or (length is not None and frame >= length):
        known = "from 0 on" if length is None else f"0 to {length - 1}"
        raise PromptError(
            f"Object {item.object_id} is prompted on frame {frame}, but {source.name} has frames "
            f"{known}."
        )
    return frame
