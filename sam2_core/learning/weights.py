"""Which weights learn and how fast, their running average, and activations that are made twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import ConfigError
from ..network.sam2 import Sam2

PARTS: Mapping[str, tuple[str, ...]] = {
    "encoder": ("encoder", "pyramid"),
    "prompts": ("prompt_encoder",),
    "decoder": ("mask_decoder", "object_pointer", "mask_to_logits", "no_memory"),
    "memory": (
        *("memory_encoder", "memory_attention"),
        *("temporal_encoding", "no_memory_position", "absent_memory"),
    ),
}
"""Parts of a model that may be frozen or learn at a pace of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """How fast what learns; a part that is not named learns at the full rate, 0 freezes one."""

    rate: float = 5e-6
    parts: Mapping[str, float] = field(default_factory=dict)  # factors
    encoder_decay: float = 1.0  # factor from each encoder block to the one before
    weight_decay: float = 0.1  # of matrices; biases, norms and embeddings have none

    def __post_init__(self) -> None:
        for name in self.parts:
            if name not in PARTS:
                raise ConfigError(f"No part of a model is called {name!r}: {', '.join(PARTS)}.")


def part_of(name: str) -> str:
    """The part that a parameter belongs to."""
    head = name.partition(".")[0]
    return next(part for part, heads in PARTS.items() if head in heads)


def parameter_groups(model: Sam2, rates: LearningRates) -> list[dict[str, Any]]:
    """Groups for an optimizer, each with its `lr` and `weight_decay`; the rest is frozen."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, weight in model.named_parameters():
        factor = rates.parts.get(part_of(name), 1.0) * _depth_factor(model, name, rates)
        weight.requires_grad_(factor > 0)
        if factor > 0:
            decay = rates.weight_decay if _is_matrix(name, weight) else 0.0
            groups[rates.rate * factor, decay].append(weight)
    return [
        {"params": weights, "lr": rate, "weight_decay": decay}
        for (rate, decay), weights in sorted(groups.items(), key=lambda item: item[0])
    ]


def head_groups(head: nn.Module, rates: LearningRates) -> list[dict[str, Any]]:
    """The same of a head, all of which learns at the full rate."""
    weights = dict(head.named_parameters())
    matrices = [weight for name, weight in weights.items() if _is_matrix(name, weight)]
    others = [weight for name, weight in weights.items() if not _is_matrix(name, weight)]
    return [
        {"params": matrices, "lr": rates.rate, "weight_decay": rates.weight_decay},
        {"params": others, "lr": rates.rate, "weight_decay": 0.0},
    ]


def _depth_factor(model: Sam2, name: str, rates: LearningRates) -> float:
    """The first block is the farthest from the answers, and has most to lose."""
    place, _, rest = name.partition(".")
    if place != "encoder":
        return 1.0
    blocks = len(model.encoder.blocks)
    depth = int(rest.split(".")[1]) + 1 if rest.startswith("blocks.") else 0
    return rates.encoder_decay ** (blocks + 1 - depth)


def _is_matrix(name: str, weight: Tensor) -> bool:
    return weight.ndim > 1 and name.endswith(".weight")


class AveragedWeights:
    """A running average of what learns; early on it forgets faster, or it would keep the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {
            name: weight.detach().clone().float()
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take a step into account."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        learned = dict(model.named_parameters())
        for name, average in self.weights.items():
            average.lerp_(learned[name].float(), 1 - decay)

    def pour_into(self, model: nn.Module, names: Iterable[str]) -> None:
        """Let weights of a model, by name, go on from their average."""
        chosen = {*names} & self.weights.keys()
        _copy(self.weights, {n: w for n, w in model.named_parameters() if n in chosen})

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Lend the average to a model, to be judged or exported."""
        learned = {name: w for name, w in model.named_parameters() if name in self.weights}
        kept = {name: weight.detach().clone() for name, weight in learned.items()}
        _copy(self.weights, learned)
        try:
            yield
        finally:
            _copy(kept, learned)

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.steps = state["steps"]
        _copy(state["weights"], self.weights)


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, weight in target.items():
        weight.copy_(source[name])


def make_activations_twice(model: Sam2) -> None:
    """Keep none of what encoder and memory attention compute on the way: time for memory."""
    for block in (*model.encoder.blocks, *model.memory_attention.layers):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
