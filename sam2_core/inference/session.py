"""Interactive tracking: prompt, look, correct, remove, clear, reset, propagate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch

from ..config import LOGIT_CLAMP
from ..data import FramePrompt, ImageEmbedding, ObjectPrediction
from ..errors import FrameSourceError, PromptError
from ..network.sam2 import Sam2
from .clip_track import Pass, absent_like, plan_passes, show_rows
from .frame_prompts import check_frame_prompts, check_object_id, whole_number
from .frame_sources import FrameSource, PictureIterator
from .memory_bank import MemoryBank, recollect
from .object_steps import (
    Recall,
    answer_prompts,
    follow_memory,
    gather_memories,
    remember_prompted,
)
from .preprocess import SizedPicture, frames_to_pixels
from .prompts import CheckedPrompt
from .session_object import PendingAnswer, SessionObject
from .tracked_frame import TrackedFrame
from .tracking_config import DIRECTIONS, Direction, TrackingConfig


@dataclass(frozen=True, slots=True, eq=False)
class _Embedded:
    frame: int
    embedding: ImageEmbedding


class TrackingSession:
    """A clip that is prompted and corrected step by step.

    Every frame's memory is kept on the host: at 1024 px half a MiB a frame and object, and a
    quarter for its logits. `TrackingConfig.history_frames` bounds it; a correction that needs a
    frame that was dropped tracks up to it again.
    """

    def __init__(self, model: Sam2, source: FrameSource, config: TrackingConfig) -> None:
        self.model = model
        self.source = source
        self.config = config
        self._objects: dict[int, SessionObject] = {}
        self._current: _Embedded | None = None
        self._changes = 0  # by users; tracking changes what is remembered, not what is asked

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects in the order of their first prompt."""
        return tuple(self._objects)

    # --- what a user does

    def prompt(self, item: FramePrompt) -> TrackedFrame:
        """Answer a prompt; it replaces what the object was prompted with on that frame."""
        return self._ask(*self._check(item))

    def correct(self, item: FramePrompt) -> TrackedFrame:
        """Add points to those that the object has on a frame."""
        item, checked = self._check(item)
        if checked.mask_HW is not None or item.prompt.box is not None:
            raise PromptError(
                f"Object {item.object_id}, frame {item.frame}: a correction adds points; a box or "
                "a mask starts over: use prompt()."
            )
        earlier = self._known(item.object_id).prompts.get(item.frame)
        if earlier is not None and earlier.mask_HW is None:
            checked = replace(
                checked,
                coords_T2=torch.cat([earlier.coords_T2, checked.coords_T2]),
                labels_T=torch.cat([earlier.labels_T, checked.labels_T]),
            )
        return self._ask(item, checked)

    def clear(self, frame: int, object_id: int) -> TrackedFrame:
        """Take back what an object was prompted with on a frame."""
        tracked = self._known(object_id)
        frame = self._check_index(frame, "frame")
        self._changes += 1
        tracked.prompts.pop(frame, None)
        tracked.pending.pop(frame, None)
        if frame in tracked.bank.prompted:
            tracked.bank.demote(frame)
            tracked.went_backward.pop(frame, None)
        return self._show(frame)

    def remove(self, object_id: int) -> None:
        """Forget an object; the others stay as they are."""
        del self._objects[self._known(object_id).object_id]
        self._changes += 1

    def reset(self) -> None:
        """Forget all objects."""
        self._objects.clear()
        self._changes += 1

    def propagate(
        self,
        direction: Direction = "forward",
        *,
        start: int | None = None,
        max_frames: int | None = None,
    ) -> Iterator[TrackedFrame]:
        """Track all objects, from the first prompted frame, or backward from the last one.

        A clip that breaks off is a FrameSourceError behind the last frame that can be tracked. Once
        the session is prompted, corrected, cleared or reset, or loses an object, what is under way
        ends with a PromptError, and propagate(start=...) goes on.
        """
        count = sys.maxsize if max_frames is None else whole_number(max_frames, "max_frames")
        if count < 0:
            raise PromptError(f"max_frames={count}: it is how many frames come, at least 0.")
        self._settle()
        tracking = self._track_along(self._plan(direction, start), self._changes)
        # Not one frame more is taken than is shown: an iterator gives it once.
        return islice(tracking, min(count, sys.maxsize))

    # --- prompts

    def _check(self, item: FramePrompt) -> tuple[FramePrompt, CheckedPrompt]:
        """The prompt with plain integers, and checked."""
        ((object_id, of_object),) = check_frame_prompts(
            [item], self.source, self.model.config
        ).items()
        ((frame, checked),) = of_object.items()
        return FramePrompt(frame, object_id, item.prompt), checked

    @torch.inference_mode()
    def _ask(self, item: FramePrompt, checked: CheckedPrompt) -> TrackedFrame:
        embedding = bare = self._embedding(item.frame)
        tracked = self._objects.get(item.object_id) or self._new_object(item.object_id)
        self._changes += 1
        self._objects[item.object_id] = tracked
        tracked.prompts[item.frame] = checked
        is_first = item.frame not in tracked.went_backward
        if not is_first:
            self._restore(tracked, item.frame)
        if checked.mask_HW is None and not is_first:
            embedding = self._condition(tracked, item.frame, embedding)
        earlier = tracked.last_seen(item.frame)
        previous = earlier.logits_Nhw.clamp(-LOGIT_CLAMP, LOGIT_CLAMP) if earlier else None
        answer = answer_prompts(self.model, embedding, [checked], self.config, previous)
        conditions = is_first or self.config.add_all_frames_to_correct_as_cond
        memory = remember_prompted(self.model, bare, answer, self.config)
        tracked.pending[item.frame] = PendingAnswer(
            answer.cpu(), memory.features_NPC[0].cpu(), memory.pointer_NC[0].cpu(), conditions
        )
        return self._show(item.frame)

    def _new_object(self, object_id: int) -> SessionObject:
        return SessionObject(object_id, MemoryBank(self.config.rules(self.model.config)))

    def _condition(
        self, tracked: SessionObject, frame: int, embedding: ImageEmbedding
    ) -> ImageEmbedding:
        recall = self._recall(tracked, frame, tracked.went_backward[frame])
        return self.model.recall(embedding, gather_memories([recall], self.model.device))

    def _recall(self, tracked: SessionObject, frame: int, backward: bool) -> Recall:
        reach = self.source.reach()
        recollection = tracked.bank.recollect(frame, backward=backward, reach=reach)
        return Recall(0, tracked.bank, recollection, reach)

    def _known(self, object_id: int) -> SessionObject:
        object_id = check_object_id(object_id)
        if object_id not in self._objects:
            known = ", ".join(map(str, self._objects)) or "none"
            raise PromptError(f"No object {object_id} in this session; objects: {known}.")
        return self._objects[object_id]

    # --- propagation

    @torch.inference_mode()
    def _settle(self) -> None:
        """Remember what users settled on, before anything is tracked."""
        if not self._objects:
            raise PromptError("There is nothing to propagate: prompt an object first.")
        for tracked in self._objects.values():
            for conditions in (False, True):
                for frame in [f for f, p in tracked.pending.items() if p.conditions == conditions]:
                    self._remember_pending(tracked, frame, tracked.pending.pop(frame))
            if not tracked.bank.prompted:
                raise PromptError(
                    f"Object {tracked.object_id} has no prompt left: prompt it, or remove it."
                )

    def _remember_pending(self, tracked: SessionObject, frame: int, pending: PendingAnswer) -> None:
        remember = tracked.bank.remember
        if pending.conditions:
            remember = tracked.bank.remember_prompted
        remember(frame, pending.features_PC, pending.pointer_C)
        tracked.shown[frame] = pending.shown
        if self.config.clear_non_cond_mem_around_input:
            reach = tracked.bank.rules.stride * tracked.bank.rules.max_memories
            for near in range(frame - reach, frame + reach + 1):
                tracked.bank.forget(near)

    def _plan(self, direction: Direction, start: int | None) -> list[Pass]:
        prompted = sorted({f for o in self._objects.values() for f in o.bank.prompted})
        if start is not None:
            prompted = [self._check_index(start, "start")]
        if direction not in DIRECTIONS:
            raise PromptError(f"direction={direction!r}: write one of {', '.join(DIRECTIONS)}.")
        if direction != "forward" and not self.source.rereadable:
            raise FrameSourceError(
                f"direction={direction!r} needs frames twice, and {self.source.name} gives them "
                "once: give a list, a folder or a video file instead."
            )
        passes = plan_passes(direction, prompted, self.source.length())
        self._refuse_passed(passes[0].frames.start)
        return passes

    def _check_index(self, frame: int, what: str) -> int:
        frame = whole_number(frame, what)
        length = self.source.length()
        if length is not None and frame >= length:
            self.source.refuse_loss()
        if frame < 0 or (length is not None and frame >= length):
            count = "only later ones" if length is None else f"{length} frames"
            raise PromptError(f"{what}={frame}: {self.source.name} has {count}.")
        return frame

    def _refuse_passed(self, frame: int) -> None:
        at_hand = self._current is not None and self._current.frame == frame
        source = self.source
        if isinstance(source, PictureIterator) and frame < source.position and not at_hand:
            raise FrameSourceError(
                f"{source.name} has passed frame {frame} (it stands at {source.position}): start "
                "later, or give a list, a folder or a video file instead."
            )

    def _track_along(self, passes: list[Pass], changes: int) -> Iterator[TrackedFrame]:
        breaks: list[FrameSourceError] = []
        for one in passes:
            yield from self._go_through(one, changes, breaks)
        if breaks:
            raise breaks[0]

    def _go_through(
        self, one: Pass, changes: int, breaks: list[FrameSourceError]
    ) -> Iterator[TrackedFrame]:
        """A pass as far as it can be read; where it breaks off, the next one still comes."""
        try:
            for frame, look in self._look_along(one, changes):
                found = self._track(frame, one.backward, look)
                if not (one.hides_first and frame == one.frames.start):
                    yield found
            if not one.backward:
                self.source.refuse_loss()
        except FrameSourceError as error:
            breaks.append(error)

    def _look_along(
        self, one: Pass, changes: int
    ) -> Iterator[tuple[int, Callable[[], ImageEmbedding]]]:
        """Frames of a pass, each with how to get its embedding if anybody needs it."""
        frames, wanted = one.frames, self._while_unchanged(one.frames, changes)
        if isinstance(self.source, PictureIterator) and frames.start < self.source.position:
            # The frame that was looked at last is still at hand, though the iterator has passed it.
            for first in islice(wanted, 1):
                yield first, lambda first=first: self._embedding(first)
            frames = frames[1:]
        # Asked whether to go on before a frame is read: an iterator would not give it again.
        for frame, picture in zip(wanted, self.source.read(frames), strict=False):
            yield frame, lambda frame=frame, picture=picture: self._embed(frame, picture)

    def _while_unchanged(self, frames: range, changes: int) -> Iterator[int]:
        for frame in frames:
            if self._changes != changes:
                raise PromptError(
                    f"This propagation stands before frame {frame}, and what it was to track has "
                    "been changed since it began: start another one, such as with "
                    f"propagate(start={frame})."
                )
            yield frame

    @torch.inference_mode()
    def _track(
        self, frame: int, backward: bool, look: Callable[[], ImageEmbedding]
    ) -> TrackedFrame:
        followers = [o for o in self._objects.values() if frame not in o.bank.prompted]
        if followers:
            self._follow(followers, frame, backward, look())
        for tracked in self._objects.values():
            tracked.went_backward[frame] = backward
            self._bound_history(tracked, frame, backward)
        return self._show(frame)

    def _follow(
        self, followers: list[SessionObject], frame: int, backward: bool, embedding: ImageEmbedding
    ) -> None:
        recalls = [self._recall(tracked, frame, backward) for tracked in followers]
        result = follow_memory(self.model, embedding, recalls, self.config)
        features, pointers = result.memory.features_NPC.cpu(), result.memory.pointer_NC.cpu()
        shown = result.shown.cpu()
        for row, tracked in enumerate(followers):
            # Clones: objects may be removed one by one, and a row would keep its batch alive.
            tracked.bank.remember(frame, features[row].clone(), pointers[row].clone())
            tracked.shown[frame] = shown.rows(slice(row, row + 1)).clone()

    # --- history

    def _bound_history(self, tracked: SessionObject, frame: int, backward: bool) -> None:
        """Keep the latest frames only, but never less than the ring that tracking recalls."""
        if self.config.history_frames is None:
            return
        rules = tracked.bank.rules
        ring = max(tracked.bank.memory_reach, rules.max_pointers)
        kept = set(list(tracked.bank.features)[-max(self.config.history_frames, ring) :])
        kept |= set(tracked.bank.span(frame - 1 if backward else frame + 1, ring, backward))
        for old in [f for f in tracked.bank.features if f not in kept]:
            tracked.bank.forget(old)
            if old not in tracked.bank.prompted:
                tracked.shown.pop(old, None)

    def _restore(self, tracked: SessionObject, frame: int) -> None:
        """Track again what a correction needs and history has dropped."""
        backward = tracked.went_backward[frame]
        sign = -1 if backward else 1
        start = frame
        while self._misses(tracked, start, backward):
            start -= sign
            if tracked.went_backward.get(start) != backward:
                return  # nothing earlier was ever tracked this way
        for again in range(start, frame + sign, sign):
            if again not in tracked.bank.prompted and again not in tracked.bank.features:
                self._follow([tracked], again, backward, self._embedding(again))
        if frame not in tracked.shown:
            self._follow([tracked], frame, backward, self._embedding(frame))

    def _misses(self, tracked: SessionObject, frame: int, backward: bool) -> bool:
        """Whether a frame would recall what is not at hand."""
        if frame in tracked.bank.prompted:
            return False
        bank = tracked.bank
        wanted = recollect(
            frame,
            bank.prompted,
            tracked.went_backward,
            backward=backward,
            reach=self.source.reach(),
            rules=bank.rules,
        )
        return any(seen.frame not in bank.features for seen in wanted.memories) or any(
            seen.frame not in bank.pointers for seen in wanted.pointers
        )

    # --- pictures

    def _embedding(self, frame: int) -> ImageEmbedding:
        if self._current is not None and self._current.frame == frame:
            return self._current.embedding
        return self._embed(frame, self.source.read_one(frame))

    def _embed(self, frame: int, picture: SizedPicture) -> ImageEmbedding:
        if self._current is None or self._current.frame != frame:
            size, device = self.model.config.image_size, self.model.device
            embedding = self.model.embed_images(frames_to_pixels([picture], size, device))
            self._current = _Embedded(frame, embedding)
        return self._current.embedding

    def _show(self, frame: int) -> TrackedFrame:
        rows = [tracked.last_seen(frame) for tracked in self._objects.values()]
        known = next((row for row in rows if row is not None), None)
        if known is None:
            return self._show_nothing(frame)
        return show_rows(
            frame,
            self.object_ids,
            [absent_like(known) if row is None else row for row in rows],
            self.source.size_hw(),
            non_overlapping=self.config.non_overlap_masks,
        )

    def _show_nothing(self, frame: int) -> TrackedFrame:
        side, dim = self.model.config.low_res_size, self.model.config.hidden_dim
        count = len(self._objects)
        blank = ObjectPrediction(
            torch.zeros(count, side, side),
            torch.zeros(count),
            torch.zeros(count),
            torch.zeros(count, dim),
        )
        return show_rows(
            frame,
            self.object_ids,
            [absent_like(blank)],
            self.source.size_hw(),
            non_overlapping=self.config.non_overlap_masks,
        )
