"""What the encoder can learn without any prompt: which pixels belong together, and where edges are.

It is what makes small models trainable from scratch: a decoder finds objects quickly in features in
which pixels of an object are alike, and hardly ever learns to make them so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..data import ImageEmbedding
from ..layers.levels import at_finest
from ..layers.mlp import TokenConv

_STEEPNESS = 10.0  # of an affinity's logit, over cosines


class AffinityHead(nn.Module):
    """Pixels as directions, alike within an object; and how likely each is to lie at an edge."""

    def __init__(self, config: ModelConfig, channels: int = 32) -> None:
        super().__init__()
        self.coarse = TokenConv(config.hidden_dim, channels + 1)
        self.middle = TokenConv(config.hidden_dim // 4, channels + 1)
        self.fine = TokenConv(config.hidden_dim // 8, channels + 1)
        self.bias = nn.Parameter(torch.tensor(-0.5 * _STEEPNESS))

    def forward(self, embedding: ImageEmbedding) -> tuple[Tensor, Tensor]:
        """Of bare images: unit vectors [B, D, h, w] and edge logits [B, h, w], at stride 4."""
        summed = at_finest(
            self.coarse(embedding.coarse_BPC.float()),
            self.middle(embedding.middle_BPQC.float()),
            self.fine(embedding.fine_BPQC.float()),
        )
        return F.normalize(summed[:, :-1], dim=1), summed[:, -1]


@dataclass(frozen=True, slots=True, eq=False)
class DenseLosses:
    """How wrong affinities and edges are."""

    affinity: Tensor
    edges: Tensor
    iou: Tensor  # of what is alike to a pixel with its object, to be watched

    def total(self) -> Tensor:
        """The one number that is made smaller."""
        return self.affinity + 0.5 * self.edges


def dense_losses(
    head: AffinityHead,
    embedding: ImageEmbedding,
    ids_Bhw: Tensor,
    clicks: int,
    generator: torch.Generator,
) -> DenseLosses:
    """Pick pixels at random, things as often as ground, and ask what belongs to each."""
    directions, edges = head(embedding)
    picked = _picks(ids_Bhw, clicks, generator)
    flat = directions.flatten(2)
    chosen = flat.gather(2, picked[:, None].expand(-1, flat.shape[1], -1))
    logits = _STEEPNESS * torch.einsum("bdk,bdp->bkp", chosen, flat) + head.bias
    ids = ids_Bhw.flatten(1)
    same = ids.gather(1, picked)[:, :, None] == ids[:, None]
    chance, target = torch.sigmoid(logits), same.float()
    overlap = 2 * (chance * target).sum(-1)
    dice = 1 - (overlap + 1) / (chance.sum(-1) + target.sum(-1) + 1)
    affinity = F.binary_cross_entropy_with_logits(logits, target) + dice.mean()
    edge = F.binary_cross_entropy_with_logits(edges, _edges(ids_Bhw).float())
    alike = logits > 0
    shared = (alike & same).sum(-1) / (alike | same).sum(-1).clamp(min=1)
    return DenseLosses(affinity, edge, shared.mean().detach())


def _picks(ids_Bhw: Tensor, clicks: int, generator: torch.Generator) -> Tensor:
    """Places [B, K] of pixels, each thing as likely as any other, and as the ground."""
    flat = ids_Bhw.flatten(1).long()
    nothing = torch.zeros(len(flat), int(flat.max()) + 1, device=flat.device)
    areas = nothing.scatter_add_(1, flat, torch.ones(flat.shape, device=flat.device))
    weights = 1 / areas.gather(1, flat)
    return torch.multinomial(weights, clicks, replacement=True, generator=generator)


def _edges(ids_Bhw: Tensor) -> Tensor:
    """Pixels whose neighbour to the right or below shows something else."""
    right = F.pad(ids_Bhw[:, :, 1:] != ids_Bhw[:, :, :-1], (0, 1))
    below = F.pad(ids_Bhw[:, 1:] != ids_Bhw[:, :-1], (0, 0, 0, 1))
    return right | below
