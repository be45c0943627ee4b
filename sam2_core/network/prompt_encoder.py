"""Points, boxes and masks become tokens and maps that the mask decoder can attend with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import MASK_PROMPT_CHANNELS, ModelConfig
from ..layers.mlp import ChannelNorm, TokenConv
from ..layers.position import Derived, fourier_features, fourier_map
from ..layers.windows import nest


class PromptEncoder(nn.Module):
    """Sparse prompts to tokens [N, T, C], dense prompts to maps [N, P, C]."""

    frequencies: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.image_size = config.image_size
        self.register_buffer("frequencies", torch.randn(2, dim // 2))
        # Rows: off the object, on it, first corner, second corner.
        self.point_kinds = nn.ParameterList(
            nn.Parameter(torch.randn(1, dim)) for _ in range(len(("off", "on", "first", "second")))
        )
        self.not_a_point = nn.Parameter(torch.randn(1, dim))
        self.no_mask = nn.Parameter(torch.randn(1, dim))
        self.mask_encoder = MaskPromptEncoder(dim)
        self._side = config.coarse_size
        self._positions = Derived(self._encode_pixels)

    def positions(self) -> Tensor:
        """The encoding of every coarse pixel's centre: [P, C], fp32."""
        return self._positions.of(self.frequencies)

    def _encode_pixels(self, frequencies: Tensor) -> Tensor:
        return fourier_map(self._side, frequencies)

    def embed_points(self, coords_NT2: Tensor, labels_NT: Tensor) -> Tensor:
        """Encode points by place and kind; label -1 has a kind but no place. fp32."""
        # Half a pixel to its centre, in model pixels whatever the picture's own size.
        where = fourier_features((coords_NT2 + 0.5) / self.image_size, self.frequencies)
        is_point = (labels_NT >= 0).unsqueeze(-1)
        kinds = torch.cat([self.not_a_point, *self.point_kinds])
        return where * is_point + kinds[labels_NT + 1]

    def embed_masks(self, mask_logits_Nhw: Tensor) -> Tensor:
        """Encode mask prompts, given as low-res logits: [N, P, C]."""
        return self.mask_encoder(mask_logits_Nhw)


class MaskPromptEncoder(nn.Module):
    """Two convolutions with kernel and stride 2, so pixels in nested order make them products."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        channels = MASK_PROMPT_CHANNELS
        self.halve1 = nn.Conv2d(1, channels // 4, kernel_size=2, stride=2)
        self.norm1 = ChannelNorm(channels // 4)
        self.halve2 = nn.Conv2d(channels // 4, channels, kernel_size=2, stride=2)
        self.norm2 = ChannelNorm(channels)
        self.out = TokenConv(channels, dim)

    def forward(self, mask_logits_Nhw: Tensor) -> Tensor:
        """[N, h, w] -> [N, P, C]."""
        cells = nest(mask_logits_Nhw.to(self.out.weight.dtype).unsqueeze(-1), 2).squeeze(-1)
        x = F.gelu(self.norm1(_shrink(cells.unsqueeze(-2), self.halve1)))  # [N, P, 4, C/4]
        x = F.gelu(self.norm2(_shrink(x.transpose(-1, -2), self.halve2)))  # [N, P, C]
        return self.out(x)


def _shrink(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a stride-2 convolution to quadrants: [..., C, 4] -> [..., C_out]."""
    return F.linear(x.flatten(-2), conv.weight.flatten(1), conv.bias)
