"""A frame's features and an object's mask become a memory of 64 channels."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import COARSE_STRIDE, MEMORY_FUSER_LAYERS, ModelConfig
from ..layers.mlp import ChannelNorm, TokenConv


class MaskShrinker(nn.Module):
    """Halve a mask at model resolution four times, with four times the channels each time."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = [4**i for i in range(COARSE_STRIDE.bit_length())]
        pairs = list(pairwise(widths))
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1) for a, b in pairs
        )
        self.norms = nn.ModuleList(ChannelNorm(b) for _, b in pairs)
        self.out = TokenConv(widths[-1], dim)

    def forward(self, mask_N1SS: Tensor) -> Tensor:
        """[N, 1, S, S] -> [N, S/16, S/16, C]."""
        x = mask_N1SS.to(self.out.weight.dtype)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.gelu(norm(conv(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.out(x.permute(0, 2, 3, 1))


class FuserBlock(nn.Module):
    """A depthwise 7 x 7 convolution and a per-pixel MLP, scaled and added."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = ChannelNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 1e-6))

    def forward(self, x_NHWC: Tensor) -> Tensor:
        """Mix a map with its neighbourhood, shape kept."""
        near = self.depthwise(x_NHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x_NHWC + self.scale * self.narrow(F.gelu(self.widen(self.norm(near))))


class MemoryEncoder(nn.Module):
    """Fuse pixels and masks: [N, P, memory_dim]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.side = config.coarse_size
        self.shrink_mask = MaskShrinker(dim)
        self.project_pixels = TokenConv(dim, dim)
        self.fuser = nn.ModuleList(FuserBlock(dim) for _ in range(MEMORY_FUSER_LAYERS))
        self.out = TokenConv(dim, config.memory_dim)

    def project(self, pixels_BPC: Tensor) -> Tensor:
        """What masks are added to: once per image, not once per object."""
        pixels = self.project_pixels(pixels_BPC.to(self.out.weight.dtype))
        return pixels.unflatten(1, (self.side, self.side))

    def forward(self, projected_BHWC: Tensor, source_index_N: Tensor, mask_N1SS: Tensor) -> Tensor:
        """Encode one mask per object."""
        x = projected_BHWC[source_index_N] + self.shrink_mask(mask_N1SS)
        for block in self.fuser:
            x = block(x)
        return self.out(x).flatten(1, 2)
