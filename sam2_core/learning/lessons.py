"""Batches to learn from, and one forward pass over each kind: pictures, clips and classes.

A `Lesson` is what is done with a batch; a `Learner` is a model that takes one, as a module, so that
whatever wraps modules (DDP) can wrap it. Pixels are uint8 until they are on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import LOW_RES_STRIDE
from ..data import ImageEmbedding
from ..inference.preprocess import normalise
from ..network.class_head import UNKNOWN, ClassHead
from ..network.sam2 import Sam2
from .classes import ClassLossConfig, class_iou, class_losses, confusion
from .clips import ClipInteraction, Clips, drawn_plan, follow
from .dense import AffinityHead, DenseLosses, dense_losses
from .losses import LossConfig, Losses, true_iou
from .pictures import Answers, Interaction, enlarged, interact, total

HALF_COVERED = 128  # of a pixel: from there on it belongs to a mask


@dataclass(frozen=True, slots=True, eq=False)
class PictureBatch:
    """Pictures, which thing each pixel shows where that is known, and what is asked for."""

    pixels_BSS3: Tensor  # uint8
    ids_Bhw: Tensor  # 0: the ground, or nobody knows
    cover_Nhw: Tensor  # uint8: how much of each pixel a target covers, of 255
    source_index_N: Tensor  # the picture of each target

    @property
    def count(self) -> int:
        """How much there is to be found: what losses are divided by."""
        return len(self.cover_Nhw)

    @property
    def targets(self) -> Tensor:
        """As masks, bool: what is covered by half or more."""
        return self.cover_Nhw >= HALF_COVERED

    def to(self, device: torch.device) -> PictureBatch:
        """The same, elsewhere."""
        return PictureBatch(
            self.pixels_BSS3.to(device, non_blocking=True),
            self.ids_Bhw.to(device, non_blocking=True),
            self.cover_Nhw.to(device, non_blocking=True),
            self.source_index_N.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """Clips of one length, and what is to be followed in them."""

    pixels_BTSS3: Tensor  # uint8
    cover_NThw: Tensor  # uint8, as of pictures; nothing where an object is not seen
    source_index_N: Tensor  # the clip of each object

    @property
    def count(self) -> int:
        """How much there is to be found: what losses are divided by."""
        return len(self.cover_NThw)

    @property
    def targets(self) -> Tensor:
        """As masks, bool: what is covered by half or more."""
        return self.cover_NThw >= HALF_COVERED

    def to(self, device: torch.device) -> ClipBatch:
        """The same, elsewhere."""
        return ClipBatch(
            self.pixels_BTSS3.to(device, non_blocking=True),
            self.cover_NThw.to(device, non_blocking=True),
            self.source_index_N.to(device, non_blocking=True),
        )


@dataclass(frozen=True, slots=True, eq=False)
class ClassBatch:
    """Pictures, and the class of each of their pixels."""

    pixels_BSS3: Tensor  # uint8
    classes_Bhw: Tensor  # uint8; UNKNOWN where nobody knows

    @property
    def count(self) -> int:
        """How much there is to be found: what losses are divided by."""
        return int((self.classes_Bhw != UNKNOWN).sum())

    def to(self, device: torch.device) -> ClassBatch:
        """The same, elsewhere."""
        return ClassBatch(
            self.pixels_BSS3.to(device, non_blocking=True),
            self.classes_Bhw.to(device, non_blocking=True),
        )


Batch = PictureBatch | ClipBatch | ClassBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is done with a batch, and what counts how much."""

    interaction: Interaction = field(default_factory=Interaction)
    clips: ClipInteraction = field(default_factory=ClipInteraction)
    losses: LossConfig = field(default_factory=LossConfig)
    classes: ClassLossConfig = field(default_factory=ClassLossConfig)
    prompted: bool = True  # whether prompts are answered at all
    dense_weight: float = 0.0  # of the dense losses of pictures
    dense_clicks: int = 16  # pixels a picture whose like is sought


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How a batch went."""

    loss: Tensor  # what is made smaller
    figures: Mapping[str, Tensor]  # what is watched; without gradients


class Learner(nn.Module):
    """A model that takes lessons, with heads for what is learned without prompts.

    `head` is what the encoder learns by, and is thrown away; `classes` is what is wanted.
    """

    def __init__(
        self, model: Sam2, head: AffinityHead | None = None, classes: ClassHead | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.classes = classes

    def forward(
        self,
        batch: Batch,
        lesson: Lesson,
        objects: float,
        generator: torch.Generator,
    ) -> Outcome:
        """Answer a batch; `objects` is what losses are divided by."""
        if isinstance(batch, ClassBatch):
            return self._classes(batch, lesson, objects)
        if isinstance(batch, ClipBatch):
            return self._clips(batch, lesson, objects, generator)
        return self._pictures(batch, lesson, objects, generator)

    def _pictures(
        self, batch: PictureBatch, lesson: Lesson, objects: float, generator: torch.Generator
    ) -> Outcome:
        embedding = self.model.embed_images(_model_pixels(batch.pixels_BSS3))
        parts: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        if lesson.dense_weight:
            dense = self._dense(embedding, batch.ids_Bhw, lesson, generator)
            parts.append(lesson.dense_weight * dense.total())
            figures |= {"affinity": dense.affinity, "edges": dense.edges, "alike_iou": dense.iou}
        if lesson.prompted and batch.count:
            targets, source = batch.targets, batch.source_index_N
            answers = interact(
                self.model, embedding, targets, source, lesson.interaction, generator
            )
            losses = answers.losses(_shares(batch.cover_Nhw), lesson.losses, objects)
            parts.append(losses.total(lesson.losses))
            figures |= _figures(losses)
            figures["first_iou"] = _iou(answers, 0, targets)
            figures["last_iou"] = _iou(answers, -1, targets)
        return _outcome(parts, figures, self.model)

    def _dense(
        self,
        embedding: ImageEmbedding,
        ids_Bhw: Tensor,
        lesson: Lesson,
        generator: torch.Generator,
    ) -> DenseLosses:
        assert self.head is not None, "dense losses need a head"
        side = self.model.config.image_size // LOW_RES_STRIDE
        ids = F.interpolate(ids_Bhw[:, None].float(), (side, side), mode="nearest-exact")[:, 0]
        return dense_losses(self.head, embedding, ids.long(), lesson.dense_clicks, generator)

    def _classes(self, batch: ClassBatch, lesson: Lesson, pixels: float) -> Outcome:
        """Name what pixels show; an encoder that is frozen keeps nothing to learn from."""
        assert self.classes is not None, "classes need a head"
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder_learns):
            embedding = self.model.embed_images(_model_pixels(batch.pixels_BSS3))
        logits, truths = self.classes(embedding), batch.classes_Bhw
        names = self.classes.config.classes
        losses = class_losses(logits, truths, names, lesson.classes, pixels)
        answers = enlarged(logits.detach(), truths.shape[-1]).argmax(1)
        figures = {"cross_entropy": losses.cross_entropy}
        if lesson.classes.dice:
            figures["dice"] = losses.dice
        figures["class_iou"] = class_iou(confusion(answers, truths, len(names))).nanmean()
        total = losses.total(lesson.classes)
        return Outcome(total, {name: figure.detach() for name, figure in figures.items()})

    @property
    def encoder_learns(self) -> bool:
        """Whether any weight that embeds pictures does."""
        parts = (self.model.encoder, self.model.pyramid)
        return any(weight.requires_grad for part in parts for weight in part.parameters())

    def _clips(
        self, batch: ClipBatch, lesson: Lesson, objects: float, generator: torch.Generator
    ) -> Outcome:
        if not batch.count:
            return _outcome([], {}, self.model)
        frames = batch.pixels_BTSS3.shape[1]
        embeddings = [
            self.model.embed_images(_model_pixels(batch.pixels_BTSS3[:, frame]))
            for frame in range(frames)
        ]
        targets = list(batch.targets.unbind(1))
        clips = Clips(embeddings, targets, batch.source_index_N)
        plan = drawn_plan(lesson.clips, frames, generator)
        answers = follow(self.model, clips, plan, lesson.clips, generator)
        pairs = zip(answers, _shares(batch.cover_NThw).unbind(1), strict=True)
        losses = total([answer.losses(shares, lesson.losses, objects) for answer, shares in pairs])
        figures = _figures(losses)
        followed = [f for f in range(frames) if f not in plan.prompted]
        if followed:
            ious = [_iou(answers[f], 0, targets[f]) for f in followed]
            figures["followed_iou"] = torch.stack(ious).nanmean()
        return _outcome([losses.total(lesson.losses)], figures, self.model)


def _model_pixels(pixels_BSS3: Tensor) -> Tensor:
    return normalise(pixels_BSS3.permute(0, 3, 1, 2).float().div(255))


def _shares(cover: Tensor) -> Tensor:
    return cover.float().div(255)


def _figures(losses: Losses) -> dict[str, Tensor]:
    return {
        "focal": losses.focal,
        "dice": losses.dice,
        "iou": losses.iou,
        "presence": losses.presence,
    }


@torch.no_grad()
def _iou(answers: Answers, number: int, targets_Nhw: Tensor) -> Tensor:
    """Mean IoU of what is chosen of one answer, over what is there to be found."""
    answer = answers.steps[number]
    best = answer.predicted_iou_NM.argmax(1)
    rows = torch.arange(len(best), device=best.device)
    logits = enlarged(answer.logits_NMhw[rows, best][:, None], targets_Nhw.shape[-1])[:, 0]
    ious = true_iou((logits > 0).flatten(1), targets_Nhw.flatten(1))
    return torch.where(targets_Nhw.flatten(1).any(1), ious, torch.nan).nanmean()


def _outcome(parts: list[Tensor], figures: dict[str, Tensor], model: Sam2) -> Outcome:
    """The sum; it teaches nothing where nothing is to be found, or all was given as masks."""
    nothing = next(w for w in model.parameters() if w.requires_grad).sum() * 0
    loss = torch.stack(parts).sum() if parts else nothing
    if not loss.requires_grad:
        loss = loss + nothing
    return Outcome(loss, {name: figure.detach() for name, figure in figures.items()})
