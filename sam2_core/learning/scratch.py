"""Weights to start from where there are none: random, but a click attends to its own place."""

from __future__ import annotations

from typing import cast

import torch

from ..network.sam2 import Sam2
from ..network.two_way import TwoWayLayer

_LOUDNESS = 3.0  # of queries; with less, attention is so flat that it learns for ages


@torch.no_grad()
def match_queries_and_keys(model: Sam2) -> None:
    """Let keys be projected as queries are, in all that looks from prompts to pixels and back.

    Random projections of the same position have nothing to do with one another, and to find that
    out takes plain training most of its time.
    """
    layers = cast("list[TwoWayLayer]", list(model.mask_decoder.transformer.layers))
    attentions = [a for layer in layers for a in (layer.read_image, layer.write_image)]
    for attention in (*attentions, model.mask_decoder.transformer.last_look):
        attention.query.weight.mul_(_LOUDNESS)
        attention.key.weight.copy_(attention.query.weight)
        attention.query.bias.zero_()
        attention.key.bias.zero_()
