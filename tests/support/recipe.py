"""Deterministic lively weights by official name: the recipe that both implementations follow.

Plain initialisation gives almost constant masks, wild weights make tracking chaotic. This sits
between: every tensor is drawn from a generator seeded by the CRC32 of its official name, half a
uniform draw within 1 / sqrt(fan-in) and half a normal one of that deviation; norms are near one,
embeddings have deviation 0.5, masks are scaled to logits of a few units, and the object score is
lifted so that objects are mostly, not always, present.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_EMBEDDINGS = (
    "token.weight",
    "tokens.weight",
    "embed.weight",
    "point_embeddings",
    "no_mem",
    "no_obj",
    "maskmem_tpos_enc",
    "pos_embed",
)


def lively_state(shapes: Mapping[str, Iterable[int]], seed: int = 0) -> dict[str, Tensor]:
    """Weights under their official names for a model with these shapes."""
    return {name: lively_tensor(name, tuple(shape), seed) for name, shape in shapes.items()}


def lively_tensor(name: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """One weight; the same numbers wherever it is drawn."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    normal = torch.randn(shape, generator=generator)
    if "gaussian_matrix" in name:
        return normal
    if name.endswith("gamma"):
        return 0.3 + 0.1 * normal
    if "pos_embed" in name:
        return 0.2 * normal
    if any(part in name for part in _EMBEDDINGS):
        return 0.5 * normal
    if len(shape) == 1:
        return _vector(name, normal)
    fan_in = normal[0].numel()
    uniform = torch.rand(shape, generator=generator) * 2 - 1
    weight = 0.5 * (normal + uniform) / fan_in**0.5
    return 0.3 * weight if "output_hypernetworks_mlps" in name and ".layers.2." in name else weight


def _vector(name: str, normal: Tensor) -> Tensor:
    if name.endswith(".weight"):  # of a norm: every other weight has two dimensions
        return 1 + 0.1 * normal
    lift = 0.3 if name.startswith("sam_mask_decoder.pred_obj_score_head.layers.2") else 0.0
    return 0.1 * normal + lift
