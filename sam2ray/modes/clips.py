"""Modes of videos: clips come in, rows of each frame go out, several clips side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, NamedTuple, Protocol, TypeVar

import torch

from sam2_core import FramePrompt, FrameSourceError
from sam2_core.inference.frame_prompts import LostPrompt
from sam2_core.inference.frame_sources import FrameSource
from sam2_core.inference.preprocess import SizedPicture, size_hw_of

from ..readers.prompts import UnitPrompt
from ..stages.faults import is_out_of_memory, is_sticky
from ..stages.sampling import Sample
from .mask_rows import RowPlace
from .pictures import PictureItem, PictureMode, ToRows

Item = TypeVar("Item")

FrameChoice = Literal["sampled", "sampled_and_prompted", "prompted"]
"""Which frames of a clip a mode looks at; prompts are wanted unless it is `sampled`."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenClip:
    """A video that is ready to be read; frames are counted by their position in its sample."""

    unit_id: str
    source_uri: str
    frames: FrameSource
    sample: Sample  # which frames of the source they are
    seconds: Callable[[int], float | None]  # when a frame of the source is shown
    prompts: Sequence[UnitPrompt] = ()  # on frames of the source

    def place(self, position: int) -> RowPlace:
        """What rows of a frame share."""
        number = self.sample.numbers[position]
        return RowPlace(self.unit_id, self.source_uri, number, self.seconds(number))

    def frame_prompts(self) -> list[FramePrompt]:
        """The prompts as the core takes them, on positions of the sample."""
        prompts = [one.frame_prompt for one in self.prompts]
        return [replace(prompt, frame=self.sample.position_of(prompt.frame)) for prompt in prompts]


class FrameRows(NamedTuple):
    """What was found on one frame, which may be nothing; it becomes rows when it is written."""

    clip: OpenClip
    to_rows: ToRows


class ClipOver(NamedTuple):
    """A clip of which nothing will follow, and what ended it early."""

    clip: OpenClip
    error: Exception | None
    lost: Sequence[LostPrompt] = ()  # on frames of the source that cannot be read


class ClipMode(Protocol):
    """Turns clips into rows; an error that is raised may be the fault of any clip at work."""

    @property
    def folder(self) -> str:
        """Which table the rows belong to."""
        ...

    @property
    def choice(self) -> FrameChoice:
        """Which frames it looks at."""
        ...

    def label(self, clips: Iterator[OpenClip], lanes: int) -> Iterator[FrameRows | ClipOver]:
        """Rows frame by frame, of at most so many clips at a time, and one end of each clip."""
        ...


def take(frames: Iterator[Item], most: int) -> tuple[list[Item], FrameSourceError | None]:
    """Some of what comes next, and what went wrong behind it."""
    taken: list[Item] = []
    try:
        for item in islice(frames, most):
            taken.append(item)  # noqa: PERF402 what came before an error is kept
    except FrameSourceError as error:
        return taken, error
    return taken, None


@dataclass(slots=True, eq=False)
class _Lane:
    clip: OpenClip
    reading: Iterator[SizedPicture]
    position: int = 0  # of the next frame
    prompts: dict[int, list[UnitPrompt]] = field(default_factory=dict)  # by frame of the source

    def unreached(self) -> list[LostPrompt]:
        """Prompts on frames that have not come."""
        left = [
            one.frame_prompt
            for number in islice(self.clip.sample.numbers, self.position, None)
            for one in self.prompts.get(number, [])
        ]
        return [LostPrompt(one.object_id, one.frame) for one in left]


@dataclass(frozen=True, slots=True, eq=False)
class FrameByFrame:
    """A mode of pictures on the frames of videos: no frame knows of another."""

    mode: PictureMode
    batch: int
    choice: FrameChoice = "sampled"

    @property
    def folder(self) -> str:
        """Which table the rows belong to."""
        return self.mode.folder

    def label(self, clips: Iterator[OpenClip], lanes: int) -> Iterator[FrameRows | ClipOver]:
        """A batch of one clip after a batch of another: meanwhile the others are decoded."""
        waiting: deque[_Lane] = deque()
        while True:
            while len(waiting) < lanes and (clip := next(clips, None)) is not None:
                waiting.append(_open_lane(clip))
            if not waiting:
                return
            lane = waiting.popleft()
            over = yield from self._advance(lane)
            if over is None:
                waiting.append(lane)
            else:
                yield over

    def _advance(self, lane: _Lane) -> Generator[FrameRows, None, ClipOver | None]:
        """Label one batch of a clip; returns its end, if this is it."""
        pictures, error = take(lane.reading, self.batch)
        items = [self._item(lane, place, picture) for place, picture in enumerate(pictures)]
        lane.position += len(items)
        try:
            seen = self._look_at(items)
        except Exception as fault:
            if is_sticky(fault):
                raise
            return ClipOver(lane.clip, fault)
        yield from (FrameRows(lane.clip, to_rows) for to_rows in seen)
        if error is None and len(pictures) == self.batch:
            return None
        error = error or loss_of(lane.clip)
        return ClipOver(lane.clip, error, lane.unreached() if error else ())

    def _item(self, lane: _Lane, place: int, picture: SizedPicture) -> PictureItem:
        where = lane.clip.place(lane.position + place)
        assert where.frame_index is not None
        prompts = lane.prompts.get(where.frame_index, [])
        return PictureItem(where, picture, size_hw_of(picture), prompts)

    def _look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """A batch, in halves where it needs too much memory."""
        try:
            return self.mode.look_at(items) if items else []
        except Exception as error:
            if len(items) == 1 or not is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
        half = len(items) // 2
        return [*self._look_at(items[:half]), *self._look_at(items[half:])]


def _open_lane(clip: OpenClip) -> _Lane:
    prompts: dict[int, list[UnitPrompt]] = {}
    for one in clip.prompts:
        prompts.setdefault(one.frame_prompt.frame, []).append(one)
    return _Lane(clip, clip.frames.read(range(len(clip.sample.numbers))), prompts=prompts)


def loss_of(clip: OpenClip) -> FrameSourceError | None:
    """What a clip lacks at its end."""
    try:
        clip.frames.refuse_loss()
    except FrameSourceError as error:
        return error
    return None
