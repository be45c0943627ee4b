"""What random weights are given: clicks and memories are sought at their own places."""

from __future__ import annotations

import dataclasses

import torch

from sam2_core import RELEASED
from sam2_core.data import Memories
from sam2_core.learning.scratch import start_from_scratch
from sam2_core.network.sam2 import Sam2

SMALL = dataclasses.replace(RELEASED["nano"], name="small", image_size=128)
PLACES = (0, 19, 36, 63)  # of 8 x 8


def _model(prepared: bool) -> Sam2:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = Sam2(SMALL).eval()
    if prepared:
        start_from_scratch(model)
    return model


@torch.no_grad()
def _most_changed_place(model: Sam2, place: int) -> int:
    """Where a frame changes most if its memory of an object does at one place."""
    generator = torch.Generator().manual_seed(place)
    embedding = model.embed_images(torch.randn(1, 3, 128, 128, generator=generator))
    features = torch.randn(1, 2, 64, SMALL.memory_dim, generator=generator)
    pointers = torch.randn(1, 1, SMALL.hidden_dim, generator=generator)

    def recalled(remembered: torch.Tensor) -> torch.Tensor:
        memories = Memories(
            torch.tensor([0]),
            remembered,
            torch.tensor([[0, 1]]),
            pointers,
            torch.tensor([[1]]),
            8,
        )
        return model.recall(embedding, [memories]).coarse_BPC[0]

    other = features.clone()
    other[:, :, place] = torch.randn(SMALL.memory_dim, generator=generator) * 3
    return int((recalled(other) - recalled(features)).norm(dim=1).argmax())


def _farthest(model: Sam2) -> int:
    """How far from a change of memory a frame changes most, at worst, in pixels of the map."""
    pairs = [(place, _most_changed_place(model, place)) for place in PLACES]
    return max(max(abs(a // 8 - b // 8), abs(a % 8 - b % 8)) for a, b in pairs)


def test_a_pixel_recalls_what_was_about_it_before_anything_is_learned():
    assert _farthest(_model(True)) <= 1


def test_without_that_it_recalls_any_place():
    assert _farthest(_model(False)) > 1


def test_a_click_is_projected_as_pixels_are():
    attention = _model(True).mask_decoder.transformer.last_look
    assert torch.equal(attention.query.weight, attention.key.weight)
    assert not attention.key.bias.any()
