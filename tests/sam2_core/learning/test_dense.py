"""Learning without prompts: features lie where their pixels are, and affinities can be learned."""

from __future__ import annotations

import dataclasses

import torch

from sam2_core import RELEASED, build_sam2
from sam2_core.layers.levels import at_finest
from sam2_core.layers.windows import nest
from sam2_core.learning.dense import AffinityHead, dense_losses
from sam2_core.learning.world import World

SMALL = dataclasses.replace(RELEASED["nano"], name="small", image_size=64)


def test_levels_lie_where_their_pixels_are():
    side = SMALL.coarse_size

    def places(step: int) -> torch.Tensor:
        """The middle of each pixel of a level, in pixels of the finest: [1, h, w, 2]."""
        ends = (torch.arange(4 * side // step) + 0.5) * step
        return torch.stack(torch.meshgrid(ends, ends, indexing="ij"), dim=-1)[None]

    coarse, middle, fine = places(4), places(2), places(1)
    levels = [coarse.flatten(1, 2), nest(middle, 1), nest(fine, 2).flatten(2, 3)]
    expected = fine.permute(0, 3, 1, 2)[:, :, 2:-2, 2:-2]
    for chosen in range(3):
        alone = [level * (number == chosen) for number, level in enumerate(levels)]
        found = at_finest(*alone)[:, :, 2:-2, 2:-2]
        torch.testing.assert_close(found, expected)


def test_affinities_are_learned_and_reach_every_weight_of_the_encoder():
    torch.manual_seed(0)
    model, world = build_sam2(SMALL), World(3, size=64)
    head = AffinityHead(SMALL)
    pictures = [world.picture(number) for number in range(2)]
    pixels = torch.stack([torch.from_numpy(p.pixels.copy()) for p in pictures])
    pixels = pixels.permute(0, 3, 1, 2) / 128 - 1
    ids = torch.stack([torch.from_numpy(p.ids[1::4, 1::4].copy()) for p in pictures])
    weights = [*head.parameters(), *model.encoder.parameters(), *model.pyramid.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    seen = []
    for _ in range(150):
        losses = dense_losses(head, model.embed_images(pixels), ids, 6, generator)
        optimizer.zero_grad()
        losses.total().backward()
        optimizer.step()
        seen.append(losses.total().item())
    assert sum(seen[-20:]) < 0.8 * sum(seen[:20])
    idle = [n for n, w in model.encoder.named_parameters() if w.grad is None]
    assert not idle
