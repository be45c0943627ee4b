"""Mode `auto_track`: objects that nobody pointed at are found on key frames and followed.

Each object remembers the frame that it was found on and a ring of recent ones, so that neither the
length of a clip nor the number of objects it ever had matters. The steps are those of the core.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from ops import RunLengths, concatenate_runs
from sam2_core import (
    FramePrompt,
    FrameSourceError,
    Mask,
    MaskGenerator,
    Prompt,
    Sam2,
    TrackedFrame,
    TrackingConfig,
)
from sam2_core.inference.clip_track import show_rows
from sam2_core.inference.frame_prompts import check_frame_prompt
from sam2_core.inference.memory_bank import MemoryBank
from sam2_core.inference.object_steps import (
    Bank,
    Recall,
    answer_prompts,
    follow_memory,
    remember_prompted,
)
from sam2_core.inference.preprocess import SizedPicture, frames_to_pixels, size_hw_of

from ..records import MASK_SCHEMA
from ..sinks.result_files import MASKS
from ..stages.faults import is_sticky
from .clips import ClipOver, FrameChoice, FrameRows, OpenClip, loss_of, take
from .discovery import DiscoveryRules, choose_new
from .mask_rows import rows_of_tracked

if TYPE_CHECKING:
    from sam2_core.data import ImageEmbedding, ObjectPrediction

_DEVICE_BATCH = 8  # frames encoded at once on an accelerator; a CPU gains nothing from batches
_ADOPTED_AT_ONCE = 8  # masks of whole frames that are pixels at a time

Embed = Callable[[], "ImageEmbedding"]


@dataclass(slots=True, eq=False)
class _Followed:
    """One object that is being followed."""

    object_id: int
    bank: Bank
    absent_frames: int = 0  # since it was last seen


@dataclass(slots=True, eq=False)
class _Scene:
    """Who is in a clip at the moment."""

    reach: int
    objects: list[_Followed] = field(default_factory=list)
    next_id: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class DiscoverObjects:
    """Finds objects and follows them; one clip after the other, all objects of it as one batch."""

    model: Sam2
    generator: MaskGenerator
    config: TrackingConfig
    rules: DiscoveryRules
    folder: str = MASKS
    choice: FrameChoice = "sampled"

    def label(self, clips: Iterator[OpenClip], lanes: int) -> Iterator[FrameRows | ClipOver]:  # noqa: ARG002 objects fill the batches
        """Rows frame by frame; an object's number is its own within a clip."""
        for clip in clips:
            try:
                error = yield from self._go_through(clip)
            except Exception as fault:
                if is_sticky(fault):
                    raise
                error = fault
            yield ClipOver(clip, error)

    def _go_through(self, clip: OpenClip) -> Generator[FrameRows, None, FrameSourceError | None]:
        """Follow a clip to its end; returns what ended it early."""
        scene = _Scene(clip.frames.reach())
        reading = clip.frames.read(range(len(clip.sample.numbers)))
        batch = 1 if self.model.device.type == "cpu" else _DEVICE_BATCH
        position = 0
        while True:
            pictures, error = take(reading, batch)
            embed_at = self._embedder(pictures)
            for place, picture in enumerate(pictures):
                seen = self._step(scene, position, picture, partial(embed_at, place))
                yield FrameRows(clip, self._rows(scene, clip, position, seen))
                position += 1
            if error is not None or len(pictures) < batch:
                return error or loss_of(clip)

    def _embedder(self, pictures: Sequence[SizedPicture]) -> Callable[[int], ImageEmbedding]:
        """Encodes some frames together when the first of them is needed: not all are."""
        encoded: list[ImageEmbedding] = []

        def embed_at(place: int) -> ImageEmbedding:
            if not encoded:
                size, device = self.model.config.image_size, self.model.device
                encoded.append(self.model.embed_images(frames_to_pixels(pictures, size, device)))
            return encoded[0].rows(slice(place, place + 1))

        return embed_at

    def _rows(
        self, scene: _Scene, clip: OpenClip, position: int, frame: TrackedFrame | None
    ) -> pa.Table:
        """Rows of those who are seen; those who were not for long are let go."""
        if frame is None:
            return MASK_SCHEMA.empty_table()
        rows = rows_of_tracked(clip.place(position), frame)
        seen = set(rows["object_id"].to_pylist())
        for followed in scene.objects:
            absent = 0 if followed.object_id in seen else followed.absent_frames + 1
            followed.absent_frames = absent
        scene.objects = [o for o in scene.objects if not self.rules.is_gone(o.absent_frames)]
        return rows

    @torch.inference_mode()
    def _step(
        self, scene: _Scene, position: int, picture: SizedPicture, embed: Embed
    ) -> TrackedFrame | None:
        """Follow everybody into the next frame, and on a key frame welcome who is new."""
        parts: list[ObjectPrediction] = []
        if scene.objects:
            parts.append(self._follow(scene, position, embed()))
        if self.rules.is_key(position) and len(scene.objects) < self.rules.max_objects:
            tracked = self._show(scene, position, parts, picture)
            found = self._find_new(picture, tracked, self.rules.max_objects - len(scene.objects))
            for start in range(0, len(found), _ADOPTED_AT_ONCE):
                masks = found[start : start + _ADOPTED_AT_ONCE]
                parts.append(self._adopt(scene, position, picture, embed(), masks))
        return self._show(scene, position, parts, picture)

    def _follow(self, scene: _Scene, position: int, embedding: ImageEmbedding) -> ObjectPrediction:
        recalls = [
            Recall(
                0,
                followed.bank,
                followed.bank.recollect(position, backward=False, reach=scene.reach),
                scene.reach,
            )
            for followed in scene.objects
        ]
        result = follow_memory(self.model, embedding, recalls, self.config)
        for row, followed in enumerate(scene.objects):
            features, pointer = result.memory.features_NPC[row], result.memory.pointer_NC[row]
            followed.bank.remember(position, features, pointer)
            followed.bank.keep_only(position + 1, backward=False)
        return result.shown

    def _find_new(
        self, picture: SizedPicture, tracked: TrackedFrame | None, room: int
    ) -> list[Mask]:
        """Masks of a key frame that belong to nobody yet, best first."""
        (masks,) = self.generator.generate([picture])
        if not masks:
            return []
        found = concatenate_runs([mask.run_lengths() for mask in masks])
        known = _no_runs_like(found) if tracked is None else tracked.run_lengths().to("cpu")
        scores = [mask.predicted_iou for mask in masks]
        below = self.rules.new_below_iou
        return [masks[n] for n in choose_new(found, scores, known, below_iou=below, room=room)]

    def _adopt(
        self,
        scene: _Scene,
        position: int,
        picture: SizedPicture,
        embedding: ImageEmbedding,
        masks: Sequence[Mask],
    ) -> ObjectPrediction:
        """Make objects of masks, as if somebody had prompted with them."""
        size_hw, model = size_hw_of(picture), self.model.config
        ids = range(scene.next_id, scene.next_id + len(masks))
        prompts = [
            check_frame_prompt(
                FramePrompt(position, object_id, Prompt(mask=mask.decode())), size_hw, model
            )
            for object_id, mask in zip(ids, masks, strict=True)
        ]
        shown = answer_prompts(self.model, embedding, prompts, self.config)
        memory = remember_prompted(self.model, embedding, shown, self.config)
        for row, object_id in enumerate(ids):
            bank: Bank = MemoryBank(self.config.rules(model))
            # Clones: they are kept for good, and a row would keep its batch alive.
            features, pointer = memory.features_NPC[row].clone(), memory.pointer_NC[row].clone()
            bank.remember_prompted(position, features, pointer)
            scene.objects.append(_Followed(object_id, bank))
        scene.next_id = ids.stop
        scores = [mask.predicted_iou for mask in masks]  # else 1, as of any mask that was given
        return replace(shown, predicted_iou_N=shown.predicted_iou_N.new_tensor(scores))

    def _show(
        self,
        scene: _Scene,
        position: int,
        parts: Sequence[ObjectPrediction],
        picture: SizedPicture,
    ) -> TrackedFrame | None:
        if not parts:
            return None
        return show_rows(
            position,
            tuple(followed.object_id for followed in scene.objects),
            parts,
            size_hw_of(picture),
            non_overlapping=self.config.non_overlap_masks,
        )


def _no_runs_like(runs: RunLengths) -> RunLengths:
    return RunLengths(runs.height, runs.width, runs.counts[:0], runs.offsets[:1])
