"""A model and labelled clips -> J and F of objects that are given where they first appear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from sam2_core import FramePrompt, Prompt, Sam2, Sam2Error, VideoTracker
from sam2_core.inference.frame_sources import Frames
from sam2_core.learning.measures import ClipScore, ClipScorer

from .labels.labelled import BadLabels, LabelSource, WholeClip
from .labels.mask_stack import Masks, MaskStack, areas_of


@dataclass(frozen=True, slots=True, eq=False)
class FollowedClip:
    """One clip: a score an object."""

    number: int
    name: str
    scores: tuple[ClipScore, ...]


def ask_about_clips(
    model: Sam2,
    source: LabelSource,
    numbers: range,
    skipped: list[str],
    most_frames: int | None = None,
) -> Iterator[FollowedClip]:
    """Follow the objects of clips, or of their first frames; what cannot be read is counted."""
    tracker = VideoTracker(model)
    for number in numbers:
        followed = _followed(tracker, source, number, skipped, most_frames)
        if followed is not None:
            yield followed


def _followed(
    tracker: VideoTracker,
    source: LabelSource,
    number: int,
    skipped: list[str],
    most_frames: int | None,
) -> FollowedClip | None:
    try:
        with source.whole_clip(number) as clip:
            return FollowedClip(number, clip.name, tuple(_scores(tracker, clip, most_frames)))
    except (BadLabels, Sam2Error) as error:
        skipped.append(str(error))
        return None


def _scores(tracker: VideoTracker, clip: WholeClip, most_frames: int | None) -> list[ClipScore]:
    """On frames that count, what was followed beside what is true."""
    prompts = prompts_of(clip)
    if not prompts:
        return []
    judged = {one.object_id: _judged_frames(clip, one) for one in prompts}
    scorers = {number: ClipScorer() for number in judged}
    for tracked in tracker.track(cast("Frames", clip.frames), prompts):
        if most_frames is not None and tracked.frame >= most_frames:
            break
        asked = [number for number, frames in judged.items() if tracked.frame in frames]
        if not asked:
            continue
        answers, targets = tracked.masks, clip.annotated[tracked.frame]
        for number in asked:
            answer = answers[tracked.object_ids.index(number)]
            target = torch.from_numpy(_mask_of(targets, number))
            scorers[number].add(answer[None], target[None])
    return [scorer.score() for scorer in scorers.values()]


def _judged_frames(clip: WholeClip, prompt: FramePrompt) -> frozenset[int]:
    """Neither the first labelled frame counts nor the last: the object's own, or the clip's."""
    if clip.frames_of is not None:
        return frozenset(clip.frames_of[prompt.object_id][1:-1])
    frames = sorted(clip.annotated)[1:-1]
    since = prompt.frame if clip.begins_with_objects else -1
    return frozenset(frame for frame in frames if frame > since)


def prompts_of(clip: WholeClip) -> list[FramePrompt]:
    """Each object as a mask, on the first frame that shows it; no frame is read twice."""
    found: dict[int, FramePrompt] = {}
    for frame in sorted(clip.annotated):
        masks = clip.annotated[frame]
        for number in np.flatnonzero(areas_of(masks)).tolist():
            if number not in found:
                found[number] = FramePrompt(frame, number, Prompt(mask=_mask_of(masks, number)))
    return [*found.values()]


def _mask_of(masks: MaskStack, number: int) -> Masks:
    return np.ascontiguousarray(masks[number : number + 1][0])
