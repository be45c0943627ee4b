"""A model and labelled clips -> J and F of objects that are given where they first appear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from sam2_core import FramePrompt, Prompt, Sam2, Sam2Error, VideoTracker
from sam2_core.learning.measures import ClipScore, score_clip

from .labels.labelled import BadLabels, LabelSource, Masks, WholeClip


@dataclass(frozen=True, slots=True, eq=False)
class FollowedClip:
    """One clip: a score an object."""

    number: int
    name: str
    scores: tuple[ClipScore, ...]


def ask_about_clips(
    model: Sam2, source: LabelSource, numbers: range, skipped: list[str]
) -> Iterator[FollowedClip]:
    """Follow the objects of clips; what cannot be read is counted."""
    tracker = VideoTracker(model)
    for number in numbers:
        followed = _followed(tracker, source, number, skipped)
        if followed is not None:
            yield followed


def _followed(
    tracker: VideoTracker, source: LabelSource, number: int, skipped: list[str]
) -> FollowedClip | None:
    try:
        with source.whole_clip(number) as clip:
            return FollowedClip(number, clip.name, tuple(_scores(tracker, clip)))
    except (BadLabels, Sam2Error) as error:
        skipped.append(str(error))
        return None


def _scores(tracker: VideoTracker, clip: WholeClip) -> Iterator[ClipScore]:
    """Neither an object's first frame counts nor its last: of DAVIS those are the clip's."""
    starts = _first_seen(clip)
    prompts = [
        FramePrompt(frame, number, Prompt(mask=clip.annotated[frame][number]))
        for number, frame in starts.items()
    ]
    if not prompts:
        return
    found: dict[int, Masks] = {}
    frames = clip.frames
    source = frames if not isinstance(frames, list | tuple | np.ndarray) else list(frames)
    for tracked in tracker.track(source, prompts):
        if tracked.frame in clip.annotated:
            found[tracked.frame] = tracked.masks.numpy()
    ids = [prompt.object_id for prompt in sorted(prompts, key=lambda one: one.frame)]
    order = {number: place for place, number in enumerate(dict.fromkeys(ids))}
    first, last = min(clip.annotated), max(clip.annotated)
    for number, start in starts.items():
        before = start if clip.begins_with_objects else first
        judged = [frame for frame in sorted(found) if before < frame < last]
        answers = [found[frame][order[number]] for frame in judged]
        targets = [clip.annotated[frame][number] for frame in judged]
        yield score_clip(_stacked(answers), _stacked(targets))


def _first_seen(clip: WholeClip) -> dict[int, int]:
    """The first annotated frame that shows an object, by its number."""
    starts: dict[int, int] = {}
    for frame in sorted(clip.annotated):
        seen = clip.annotated[frame].reshape(len(clip.annotated[frame]), -1).any(1)
        for number in np.flatnonzero(seen).tolist():
            starts.setdefault(number, frame)
    return starts


def _stacked(masks: list[Masks]) -> torch.Tensor:
    return torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, 1, 1, dtype=torch.bool)
