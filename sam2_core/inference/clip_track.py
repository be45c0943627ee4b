"""One clip on its way through the tracker: which frames come when, and what its objects know."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import torch
from torch import Tensor

from ..config import ABSENT_LOGIT, ModelConfig
from ..data import ImageEmbedding, ObjectPrediction
from ..errors import FrameSourceError, PromptError
from .frame_prompts import LostPrompt, ObjectPrompts
from .frame_sources import FrameSource, PictureIterator, naming
from .memory_bank import MemoryBank
from .object_steps import Bank, Recall, StepResult
from .preprocess import SizedPicture, refuse_other_side
from .prompts import CheckedPrompt
from .tracked_frame import TrackedFrame
from .tracking_config import DIRECTIONS, Direction, TrackingConfig


@dataclass(frozen=True, slots=True)
class Pass:
    """Frames in one direction; the first may be gone through without being shown."""

    frames: range
    backward: bool = False
    hides_first: bool = False


def plan_passes(direction: Direction, prompted: Sequence[int], length: int | None) -> list[Pass]:
    """Lay out the passes over a clip."""
    first, last = min(prompted), max(prompted)
    forward = Pass(range(first, sys.maxsize if length is None else length))
    if direction == "forward":
        return [forward]
    if direction == "backward":
        return [Pass(range(last, -1, -1), backward=True)]
    # Backward starts where forward did: objects not prompted there look at it once more with the
    # future in mind, which changes what they remember of it. The frame was shown already.
    return [forward, Pass(range(first, -1, -1), backward=True, hides_first=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One frame of a pass."""

    frame: int
    backward: bool
    shown: bool


@dataclass(slots=True, eq=False)
class TrackedObject:
    """One object of a clip."""

    object_id: int
    prompts: dict[int, CheckedPrompt]
    bank: Bank
    answers: dict[int, ObjectPrediction] = field(default_factory=dict)  # of its prompts, one row


