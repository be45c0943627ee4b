"""Mode `track`: objects that somebody pointed at, through the whole clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from sam2_core import Clip, ClipFrame, VideoTracker
from sam2_core.inference.frame_sources import Frames
from sam2_core.inference.tracking_config import Direction

from ..errors import UnitFailed
from ..readers.prompts import UnitPrompt
from ..records import ErrorClass
from ..sinks.result_files import MASKS
from .clips import ClipOver, FrameChoice, FrameRows, OpenClip
from .mask_rows import Labels, seen_on


@dataclass(frozen=True, slots=True, eq=False)
class TrackPrompts:
    """Every prompted object, on every frame where it can be seen."""

    tracker: VideoTracker
    direction: Direction
    max_objects: int
    folder: str = MASKS
    choice: FrameChoice = "sampled_and_prompted"

    def label(self, clips: Iterator[OpenClip], lanes: int) -> Iterator[FrameRows | ClipOver]:
        """Rows frame by frame; all objects of all lanes advance as one batch."""
        opened: list[tuple[OpenClip, Labels]] = []
        refused: list[ClipOver] = []

        def arrivals() -> Iterator[Clip]:
            for clip in clips:
                labels = labels_of(clip.prompts)
                if len(labels) > self.max_objects:
                    refused.append(ClipOver(clip, self._too_many(len(labels))))
                    continue
                opened.append((clip, labels))
                yield Clip(cast("Frames", clip.frames), clip.frame_prompts(), self.direction)

        for event in self.tracker.track_many(arrivals(), lanes):
            while refused:
                yield refused.pop()
            clip, labels = opened[event.clip]
            if isinstance(event, ClipFrame):
                place = clip.place(event.tracked.frame)
                yield FrameRows(clip, partial(seen_on(event.tracked).rows, place, labels))
            else:
                numbers = clip.sample.numbers
                lost = [one._replace(frame=numbers[one.frame]) for one in event.lost]
                yield ClipOver(clip, event.error, lost)
        yield from refused

    def _too_many(self, objects: int) -> UnitFailed:
        return UnitFailed(
            ErrorClass.BAD_PROMPT,
            f"{objects} objects are prompted: more than tracking.max_objects={self.max_objects}",
        )


def labels_of(prompts: Sequence[UnitPrompt]) -> Labels:
    """What each object is called: by the first of its prompts."""
    labels: dict[int, tuple[str | None, str | None]] = {}
    for one in prompts:
        labels.setdefault(one.frame_prompt.object_id, (one.label, one.prompt_id))
    return labels
