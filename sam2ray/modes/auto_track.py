"""Mode `auto_track`: objects that nobody pointed at are found on key frames and followed.

Several clips advance side by side, and all objects of a step are one batch. Each object remembers
the frame that it was found on and a ring of recent ones, so that neither the length of a clip nor
the number of objects it ever had matters. The steps are those of the core.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from ops import RunLengths, decode_run_lengths
from sam2_core import (
    FramePrompt,
    FrameSourceError,
    MaskGenerator,
    Prompt,
    Sam2,
    TrackedFrame,
    TrackingConfig,
)
from sam2_core.data import concatenate_embeddings
from sam2_core.inference.automask import FoundMasks
from sam2_core.inference.clip_track import show_rows
from sam2_core.inference.frame_prompts import check_frame_prompt
from sam2_core.inference.object_steps import (
    Recall,
    answer_prompts,
    follow_memory,
    remember_prompted,
)
from sam2_core.inference.preprocess import SizedPicture, frames_to_pixels, size_hw_of

from ..records import MASK_SCHEMA
from ..sinks.result_files import MASKS
from ..stages.faults import is_out_of_memory, is_sticky
from .clips import ClipOver, FrameChoice, FrameRows, OpenClip, loss_of, take
from .discovery import DiscoveryRules, choose_new
from .mask_rows import seen_on
from .pictures import ToRows
from .scene import Scene

if TYPE_CHECKING:
    from sam2_core.data import ImageEmbedding, ObjectPrediction

_DEVICE_BATCH = 8  # frames encoded at once on an accelerator; a CPU gains nothing from batches
_ADOPTED_AT_ONCE = 8  # masks of whole frames that are pixels at a time


@dataclass(slots=True, eq=False)
class _Lane:
    """A clip on its way: who is in it, and its next frames."""

    clip: OpenClip
    reading: Iterator[SizedPicture]
    scene: Scene
    position: int = 0
    pictures: deque[SizedPicture] = field(default_factory=deque)
    embeddings: deque[ImageEmbedding] = field(default_factory=deque)  # none yet, or of all pictures
    has_ended: bool = False
    error: FrameSourceError | None = None

    def read_ahead(self, count: int) -> None:
        """Have at least one picture, unless the clip is over."""
        if self.pictures or self.has_ended:
            return
        taken, self.error = take(self.reading, count)
        self.pictures.extend(taken)
        self.has_ended = self.error is not None or len(taken) < count

    def go_on(self) -> None:
        """Leave the frame that was at hand."""
        self.pictures.popleft()
        if self.embeddings:
            self.embeddings.popleft()
        self.position += 1


@dataclass(frozen=True, slots=True, eq=False)
class DiscoverObjects:
    """Finds objects and follows them."""

    model: Sam2
    generator: MaskGenerator
    config: TrackingConfig
    rules: DiscoveryRules
    folder: str = MASKS
    choice: FrameChoice = "sampled"

    def label(self, clips: Iterator[OpenClip], lanes: int) -> Iterator[FrameRows | ClipOver]:
        """Rows frame by frame; an object's number is its own within a clip."""
        running: list[_Lane] = []
        ahead = 1 if self.model.device.type == "cpu" else max(1, _DEVICE_BATCH // lanes)
        while True:
            while len(running) < lanes and (clip := next(clips, None)) is not None:
                running.append(self._enter(clip))
            if not running:
                return
            for lane in running:
                lane.read_ahead(ahead)
            over = [lane for lane in running if not lane.pictures]
            if over:
                yield from map(_end_of, over)
                running = [lane for lane in running if lane.pictures]
                continue  # free lanes take the next clips first
            for lane, found in zip(tuple(running), self._step(running), strict=True):
                if isinstance(found, Exception):
                    running.remove(lane)
                    yield ClipOver(lane.clip, found)
                else:
                    yield FrameRows(lane.clip, found)

    def _enter(self, clip: OpenClip) -> _Lane:
        frames = clip.frames.read(range(len(clip.sample.numbers)))
        scene = Scene(clip.frames.reach(), self.config.rules(self.model.config))
        return _Lane(clip, frames, scene)

    # --- a step of all clips

    @torch.inference_mode()
    def _step(self, lanes: Sequence[_Lane]) -> list[ToRows | Exception]:
        """Advance every clip by a frame; what goes wrong in one is its own.

        But not a lack of memory while others hold some: that is raised, and fewer clips may do.
        """
        busy = [lane for lane in lanes if lane.scene.objects]
        followed = dict(zip(map(id, busy), self._follow(busy), strict=True)) if busy else {}
        ends = [self._finish(lane, followed.get(id(lane), [])) for lane in lanes]
        faults = [end for end in ends if isinstance(end, Exception) and is_out_of_memory(end)]
        if faults and len(lanes) > 1:
            raise faults[0]
        return ends

    def _follow(self, lanes: Sequence[_Lane]) -> list[list[ObjectPrediction] | Exception]:
        """Follow all objects of all clips together, or by halves down to who is to blame."""
        try:
            return [[rows] for rows in self._follow_together(lanes)]
        except Exception as fault:
            if is_sticky(fault):
                raise
            if len(lanes) == 1:
                return [fault]
            if isinstance(fault, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
        half = len(lanes) // 2
        return [*self._follow(lanes[:half]), *self._follow(lanes[half:])]

    def _follow_together(self, lanes: Sequence[_Lane]) -> list[ObjectPrediction]:
        self._embed(lanes)
        recalls: list[Recall] = []
        firsts = []
        for source, lane in enumerate(lanes):
            firsts.append(len(recalls))
            recalls += lane.scene.recalls(lane.position, source)
        embedding = concatenate_embeddings([lane.embeddings[0] for lane in lanes])
        result = follow_memory(self.model, embedding, recalls, self.config)
        for lane, first in zip(lanes, firsts, strict=True):
            lane.scene.remember(lane.position, result.memory, first)
        ends = [*firsts[1:], len(recalls)]
        return [result.shown.rows(slice(*ends_of)) for ends_of in zip(firsts, ends, strict=True)]

    def _embed(self, lanes: Sequence[_Lane]) -> None:
        """Encode the frames at hand of clips that need it, as one batch: not all clips do."""
        waiting = [lane for lane in lanes if not lane.embeddings]
        pictures = [picture for lane in waiting for picture in lane.pictures]
        if not pictures:
            return
        size, device = self.model.config.image_size, self.model.device
        embedding = self.model.embed_images(frames_to_pixels(pictures, size, device))
        rows = iter(range(len(pictures)))
        for lane in waiting:
            for row in (next(rows) for _ in lane.pictures):
                lane.embeddings.append(embedding.rows(slice(row, row + 1)))

    # --- a step of one clip

    def _finish(
        self, lane: _Lane, followed: list[ObjectPrediction] | Exception
    ) -> ToRows | Exception:
        """Welcome who is new on a key frame, and write down who is seen."""
        if isinstance(followed, Exception):
            return followed
        try:
            frame = self._with_new(lane, followed)
        except Exception as fault:
            if is_sticky(fault):
                raise
            return fault
        seen = self._seen(lane, frame)
        lane.go_on()
        return seen

    def _with_new(self, lane: _Lane, parts: list[ObjectPrediction]) -> TrackedFrame | None:
        room = self.rules.max_objects - len(lane.scene.objects)
        if self.rules.is_key(lane.position) and room > 0:
            new = self._find_new(lane.pictures[0], _show(lane, parts, self.config), room)
            for start in range(0, len(new), _ADOPTED_AT_ONCE):
                few = torch.arange(len(new))[start : start + _ADOPTED_AT_ONCE]
                parts = [*parts, self._adopt(lane, new.rows(few))]
        return _show(lane, parts, self.config)

    def _seen(self, lane: _Lane, frame: TrackedFrame | None) -> ToRows:
        """Those who are seen; those who were not for long are let go."""
        if frame is None:
            return MASK_SCHEMA.empty_table
        seen = seen_on(frame)
        lane.scene.let_go(set(seen.object_ids), self.rules.is_gone)
        return partial(seen.rows, lane.clip.place(lane.position))

    def _find_new(
        self, picture: SizedPicture, tracked: TrackedFrame | None, room: int
    ) -> FoundMasks:
        """Masks of a key frame that belong to nobody yet, best first."""
        (found,) = self.generator.find([picture])
        runs = found.runs
        known = _no_runs_like(runs) if tracked is None else tracked.run_lengths().to("cpu")
        scores, below = found.predicted_iou_N.tolist(), self.rules.new_below_iou
        chosen = choose_new(runs, scores, known, below_iou=below, room=room)
        return found.rows(torch.tensor(chosen, dtype=torch.long))

    def _adopt(self, lane: _Lane, masks: FoundMasks) -> ObjectPrediction:
        """Make objects of masks, as if somebody had prompted with them."""
        self._embed([lane])
        embedding = lane.embeddings[0]
        size_hw, model = size_hw_of(lane.pictures[0]), self.model.config
        ids = lane.scene.new_ids(len(masks))
        prompts = [
            check_frame_prompt(
                FramePrompt(lane.position, object_id, Prompt(mask=mask)), size_hw, model
            )
            for object_id, mask in zip(ids, decode_run_lengths(masks.runs).numpy(), strict=True)
        ]
        shown = answer_prompts(self.model, embedding, prompts, self.config)
        memory = remember_prompted(self.model, embedding, shown, self.config)
        for row, object_id in enumerate(ids):
            lane.scene.welcome(object_id, lane.position, memory, row)
        scores = masks.predicted_iou_N.to(shown.predicted_iou_N)  # else 1, as of any mask given
        return replace(shown, predicted_iou_N=scores)


def _show(
    lane: _Lane, parts: Sequence[ObjectPrediction], config: TrackingConfig
) -> TrackedFrame | None:
    if not parts:
        return None
    return show_rows(
        lane.position,
        lane.scene.ids,
        parts,
        size_hw_of(lane.pictures[0]),
        non_overlapping=config.non_overlap_masks,
    )


def _end_of(lane: _Lane) -> ClipOver:
    return ClipOver(lane.clip, lane.error or loss_of(lane.clip))


def _no_runs_like(runs: RunLengths) -> RunLengths:
    return RunLengths(runs.height, runs.width, runs.counts[:0], runs.offsets[:1])