class ClipTrack:
    """The state of one clip; it decides, and leaves tensors to the tracker's steps."""

    def __init__(
        self,
        source: FrameSource,
        prompts: ObjectPrompts,
        direction: Direction,
        config: TrackingConfig,
        model: ModelConfig,
        number: int = 0,
    ) -> None:
        self.number = number  # which of several clips it is
        self.source = source
        self.config = config
        self._side = model.image_size
        self.objects = [
            TrackedObject(object_id, of_object, MemoryBank(config.rules(model)))
            for object_id, of_object in prompts.items()
        ]
        self.prompted = sorted({frame for o in self.objects for frame in o.prompts})
        self._refuse_the_past(direction)
        self._direction: Direction = direction
        self._passes = plan_passes(direction, self.prompted, source.length())
        self._visits = self._walk()
        self.error: FrameSourceError | None = None  # what broke the clip off
        self.lost: tuple[LostPrompt, ...] = ()  # nobody looks at them
        self._error_ahead: FrameSourceError | None = None  # of the first of these
        self.ahead: deque[tuple[Visit, ImageEmbedding | None]] = deque()
        self.reach = source.reach()

    def _refuse_the_past(self, direction: Direction) -> None:
        if direction not in DIRECTIONS:
            raise PromptError(f"direction={direction!r}: write one of {', '.join(DIRECTIONS)}.")
        if self.source.rereadable:
            return
        assert isinstance(self.source, PictureIterator)
        way_out = "give a list, a folder or a video file instead."
        if direction != "forward":
            raise PromptError(
                f"direction={direction!r} needs frames twice, and {self.source.name} gives them "
                f"once: {way_out}"
            )
        if self.prompted[0] < self.source.position:
            raise PromptError(
                f"A prompt is on frame {self.prompted[0]}, and {self.source.name} stands at frame "
                f"{self.source.position}: {way_out}"
            )

    # --- frames

    def _walk(self) -> Iterator[tuple[Visit, SizedPicture]]:
        for one in self._passes:
            yield from self._go_through(one)
        self.error = self.error or self._error_ahead  # a pass knows better where it broke off

    def _go_through(self, one: Pass) -> Iterator[tuple[Visit, SizedPicture]]:
        """A pass as far as it can be read; where it breaks off, the next one still comes."""
        frame = -1
        try:
            for frame, picture in zip(one.frames, self.source.read(one.frames), strict=False):
                shown = not (one.hides_first and frame == one.frames.start)
                yield Visit(frame, one.backward, shown), self._fitting(frame, picture)
            self._refuse_unreached(frame)
            if not one.backward:
                self.source.refuse_loss()
        except FrameSourceError as error:
            self.error = self.error or error

    def look_at(self, frame: int) -> SizedPicture:
        """The picture of one frame, whatever the passes have come to."""
        return self._fitting(frame, self.source.read_one(frame))

    def _fitting(self, frame: int, picture: SizedPicture) -> SizedPicture:
        with naming(f"{self.source.name}: frame {frame}"):
            refuse_other_side(picture, self._side)
        return picture

    def _refuse_unreached(self, last: int) -> None:
        missed = [f for o in self.objects for f in o.prompts if f not in o.answers and f > last]
        if missed:
            length = self.source.length()
            last = last if length is None else length - 1
            raise FrameSourceError(
                f"{self.source.name} ended after frame {last}: the prompt on frame {min(missed)} "
                "was never reached."
            )

    def fetch(self, count: int) -> list[tuple[Visit, SizedPicture | None]]:
        """The next visits, with the picture where it will be looked at; none at the end."""
        fetched: list[tuple[Visit, SizedPicture | None]] = []
        for visit, picture in self._visits:
            fetched.append((visit, picture if self._is_looked_at(visit.frame) else None))
            if len(fetched) == count:
                break
        return fetched

    def lose_from(self, frame: int, error: FrameSourceError) -> None:
        """End the clip before a prompted frame that cannot be read; nothing was visited yet.

        What is prompted before it is tracked up to there, and nothing if that is nothing.
        """
        self._error_ahead = error
        late = [LostPrompt(o.object_id, f) for o in self.objects for f in o.prompts if f >= frame]
        self.lost = tuple(sorted(late, key=attrgetter("frame")))
        for tracked in self.objects:
            tracked.prompts = {f: prompt for f, prompt in tracked.prompts.items() if f < frame}
        self.objects = [tracked for tracked in self.objects if tracked.prompts]
        self.prompted = [f for f in self.prompted if f < frame]
        self._passes = plan_passes(self._direction, self.prompted, frame) if self.prompted else []

    def _is_looked_at(self, frame: int) -> bool:
        return any(frame not in o.answers for o in self.objects)

    # --- objects

    def unanswered(self, frame: int) -> list[TrackedObject]:
        """Objects whose prompt on this frame was not answered yet."""
        return [o for o in self.objects if frame in o.prompts and frame not in o.answers]

    def accept_answers(
        self, frame: int, objects: Sequence[TrackedObject], result: StepResult
    ) -> None:
        """Keep the answers to prompts; their frames are remembered for good."""
        for row, tracked in enumerate(objects):
            # Clones: a row of a batch would keep the whole batch alive.
            tracked.answers[frame] = result.shown.rows(slice(row, row + 1)).clone()
            features = result.memory.features_NPC[row].clone()
            tracked.bank.remember_prompted(frame, features, result.memory.pointer_NC[row].clone())
            place = list(tracked.prompts).index
            tracked.bank.prompted.sort(key=place)  # as prompted, not as answered

    def recalls(self, visit: Visit, source: int) -> list[Recall]:
        """What the objects that follow memory on this frame recall."""
        return [
            Recall(
                source,
                o.bank,
                o.bank.recollect(visit.frame, backward=visit.backward, reach=self.reach),
                self.reach,
            )
            for o in self._followers(visit.frame)
        ]

    def _followers(self, frame: int) -> list[TrackedObject]:
        return [o for o in self.objects if frame not in o.answers and o.bank.prompted]

    def accept_step(self, visit: Visit, result: StepResult | None, first_row: int) -> TrackedFrame:
        """Remember what was tracked, forget what is out of reach, and show the frame."""
        shown: dict[int, ObjectPrediction] = {}
        for row, tracked in enumerate(self._followers(visit.frame), first_row):
            assert result is not None
            memory = result.memory
            tracked.bank.remember(visit.frame, memory.features_NPC[row], memory.pointer_NC[row])
            shown[tracked.object_id] = result.shown.rows(slice(row, row + 1))
        self._forget(visit)
        return self._show(visit.frame, shown)

    def _forget(self, visit: Visit) -> None:
        next_frame = visit.frame + (-1 if visit.backward else 1)
        turns = self._direction == "both" and not visit.backward
        turning_point = self.prompted[0] if turns else None
        for tracked in self.objects:
            tracked.bank.keep_only(next_frame, backward=visit.backward, turning_point=turning_point)

    def _show(self, frame: int, tracked: dict[int, ObjectPrediction]) -> TrackedFrame:
        rows = [
            o.answers[frame] if frame in o.answers else tracked.get(o.object_id)
            for o in self.objects
        ]
        known = next(row for row in rows if row is not None)
        return show_rows(
            frame,
            tuple(o.object_id for o in self.objects),
            [absent_like(known) if row is None else row for row in rows],
            self.source.size_hw(),
            non_overlapping=self.config.non_overlap_masks,
        )


@torch.inference_mode(mode=False)  # what is handed out may be changed and learned from
def show_rows(
    frame: int,
    object_ids: tuple[int, ...],
    rows: Sequence[ObjectPrediction],
    size_hw: tuple[int, int],
    *,
    non_overlapping: bool,
) -> TrackedFrame:
    """Put predictions of single objects side by side."""
    return TrackedFrame(
        frame,
        object_ids,
        torch.cat([row.logits_Nhw for row in rows]),
        torch.cat([row.object_score_N for row in rows]).float().cpu(),
        torch.cat([row.predicted_iou_N for row in rows]).float().cpu(),
        size_hw,
        non_overlapping,
    )


def absent_like(row: ObjectPrediction) -> ObjectPrediction:
    """The row of an object of which nothing is known yet."""

    def filled(x: Tensor, value: float) -> Tensor:
        return torch.full_like(x, value)

    return ObjectPrediction(
        filled(row.logits_Nhw, ABSENT_LOGIT),
        filled(row.predicted_iou_N, 0.0),
        filled(row.object_score_N, ABSENT_LOGIT),
        filled(row.pointer_NC, 0.0),
    )
