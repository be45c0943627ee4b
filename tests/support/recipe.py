"""Deterministic lively weights by official name: the recipe that both implementations follow.

Plain initialisation gives almost constant masks, wild weights make tracking chaotic. This sits
between: every tensor is drawn from a generator seeded by the CRC32 of its official name, the mean
of a normal and a uniform draw scaled by 1.4 / sqrt(fan-in); norms are near one, embeddings have
deviation 0.5, and the last layers of the heads are four times louder.
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
_HEADS = ("output_hypernetworks_mlps", "iou_prediction_head", "pred_obj_score_head")


def lively_state(
    shapes: Mapping[str, Iterable[int]], seed: int = 0, object_lift: float = 0.3
) -> dict[str, Tensor]:
    """Weights under their official names for a model with these shapes.

    `object_lift` is added to the object score: lower it to make objects absent on some frames.
    """
    state = {name: lively_tensor(name, tuple(shape), seed) for name, shape in shapes.items()}
    score_bias = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"
    if score_bias in state:
        state[score_bias] = state[score_bias] + object_lift
    return state


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
    if len(shape) == 1:  # biases, and the weights of norms
        return 0.1 * normal + (1 if name.endswith(".weight") else 0)
    fan_in = normal[0].numel()
    uniform = torch.rand(shape, generator=generator) * 2 - 1
    return _gain(name) * 0.5 * (normal + uniform) / fan_in**0.5


def _gain(name: str) -> float:
    """Heads speak up, so that masks cross zero and scores differ; the rest stays calm."""
    is_last_of_head = name.endswith(".layers.2.weight") and any(head in name for head in _HEADS)
    return 6.0 if is_last_of_head else 1.4
