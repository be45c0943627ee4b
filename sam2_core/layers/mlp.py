"""Small feed-forward pieces: stacks, 1 x 1 convolutions on tokens, norms."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu import prefers_pieces, rows_per_piece

Activation = Callable[[Tensor], Tensor]
_FEW_CHANNELS = 4


class MLP(nn.Module):
    """Linear layers with an activation between them, none after the last."""

    def __init__(
        self,
        dim_in: int,
        dim_hidden: int,
        dim_out: int,
        layers: int,
        activation: Activation = F.relu,
    ) -> None:
        super().__init__()
        widths = [dim_in, *[dim_hidden] * (layers - 1), dim_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation
        self.widest = max(widths)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., dim_in] to [..., dim_out]."""
        rows = rows_per_piece(self.widest)
        if not prefers_pieces(x) or x.shape[:-1].numel() <= rows:
            return self._map(x)
        pieces = x.flatten(0, -2).split(rows)
        return torch.cat([self._map(piece) for piece in pieces]).unflatten(0, x.shape[:-1])

    def _map(self, x: Tensor) -> Tensor:
        *inner, last = self.layers
        for layer in inner:
            x = self.activation(layer(x))
        return last(x)


class TokenConv(nn.Conv2d):
    """A 1 x 1 convolution whose pixels are tokens: [..., C_in] -> [..., C_out]."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__(dim_in, dim_out, kernel_size=1)

    def forward(self, input: Tensor) -> Tensor:
        """Project the last dimension."""
        return F.linear(input, self.weight.flatten(1), self.bias)


class ChannelNorm(nn.LayerNorm):
    """The layer norm of convolution stacks: over channels, which here are the last dimension."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the last dimension."""
        if self.normalized_shape[0] > _FEW_CHANNELS or not prefers_pieces(input):
            return super().forward(input)
        # A CPU's layer norm goes from pixel to pixel, and takes five times as long where each has
        # only a few numbers; here channels are planes, as convolutions leave them.
        centred = input - input.mean(-1, keepdim=True)
        spread = centred.square().mean(-1, keepdim=True).add_(self.eps).rsqrt_()
        return centred.mul_(spread).mul_(self.weight).add_(self.bias)


class StreamNorm(nn.LayerNorm):
    """Reads a residual stream, fp32 in every precision, and answers in the precision of weights."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the last dimension."""
        weight, bias = self.weight.float(), self.bias.float()
        normed = F.layer_norm(input.float(), self.normalized_shape, weight, bias, self.eps)
        return normed.to(self.weight.dtype)
