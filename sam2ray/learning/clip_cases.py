"""The worst and the best clip of an examination, as some of their frames to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from sam2_core import Sam2, VideoTracker
from sam2_core.inference.frame_sources import Frames, FrameSource
from sam2_core.inference.preprocess import ResizedPicture, RgbArray

from .cases import Case, draw_sheet, tile_under_masks
from .clip_exams import prompts_of
from .labels.labelled import LabelSource, WholeClip
from .labels.mask_stack import Masks

_FRAMES = 5


def draw_clip_cases(model: Sam2, source: LabelSource, worst: int, best: int) -> bytes:
    """Labels above what was followed, the worst clip first: a PNG."""
    low = _cases(model, source, worst)
    high = _cases(model, source, best) if best != worst else ()
    return draw_sheet(low, high, "labels above, what was followed from them below")


def _cases(model: Sam2, source: LabelSource, number: int) -> list[Case]:
    with source.whole_clip(number) as clip:
        frames = sorted(clip.annotated)
        places = np.linspace(0, len(frames) - 1, min(_FRAMES, len(frames))).round().astype(int)
        chosen = [frames[place] for place in places]
        labels = {frame: np.asarray(clip.annotated[frame]) for frame in chosen}
        answers = _followed(model, clip, labels)
        return [
            Case(
                tile_under_masks(pixels, labels[frame]),
                tile_under_masks(pixels, answers[frame]),
                f"#{number}, frame {frame}",
            )
            for frame, pixels in zip(chosen, _pixels_of(clip, chosen), strict=True)
        ]


def _followed(model: Sam2, clip: WholeClip, labels: Mapping[int, Masks]) -> dict[int, Masks]:
    """The answers on the frames of these labels, in the order of their objects.

    Before the first frame that shows any of them there is no answer.
    """
    found: dict[int, Masks] = {}
    last = max(labels)
    for tracked in VideoTracker(model).track(cast("Frames", clip.frames), prompts_of(clip)):
        if tracked.frame in labels:
            stack = np.zeros_like(labels[tracked.frame])
            stack[[*tracked.object_ids]] = tracked.masks.numpy()
            found[tracked.frame] = stack
        if tracked.frame >= last:
            break
    return {frame: found.get(frame, np.zeros_like(label)) for frame, label in labels.items()}


def _pixels_of(clip: WholeClip, chosen: Sequence[int]) -> list[RgbArray]:
    if not isinstance(clip.frames, FrameSource):
        return [clip.frames[frame] for frame in chosen]
    found: list[RgbArray] = []
    for frame, pixels in enumerate(clip.frames.read(range(chosen[-1] + 1))):
        if frame in chosen:
            assert not isinstance(pixels, ResizedPicture), "nothing asked for another size"
            found.append(pixels)
    return found
