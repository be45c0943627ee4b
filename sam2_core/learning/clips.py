"""One step of learning from clips: objects are prompted on few frames and followed from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import MASK_LOGIT_BIAS, MASK_LOGIT_SCALE
from ..data import ImageEmbedding, MaskPrediction, Memories, ObjectPrediction
from ..inference.memory_bank import BankRules, MemoryBank, Recollection
from ..network.sam2 import Sam2, no_point_prompts
from .pictures import (
    Answers,
    Interaction,
    corrected,
    happens,
    interact,
    no_clicks_yet,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipInteraction:
    """How a simulated user goes about a clip; by default as when SAM 2 was trained."""

    mask_chance: float = 0.5  # that masks are given, and nothing is corrected
    most_prompted: int = 2  # frames, the first among them
    most_corrected: int = 2  # frames, those that were prompted among them
    clicks: Interaction = field(default_factory=Interaction)


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What happens on which frame."""

    by_mask: bool
    prompted: tuple[int, ...]  # in this order
    corrected: tuple[int, ...]

    def order(self, frames: int) -> list[int]:
        """Prompted frames come first: the others remember all of them."""
        return [*self.prompted, *(f for f in range(frames) if f not in self.prompted)]


def drawn_plan(how: ClipInteraction, frames: int, generator: torch.Generator) -> ClipPlan:
    """Decide what happens, for all objects of a batch alike."""
    by_mask = happens(how.mask_chance, generator)
    count = 1 + _below(min(how.most_prompted, frames), generator)
    device = generator.device
    others = (1 + torch.randperm(frames - 1, generator=generator, device=device)).tolist()
    prompted = (0, *others[: count - 1])
    if by_mask:
        return ClipPlan(by_mask, prompted, ())
    most = min(how.most_corrected, frames)
    more = _below(most - count + 1, generator) if most > count else 0
    return ClipPlan(by_mask, prompted, (*prompted, *others[count - 1 : count - 1 + more]))


def _below(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(max(1, count), (), generator=generator, device=generator.device))


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Embedded frames of clips, and what is to be found on them."""

    frames: Sequence[ImageEmbedding]  # one a moment, of all clips
    targets: Sequence[Tensor]  # bool [N, S, S] each or smaller, empty where an object is not seen
    source_index_N: Tensor  # the clip of each object

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One frame."""

    answers: Answers
    settled: ObjectPrediction  # what is remembered of it


def follow(
    model: Sam2, clips: Clips, plan: ClipPlan, how: ClipInteraction, generator: torch.Generator
) -> list[Answers]:
    """Find all objects on all frames; the answers, frame by frame."""
    rules = BankRules(
        max_memories=model.config.max_memories, max_pointers=model.config.max_pointers
    )
    walk = _Walk(model, clips, plan, how, generator, MemoryBank(rules))
    answers = {frame: walk.see(frame) for frame in plan.order(len(clips))}
    return [answers[frame] for frame in range(len(clips))]


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """A way through clips, and what is remembered on it."""

    model: Sam2
    clips: Clips
    plan: ClipPlan
    how: ClipInteraction
    generator: torch.Generator
    bank: MemoryBank[Tensor, Tensor]  # rows of its tensors are objects

    def see(self, frame: int) -> Answers:
        """Answer what is asked on a frame, and remember it."""
        plan, bank = self.plan, self.bank
        if frame not in plan.prompted:
            step = self._followed(frame)
        elif plan.by_mask:
            step = self._given(frame)
        else:
            step = self._clicked(frame)
        embedding, source = self.clips.frames[frame], self.clips.source_index_N
        memory = self.model.remember(embedding, step.settled, source)
        is_prompted = frame in plan.prompted or frame in plan.corrected
        keep = bank.remember_prompted if is_prompted else bank.remember
        keep(frame, memory.features_NPC, memory.pointer_NC)
        return step.answers

    def _given(self, frame: int) -> _Step:
        """Masks that a user drew stand as they are."""
        targets, source = self.clips.targets[frame], self.clips.source_index_N
        side = self.model.config.image_size
        masks = F.interpolate(targets[:, None].float(), (side, side))[:, 0] > 0
        adopted = self.model.adopt_masks(self.clips.frames[frame], masks, source)
        logits = targets.float() * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS
        answer = MaskPrediction(
            logits[:, None],
            adopted.predicted_iou_N[:, None],
            adopted.object_score_N,
            adopted.pointer_NC[:, None],
        )
        return _Step(Answers((answer,)), replace(adopted, logits_Nhw=logits))

    def _clicked(self, frame: int) -> _Step:
        answers = interact(
            self.model,
            self.clips.frames[frame],
            self.clips.targets[frame],
            self.clips.source_index_N,
            self.how.clicks,
            self.generator,
        )
        return _Step(answers, self.model.settle(answers.steps[-1]))

    def _followed(self, frame: int) -> _Step:
        """Recall, answer without a prompt, and correct that where a user would."""
        model, source = self.model, self.clips.source_index_N
        memories = self._memories(self.bank.recollect(frame, backward=False, reach=self._reach))
        conditioned = model.recall(self.clips.frames[frame], [memories], source)
        scene, rows = model.scene(conditioned, 0), torch.arange(len(source), device=source.device)
        first = model.decode_masks(scene, no_point_prompts(rows), "three")
        answers = Answers((first,))
        if frame in self.plan.corrected:
            answers = corrected(
                model,
                scene,
                no_clicks_yet(rows),
                first,
                self.clips.targets[frame],
                self.how.clicks,
                self.generator,
            )
        return _Step(answers, model.settle(answers.steps[-1]))

    @property
    def _reach(self) -> int:
        return min(len(self.clips), self.model.config.max_pointers)

    def _memories(self, seen: Recollection) -> Memories:
        """What all objects recall: the same frames, so that they are one group."""
        source = self.clips.source_index_N
        count, device = len(source), source.device
        pointers = [self.bank.pointers[one.frame] for one in seen.pointers]
        none = torch.zeros(count, 0, self.model.config.hidden_dim, device=device)
        return Memories(
            torch.arange(count, device=device),
            torch.stack([self.bank.features[one.frame] for one in seen.memories], dim=1),
            _tags([one.tag for one in seen.memories], count, device),
            torch.stack(pointers, dim=1) if pointers else none,
            _tags([one.tag for one in seen.pointers], count, device),
            self._reach,
        )


def _tags(tags: Sequence[int], count: int, device: torch.device) -> Tensor:
    return torch.tensor(tags, dtype=torch.long, device=device).expand(count, len(tags))
