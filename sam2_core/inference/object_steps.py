"""The two things that happen to objects on a frame: a prompt is answered, or memory is followed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from ops import downsample_mask_antialiased, fill_small_holes

from ..data import (
    FrameMemory,
    ImageEmbedding,
    Memories,
    ObjectPrediction,
    concatenate_objects,
)
from ..network.mask_decoder import Answer
from ..network.sam2 import Sam2, no_point_prompts
from .memory_bank import MemoryBank, Recollection
from .prompts import CheckedPrompt, pack_prompts
from .tracking_config import TrackingConfig

Bank: TypeAlias = "MemoryBank[Tensor, Tensor]"

_FILLED_LOGIT = 0.1
_MASK_CUT = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Recall:
    """One object that is to follow its memory."""

    source: int  # row of the embedding: whose frame it is on
    bank: Bank
    recollection: Recollection
    reach: int


@dataclass(frozen=True, slots=True, eq=False)
class StepResult:
    """Predictions of some objects, and what is remembered of them."""

    shown: ObjectPrediction  # holes filled
    memory: FrameMemory


def follow_memory(
    model: Sam2, embedding: ImageEmbedding, recalls: Sequence[Recall], config: TrackingConfig
) -> StepResult:
    """Track objects into the next frame as one batch, whatever each of them remembers."""
    source = torch.tensor([recall.source for recall in recalls], device=model.device)
    conditioned = model.recall(embedding, gather_memories(recalls, model.device), source)
    rows = torch.arange(len(recalls), device=model.device)
    decoded = model.decode_masks(conditioned, no_point_prompts(rows), "three")
    prediction = model.settle(decoded)
    memory = model.remember(embedding, prediction, source)
    return StepResult(fill_holes(prediction, config), memory)


def gather_memories(recalls: Sequence[Recall], device: torch.device) -> list[Memories]:
    """Stack what objects recall, those with equally much together."""
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for row, recall in enumerate(recalls):
        counts = len(recall.recollection.memories), len(recall.recollection.pointers)
        groups[counts[0], counts[1], recall.reach].append(row)
    return [
        _stack([recalls[row] for row in rows], torch.tensor(rows, device=device), device)
        for rows in groups.values()
    ]


def _stack(recalls: Sequence[Recall], rows_N: Tensor, device: torch.device) -> Memories:
    features = [
        torch.stack([recall.bank.features[seen.frame] for seen in recall.recollection.memories])
        for recall in recalls
    ]
    pointers = [
        [recall.bank.pointers[seen.frame] for seen in recall.recollection.pointers]
        for recall in recalls
    ]
    dim = next(iter(recalls[0].bank.pointers.values())).shape[-1]
    empty = torch.zeros(0, dim, device=device)
    return Memories(
        rows_N,
        torch.stack(features).to(device),
        _tags([recall.recollection.memories for recall in recalls], device),
        torch.stack([torch.stack(p) if p else empty for p in pointers]).to(device),
        _tags([recall.recollection.pointers for recall in recalls], device),
        recalls[0].reach,
    )


def _tags(recalled: Sequence[Sequence[tuple[int, int]]], device: torch.device) -> Tensor:
    tags = [[tag for tag, _ in one] for one in recalled]
    return torch.tensor(tags, dtype=torch.long, device=device).reshape(len(tags), -1)


def answer_prompts(
    model: Sam2,
    embedding: ImageEmbedding,
    prompts: Sequence[CheckedPrompt],
    config: TrackingConfig,
    previous_Nhw: Tensor | None = None,
) -> ObjectPrediction:
    """Answer prompts on one frame, one row each; holes are filled.

    `embedding` is bare for first prompts, or conditioned, with one row an object, for corrections.
    `previous_Nhw` are earlier logits of the same objects, fed back beside their points.
    """
    clicked = [i for i, prompt in enumerate(prompts) if prompt.mask_HW is None]
    masked = [i for i, prompt in enumerate(prompts) if prompt.mask_HW is not None]
    parts: list[ObjectPrediction] = []
    order: list[int] = []
    if clicked:
        rows = [i if embedding.conditioned else 0 for i in clicked]
        chosen = [_with_logits(prompts[i], previous_Nhw, i) for i in clicked]
        for group in pack_prompts(chosen, rows, model.config, model.device):
            answer = _answer_for(chosen[group.places[0]], config)
            parts.append(model.settle(model.decode_masks(embedding, group.packed, answer)))
            order += [clicked[place] for place in group.places]
    if masked:
        parts.append(_adopt(model, embedding, [prompts[i] for i in masked]))
        order += masked
    whole = concatenate_objects(parts).rows(torch.argsort(torch.tensor(order)).to(model.device))
    return fill_holes(whole, config)


def _with_logits(prompt: CheckedPrompt, previous: Tensor | None, row: int) -> CheckedPrompt:
    if previous is None or prompt.logits_hw is not None:
        return prompt
    return replace(prompt, logits_hw=previous[row].cpu())


def _answer_for(prompt: CheckedPrompt, config: TrackingConfig) -> Answer:
    """One point is ambiguous and gets the best of three; a box counts as two points."""
    if len(prompt.labels_T) <= 1:
        return "three"
    return "stable" if config.stability_fallback else "one"


def _adopt(
    model: Sam2, embedding: ImageEmbedding, prompts: Sequence[CheckedPrompt]
) -> ObjectPrediction:
    size = model.config.image_size
    masks = [_at_model_size(prompt, size) for prompt in prompts]
    source = torch.zeros(len(masks), dtype=torch.long, device=model.device)
    return model.adopt_masks(embedding, torch.stack(masks).to(model.device), source)


def _at_model_size(prompt: CheckedPrompt, size: int) -> Tensor:
    assert prompt.mask_HW is not None
    if prompt.mask_HW.shape == (size, size):
        return prompt.mask_HW
    soft = downsample_mask_antialiased(prompt.mask_HW[None, None].float(), (size, size))
    return soft[0, 0] >= _MASK_CUT


def remember_prompted(
    model: Sam2, embedding: ImageEmbedding, shown: ObjectPrediction, config: TrackingConfig
) -> FrameMemory:
    """Remember answered prompts, from their low-res logits with holes filled, as users saw them."""
    source = torch.zeros(len(shown), dtype=torch.long, device=model.device)
    binarize = config.binarize_mask_from_pts_for_mem_enc
    return model.remember(embedding, shown, source, binarize=binarize)


def fill_holes(prediction: ObjectPrediction, config: TrackingConfig) -> ObjectPrediction:
    """Set small holes of the masks to just above zero."""
    if config.fill_hole_area == 0 or not len(prediction):
        return prediction
    filled = fill_small_holes(
        prediction.logits_Nhw, config.fill_hole_area, fill_value=_FILLED_LOGIT
    )
    return replace(prediction, logits_Nhw=filled)
