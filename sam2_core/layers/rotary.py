"""Rotary position encoding over the two axes of a feature map."""

from __future__ import annotations

import torch
from torch import Tensor

from .cpu import prefers_pieces

_THETA = 10000.0


def rotary_table(side: int, channels: int) -> Tensor:
    """Angles of a side x side map, row by row: [P, channels / 2], x in the first half, then y."""
    frequencies = 1.0 / _THETA ** (torch.arange(0, channels, 4).float() / channels)
    index = torch.arange(side * side)
    xs = torch.outer((index % side).float(), frequencies)
    ys = torch.outer((index // side).float(), frequencies)
    return torch.cat([xs, ys], dim=-1)


def rotate(x_NLC: Tensor, cosines_PD: Tensor, sines_PD: Tensor) -> Tensor:
    """Rotate channel pairs by their position; L = repeats x P, every repeat with the same angles.

    Computed in fp32 whatever comes in, and given back in the dtype that came in. What comes in may
    be overwritten.
    """
    batch, length, channels = x_NLC.shape
    repeats = length // cosines_PD.shape[0]
    pairs = x_NLC.float().reshape(batch, repeats, -1, channels // 2, 2)
    if prefers_pieces(x_NLC):
        turned = torch.view_as_complex(pairs).mul_(torch.complex(cosines_PD, sines_PD))
        rotated = torch.view_as_real(turned)
    else:  # compilers and half precision want plain real arithmetic
        a, b = pairs.unbind(-1)
        rotated = torch.stack(
            [a * cosines_PD - b * sines_PD, a * sines_PD + b * cosines_PD], dim=-1
        )
    return rotated.reshape(batch, length, channels).to(x_NLC.dtype)
