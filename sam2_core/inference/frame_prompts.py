"""The prompts of a clip, checked as a whole before the first frame is encoded."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from ..config import ModelConfig
from ..data import FramePrompt, Prompt
from ..errors import FrameSourceError, PromptError
from .frame_sources import FrameSource
from .prompts import CheckedPrompt, check_prompt

ObjectPrompts = dict[int, dict[int, CheckedPrompt]]  # object id -> frame -> prompt, in order


def check_frame_prompts(
    prompts: Sequence[FramePrompt], source: FrameSource, config: ModelConfig
) -> ObjectPrompts:
    """Prompts by object and frame, both in order of first appearance."""
    if not prompts:
        raise PromptError("There is nothing to track: give at least one FramePrompt.")
    by_object: ObjectPrompts = {}
    for number, item in enumerate(prompts):
        if not isinstance(item, FramePrompt):
            raise PromptError(
                f"Prompt {number}: expected a FramePrompt, got {type(item).__name__}. Write "
                "FramePrompt(frame, object_id, Prompt(...))."
            )
        frame = _check_frame(item, source)
        of_object = by_object.setdefault(item.object_id, {})
        if frame in of_object:
            raise PromptError(
                f"Object {item.object_id} has two prompts on frame {frame}: join their points, or "
                "use a session to prompt again."
            )
        of_object[frame] = check_frame_prompt(item, source.size_hw(), config)
    return by_object


def check_frame_prompt(
    item: FramePrompt, size_hw: tuple[int, int], config: ModelConfig
) -> CheckedPrompt:
    """One prompt of a clip; what tells where, and what is wrong."""
    place = f"Object {item.object_id}, frame {item.frame}"
    if not isinstance(item.prompt, Prompt):
        raise PromptError(f"{place}: expected a Prompt, got {type(item.prompt).__name__}.")
    try:
        _refuse_mixtures(item.prompt)
        return check_prompt(item.prompt, size_hw, config)
    except PromptError as error:
        raise PromptError(f"{place}: {error}") from error


def _refuse_mixtures(prompt: Prompt) -> None:
    clicked = len(prompt.points) > 0 or prompt.box is not None
    if prompt.mask is not None and clicked:
        raise PromptError("a mask is taken as it is; leave out points and box, or leave out mask.")
    if prompt.low_res_logits is not None and not clicked:
        raise PromptError("low_res_logits refine points or a box on a frame: add one of these.")


def _check_frame(item: FramePrompt, source: FrameSource) -> int:
    try:
        frame = operator.index(item.frame)
    except TypeError as error:
        raise PromptError(f"frame must be an integer, not {item.frame!r}.") from error
    length = source.length()
    if length == 0:
        raise FrameSourceError(f"{source.name} holds no frame.")
    if frame < 0 or (length is not None and frame >= length):
        known = "from 0 on" if length is None else f"0 to {length - 1}"
        raise PromptError(
            f"Object {item.object_id} is prompted on frame {frame}, but {source.name} has frames "
            f"{known}."
        )
    return frame
