"""Tokens of a prompt and pixels of an image become masks, their quality, and an object score."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import (
    MASK_TOKENS,
    SCORE_HIDDEN_DIM,
    STABILITY_DELTA,
    STABILITY_THRESHOLD,
    ModelConfig,
)
from ..data import ImageEmbedding
from ..layers.mlp import MLP, ChannelNorm
from ..layers.windows import unnest
from .two_way import SharedPixels, TwoWayTransformer

# three: the masks for part, subpart and whole.  one: the mask of the unambiguous token.
# stable: that one, or the best of the three where it is unstable.
Answer = Literal["three", "one", "stable"]


class MaskDecoder(nn.Module):
    """Decode N prompts at once, whatever images they belong to."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.side = config.coarse_size
        self.object_token = nn.Parameter(torch.randn(1, dim))
        self.iou_token = nn.Parameter(torch.randn(1, dim))
        self.mask_tokens = nn.Parameter(torch.randn(MASK_TOKENS, dim))
        self.transformer = TwoWayTransformer(dim)
        self.upscale1 = nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2)
        self.upscale_norm = ChannelNorm(dim // 4)
        self.upscale2 = nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2)
        self.mask_weights = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(MASK_TOKENS))
        self.iou_head = MLP(dim, SCORE_HIDDEN_DIM, MASK_TOKENS, 3)
        self.object_head = MLP(dim, dim, 1, 3)

    def forward(
        self,
        prompt_NTC: Tensor,
        pixels: Tensor | SharedPixels,
        positions_PC: Tensor,
        middle_NPQC: Tensor,
        fine_NPQC: Tensor,
        answer: Answer,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Decode prompts; maps have one row a prompt, finer ones as prepare_levels gives them.

        Returns the fields of a MaskPrediction.
        """
        learned = torch.cat([self.object_token, self.iou_token, self.mask_tokens])
        tokens = torch.cat([learned.expand(len(prompt_NTC), -1, -1), prompt_NTC.to(learned)], dim=1)
        tokens, pixels_NPC = self.transformer(tokens, pixels, positions_PC)
        object_out, iou_out, mask_out = tokens[:, 0], tokens[:, 1], tokens[:, 2 : 2 + MASK_TOKENS]
        chosen = _tokens_needed(answer)
        logits = self._draw(pixels_NPC, middle_NPQC, fine_NPQC, mask_out, chosen)
        return _answer(
            answer,
            logits,
            torch.sigmoid(self.iou_head(iou_out)),
            self.object_head(object_out).squeeze(-1),
            mask_out,
        )

    def prepare_levels(self, embedding: ImageEmbedding) -> tuple[Tensor, Tensor]:
        """The finer levels with the bias of the upscaling they are added to: once per image."""
        assert self.upscale1.bias is not None
        assert self.upscale2.bias is not None
        middle = embedding.middle_BPQC + self.upscale1.bias
        return middle, embedding.fine_BPQC + self.upscale2.bias

    def _draw(
        self, pixels_NPC: Tensor, middle: Tensor, fine: Tensor, mask_out: Tensor, chosen: range
    ) -> Tensor:
        """Upscale pixels twice and weigh their channels for each chosen token: [N, M, h, w]."""
        x = _grow(pixels_NPC, self.upscale1).add_(middle)
        x = F.gelu(self.upscale_norm(x))
        x = _grow(x, self.upscale2).flatten(2, 3).add_(fine)
        x = F.gelu(x).flatten(1, 2)
        weights = torch.stack([self.mask_weights[i](mask_out[:, i]) for i in chosen], dim=-1)
        weights = weights.to(x.dtype)
        return unnest(torch.bmm(x, weights), self.side, self.side, depth=2).float()


def _grow(x: Tensor, conv: nn.ConvTranspose2d) -> Tensor:
    """Apply a stride-2 transposed convolution without its bias: [..., C] -> [..., 4, C_out]."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return F.linear(x, weight).unflatten(-1, (4, conv.out_channels))


def _tokens_needed(answer: Answer) -> range:
    return {"three": range(1, MASK_TOKENS), "one": range(1), "stable": range(MASK_TOKENS)}[answer]


def _answer(
    answer: Answer, logits: Tensor, iou_N4: Tensor, object_score_N: Tensor, tokens_N4C: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pick the masks that were asked for out of those drawn; fields of a MaskPrediction."""
    if answer == "three":
        return logits, iou_N4[:, 1:], object_score_N, tokens_N4C[:, 1:]
    first = slice(0, 1)
    if answer == "one":
        return logits, iou_N4[:, first], object_score_N, tokens_N4C[:, first]
    # The token stays the first one's also where another mask is taken: pointers are made of it.
    return *_stable(logits, iou_N4), object_score_N, tokens_N4C[:, first]


def _stable(logits_N4hw: Tensor, iou_N4: Tensor) -> tuple[Tensor, Tensor]:
    """The first mask where it is stable, else the best of the others."""
    single = logits_N4hw[:, 0].flatten(1)
    inner = (single > STABILITY_DELTA).sum(1)
    outer = (single > -STABILITY_DELTA).sum(1)
    stability = torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)
    best = 1 + iou_N4[:, 1:].argmax(dim=1)
    pick = torch.where(stability >= STABILITY_THRESHOLD, 0, best)
    rows = torch.arange(len(pick), device=pick.device)
    return logits_N4hw[rows, pick].unsqueeze(1), iou_N4[rows, pick].unsqueeze(1)
