"""The neck: four encoder maps become the three levels that decoder and memory read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..layers.mlp import TokenConv
from ..layers.windows import nest


class FeaturePyramid(nn.Module):
    """Project all levels to one width, pass the coarsest down once, thin out the finer two."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.laterals = nn.ModuleList(TokenConv(c, dim) for c in config.stage_dims)
        self.to_fine = TokenConv(dim, dim // 8)
        self.to_middle = TokenConv(dim, dim // 4)

    def forward(self, maps_BHWC: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Turn the encoder's maps, finest first, into the coarse, middle and fine level."""
        fine, middle, coarse, coarsest = (
            lateral(level) for lateral, level in zip(self.laterals, maps_BHWC, strict=True)
        )
        # Only stride 16 hears of stride 32, in fp32 by nearest neighbour; the finer levels do not.
        coarse = coarse.float() + _double(coarsest.float())
        return (
            coarse.flatten(1, 2),
            nest(self.to_middle(middle), 1),
            nest(self.to_fine(fine), 2).flatten(2, 3),
        )


def _double(x_BHWC: Tensor) -> Tensor:
    return torch.repeat_interleave(torch.repeat_interleave(x_BHWC, 2, dim=1), 2, dim=2)
