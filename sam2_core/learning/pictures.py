"""One step of learning from pictures: a prompt, an answer, a click where it is wrong, and so on.

Targets have the model's size, or a smaller one that is faster to learn from: points are scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import ImageEmbedding, MaskPrediction, PackedPrompts
from ..network.mask_decoder import Answer
from ..network.sam2 import Sam2, Scene
from .interaction import Where, careless_boxes, next_clicks
from .losses import LossConfig, Losses, losses_of

_CORNERS = (2, 3)
_NOT_A_POINT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """How a simulated user goes about it; by default as when SAM 2 was trained."""

    box_chance: float = 0.5  # that a picture's objects are boxed first, else clicked
    box_slack: float = 0.1  # of a side, by which a corner of a box is off at most
    corrections: int = 7  # further clicks, one at a time
    careless_chance: float = 0.1  # that such a click is anywhere on the object, right or wrong
    middle_chance: float = 0.0  # that clicks are in the middle of where they help, not anywhere
    through_answers: bool = True  # an answer learns from what is made of it as the next prompt


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """All answers to a row of prompts, the last of which is what counts."""

    steps: tuple[MaskPrediction, ...]

    def losses(self, targets_NSS: Tensor, config: LossConfig, objects: float) -> Losses:
        """How wrong all of them are together; targets are masks, or shares of pixels."""
        return total(
            [
                losses_of(
                    enlarged(step.logits_NMhw, targets_NSS.shape[-1]),
                    step.predicted_iou_NM,
                    step.object_score_N,
                    targets_NSS,
                    config,
                    objects,
                )
                for step in self.steps
            ]
        )


def interact(
    model: Sam2,
    embedding: ImageEmbedding,
    targets_NSS: Tensor,
    source_index_N: Tensor,
    how: Interaction,
    generator: torch.Generator,
) -> Answers:
    """Prompt and correct N objects; object n is seen in row source_index_N[n] of the embedding."""
    scene = model.scene(embedding, 0)
    side = model.config.image_size
    prompts = first_prompts(targets_NSS, source_index_N, side, how, generator)
    first = model.decode_masks(scene, prompts, answer_to(prompts))
    return corrected(model, scene, prompts, first, targets_NSS, how, generator)


def corrected(
    model: Sam2,
    scene: Scene,
    prompts: PackedPrompts,
    first: MaskPrediction,
    targets_NSS: Tensor,
    how: Interaction,
    generator: torch.Generator,
) -> Answers:
    """Click where the first answer to prompts is wrong, and where the next one is, and so on."""
    steps = [first]
    for _ in range(how.corrections):
        prompts = _with_a_click(model, prompts, steps[-1], targets_NSS, how, generator)
        steps.append(model.decode_masks(scene, prompts, answer_to(prompts)))
    return Answers(tuple(steps))


def answer_to(prompts: PackedPrompts) -> Answer:
    """A single point may mean a part or the whole; what is not a point stands last of all."""
    return "three" if prompts.labels_NT.shape[1] <= 2 else "one"


def first_prompts(
    targets_NSS: Tensor,
    source_index_N: Tensor,
    image_size: int,
    how: Interaction,
    generator: torch.Generator,
) -> PackedPrompts:
    """A click in each object, or a box about each."""
    if happens(how.box_chance, generator):
        boxes = careless_boxes(targets_NSS, how.box_slack, generator, image_size)
        points = boxes.unflatten(1, (2, 2))
        labels = torch.tensor(_CORNERS, device=points.device).expand(len(points), 2)
    else:
        point, label = next_clicks(targets_NSS, None, generator, _place(how, generator))
        points, labels = point[:, None], label[:, None]
    points = _in_model_pixels(points, targets_NSS.shape[-1], image_size)
    return PackedPrompts(
        F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=_NOT_A_POINT), source_index_N
    )


def no_clicks_yet(source_index_N: Tensor) -> PackedPrompts:
    """What clicks are added to where an answer came without any; it is not to be decoded."""
    count, device = len(source_index_N), source_index_N.device
    labels = torch.full((count, 1), _NOT_A_POINT, dtype=torch.long, device=device)
    return PackedPrompts(torch.zeros(count, 1, 2, device=device), labels, source_index_N)


def _with_a_click(
    model: Sam2,
    prompts: PackedPrompts,
    answer: MaskPrediction,
    targets_NSS: Tensor,
    how: Interaction,
    generator: torch.Generator,
) -> PackedPrompts:
    """The same prompts with one more click each, and the answer so far as a mask."""
    logits = model.settle(answer).logits_Nhw
    if not how.through_answers:
        logits = logits.detach()
    with torch.no_grad():
        is_careless = happens(how.careless_chance, generator)
        seen = None if is_careless else enlarged(logits[:, None], targets_NSS.shape[-1])[:, 0] > 0
        where = "anywhere" if is_careless else _place(how, generator)
        point, label = next_clicks(targets_NSS, seen, generator, where)
    point = _in_model_pixels(point, targets_NSS.shape[-1], model.config.image_size)
    # What is no point stays last.
    points, labels = prompts.coords_NT2, prompts.labels_NT
    points = torch.cat([points[:, :-1], point[:, None], points[:, -1:]], dim=1)
    labels = torch.cat([labels[:, :-1], label[:, None], labels[:, -1:]], dim=1)
    return PackedPrompts(points, labels, prompts.image_index_N, logits)


def _place(how: Interaction, generator: torch.Generator) -> Where:
    """Where this click falls in all objects; nothing is drawn where there is no choice."""
    if how.middle_chance in (0, 1):
        return "middle" if how.middle_chance else "anywhere"
    return "middle" if happens(how.middle_chance, generator) else "anywhere"


def _in_model_pixels(points: Tensor, side: int, image_size: int) -> Tensor:
    """The middle of a pixel stays the middle of what it becomes."""
    scale = image_size / side
    return (points + 0.5) * scale - 0.5 if side != image_size else points


def enlarged(logits_NMhw: Tensor, side: int) -> Tensor:
    """Logits at the size of targets."""
    if logits_NMhw.shape[-1] == side:
        return logits_NMhw
    return F.interpolate(logits_NMhw, (side, side), mode="bilinear", align_corners=False)


def total(parts: Sequence[Losses]) -> Losses:
    """The sum of all."""
    first, *others = parts
    for other in others:
        first = first + other
    return first


def happens(chance: float, generator: torch.Generator) -> bool:
    """Whether something of this chance comes to pass."""
    return bool(torch.rand((), generator=generator, device=generator.device) < chance)
