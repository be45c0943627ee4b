"""Weights for `nano` that know nothing: random, wired so that a click finds what is near it.

`build_sam2` has them: tests of shapes and benchmarks of speed need masks, and no training.

Plain random weights answer every click of a picture with one and the same mask over all of it.
Four changes make the answer depend on the click: places speak through queries and keys, kinds of
points through values, finer pixels repeat the coarse one they lie in, and the masks are read along
a direction fitted to discs about clicks on an empty picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from .config import LOW_RES_STRIDE, NANO
from .data import PackedPrompts
from .layers.mlp import MLP, TokenConv
from .network.mask_decoder import MaskDecoder
from .network.sam2 import Sam2
from .network.two_way import TwoWayLayer

_SEED = 11
_RADII = (0.08, 0.06, 0.09, 0.12)  # of the disc each mask token draws, in sides of the picture
_LOUDNESS = 30.0  # of logits, so that a disc's edge is steep


@cache
def untrained_weights() -> dict[str, Tensor]:
    """Draw the state dict; nobody else's random numbers change.

    It is the same in every process, whatever its threads, but for last bits between kinds of CPU.
    """
    with own_random_numbers(), torch.device("cpu"):
        model = Sam2(NANO).eval()
        wire(model)
    return model.state_dict()


@torch.no_grad()
def wire(model: Sam2) -> None:
    """Change random weights of any shape so that a click finds something near itself."""
    _let_places_meet(model)
    _repeat_coarse_pixels(model.mask_decoder)
    _soften_pictures(model)
    _fit_masks_to_discs(model)


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Draw from a fixed seed inside, and find everybody's random numbers as they were outside."""
    # torch.manual_seed would seed the accelerators too, which nothing here restores.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        yield


def _let_places_meet(model: Sam2) -> None:
    """Have pixels attend to the click that is near them, and take from it that it is a click."""
    a_click = model.prompt_encoder.point_kinds[1]
    a_click.zero_()
    a_click[:, 0] = 12
    for layer in _layers(model.mask_decoder):
        own, write = layer.self_attention, layer.write_image
        own.query.weight.mul_(2)
        own.key.weight.copy_(own.query.weight)
        # In fp64, so that the last bits of fp32 do not depend on the number of threads.
        write.query.weight.copy_(nn.init.orthogonal_(write.query.weight.double(), gain=1.5))
        write.query.weight[:, 0] = 0
        write.key.weight.copy_(write.query.weight)
        write.query.bias.zero_()
        write.key.bias.zero_()
        write.out.weight.mul_(30)
        # Contents stay quieter than places, or they would drown them in the next layer's keys.
        layer.norm3.weight.mul_(0.2)
        layer.norm4.weight.mul_(0.2)


def _layers(decoder: MaskDecoder) -> list[TwoWayLayer]:
    return cast("list[TwoWayLayer]", list(decoder.transformer.layers))


def _repeat_coarse_pixels(decoder: MaskDecoder) -> None:
    for grow in (decoder.upscale1, decoder.upscale2):
        grow.weight.copy_(grow.weight[:, :, :1, :1])


def _soften_pictures(model: Sam2) -> None:
    """Let what is in the picture bend a mask's outline, not decide it."""
    pyramid = model.pyramid
    laterals = cast("list[TokenConv]", list(pyramid.laterals))
    for conv in (*laterals, pyramid.to_fine, pyramid.to_middle):
        conv.weight.mul_(0.2)


def _fit_masks_to_discs(model: Sam2) -> None:
    side, lasts = model.config.image_size, _last_layers(model.mask_decoder)
    liveliness = [0.1 * last.weight for last in lasts]  # the fit does not see it
    clicks = _grid(side)
    features = _features(model, clicks).double()
    for last, lively, radius in zip(lasts, liveliness, _RADII, strict=True):
        inside = _discs(clicks, radius, side)
        weight = torch.where(inside, 1 / inside.sum(), 3 / (~inside).sum()).sqrt().double()
        target = torch.where(inside, 1.0, -1.0) * weight
        fitted = torch.linalg.lstsq(features * weight[:, None], target[:, None]).solution[:, 0]
        last.weight.copy_(lively)
        last.bias.copy_((fitted * _LOUDNESS).round())


def _last_layers(decoder: MaskDecoder) -> list[nn.Linear]:
    """The layers whose biases are what pixels are weighed with, a mask token each."""
    heads = cast("list[MLP]", list(decoder.mask_weights))
    return [cast("nn.Linear", head.layers[-1]) for head in heads]


def _grid(side: int) -> Tensor:
    line = (torch.arange(4) + 0.5) / 4 * side
    return torch.cartesian_prod(line, line)


def _discs(clicks_N2: Tensor, radius: float, side: int) -> Tensor:
    """Which low-res pixels lie within a radius of each click: bool [N * h * w]."""
    line = torch.arange(side // LOW_RES_STRIDE) * LOW_RES_STRIDE + LOW_RES_STRIDE / 2
    ys, xs = torch.meshgrid(line, line, indexing="ij")
    distance = torch.hypot(xs - clicks_N2[:, 0, None, None], ys - clicks_N2[:, 1, None, None])
    return (distance < radius * side).flatten()


def _features(model: Sam2, clicks_N2: Tensor) -> Tensor:
    """The channels that masks are weighed from, for clicks on an empty picture: [N * h * w, C].

    They are read as masks, three at a time, each weighing one channel alone.
    """
    side, count = model.config.image_size, len(clicks_N2)
    embedding = model.embed_images(torch.zeros(1, 3, side, side))
    prompts = PackedPrompts(
        torch.stack([clicks_N2, torch.zeros(count, 2)], dim=1),
        torch.tensor([[1, -1]]).expand(count, -1),
        torch.zeros(count, dtype=torch.long),
    )
    lasts = _last_layers(model.mask_decoder)[1:]
    found = []
    for channels in torch.eye(lasts[0].out_features).split(len(lasts)):
        for last, channel in zip(lasts, channels, strict=False):
            last.weight.zero_()
            last.bias.copy_(channel)
        drawn = model.decode_masks(embedding, prompts, "three").logits_NMhw
        found.append(drawn[:, : len(channels)])
    return torch.cat(found, dim=1).movedim(1, -1).flatten(0, -2)
