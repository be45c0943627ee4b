"""Weights to start from where there are none: random, but places are sought where they are."""

from __future__ import annotations

from typing import cast

import torch

from ..network.memory_attention import MemoryLayer
from ..network.sam2 import Sam2
from ..network.two_way import TwoWayLayer

_LOUDNESS = 3.0  # of queries; with less, attention is so flat that it learns for ages
_NEARNESS = 2.0  # of biases; of attention to a bare memory, 0.83 then falls on 3 x 3 pixels


@torch.no_grad()
def start_from_scratch(model: Sam2) -> None:
    """Give random weights what plain training takes most of its time to find out."""
    match_queries_and_keys(model)
    look_for_memories_nearby(model)


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


@torch.no_grad()
def look_for_memories_nearby(model: Sam2) -> None:
    """Let a pixel attend to what is remembered of its own place, and of those around it.

    Biases that queries and keys share are turned by their places alone: the product of two is the
    larger the nearer their places are. Pointers have no place, and are as if they were in the
    corner of the first pixel.
    """
    for layer in cast("list[MemoryLayer]", list(model.memory_attention.layers)):
        layer.cross_attention.query.bias.fill_(_NEARNESS)
        layer.cross_attention.key.bias.fill_(_NEARNESS)
