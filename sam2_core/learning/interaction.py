"""What a user would do next: a first click or box, then clicks where the answer is wrong.

Masks are bool [N, H, W]; points are pixels (x, y), as a user would name them.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ops import mask_boxes_xyxy

Where = Literal["anywhere", "middle"]

_MOST_SUMS = 1 << 20  # of distances, at once
_MOST_SLACK = 20.0  # pixels of the model's size, by which a user misses a corner


def next_clicks(
    targets_NHW: Tensor,
    answers_NHW: Tensor | None,
    generator: torch.Generator | None = None,
    where: Where = "anywhere",
) -> tuple[Tensor, Tensor]:
    """One click an object where its answer is wrong: points [N, 2] and labels [N].

    Without an answer it is a first click on the object. Where an answer is right everywhere the
    click is one beside the object, which changes nothing; on it, if there is nothing beside it.
    """
    answers = torch.zeros_like(targets_NHW) if answers_NHW is None else answers_NHW
    missed, invented = _to_be_clicked(targets_NHW, answers)
    if where == "middle":
        return _middles(missed, invented)
    wrong = missed | invented
    chance = torch.rand(wrong.shape, generator=generator, device=wrong.device)
    place = (chance * wrong).flatten(1).argmax(1)
    labels = missed.flatten(1).gather(1, place[:, None])[:, 0]
    return _points(place, wrong.shape[-1]), labels.long()


def _to_be_clicked(targets_NHW: Tensor, answers_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """What an answer missed and what it invented; where it did neither, what is right of it."""
    missed, invented = targets_NHW & ~answers_NHW, answers_NHW & ~targets_NHW
    is_right = ~(missed | invented).flatten(1).any(1)[:, None, None]
    is_everywhere = targets_NHW.flatten(1).all(1)[:, None, None]
    missed = torch.where(is_right & is_everywhere, targets_NHW, missed)
    return missed, torch.where(is_right & ~is_everywhere, ~targets_NHW, invented)


def _middles(missed: Tensor, invented: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of the larger of two: the pixel that lies farthest from any outside of it."""
    depths = [depth_inside(mask).flatten(1).max(1) for mask in (missed, invented)]
    is_missed = depths[0].values > depths[1].values
    place = torch.where(is_missed, depths[0].indices, depths[1].indices)
    return _points(place, missed.shape[-1]), is_missed.long()


def _points(place: Tensor, width: int) -> Tensor:
    return torch.stack([place % width, place // width], dim=1).float()


def depth_inside(masks_NHW: Tensor) -> Tensor:
    """How far each pixel of a mask is from the nearest one outside it, exactly.

    All that lies beyond the edge of the picture is outside.
    """
    return torch.stack([*map(_depth, masks_NHW)]) if len(masks_NHW) else masks_NHW.float()


def _depth(mask_HW: Tensor) -> Tensor:
    depth = torch.zeros(mask_HW.shape, device=mask_HW.device)
    if not mask_HW.any():
        return depth
    rows = mask_HW.any(1).nonzero().flatten()[[0, -1]].tolist()
    columns = mask_HW.any(0).nonzero().flatten()[[0, -1]].tolist()
    window = slice(rows[0], rows[1] + 1), slice(columns[0], columns[1] + 1)
    inside = F.pad(mask_HW[window], (1, 1, 1, 1))
    nearest = torch.minimum(_run_lengths(inside), _run_lengths(inside.flip(0)).flip(0)).square()
    # Along each row: the least of (distance down)^2 + (distance across)^2 over all its columns.
    at = torch.arange(inside.shape[1], device=mask_HW.device, dtype=torch.float32)
    across = (at[:, None] - at[None, :]).square()
    at_once = max(1, _MOST_SUMS // across.numel())
    found = [(some[:, None] + across).amin(2) for some in nearest.split(at_once)]
    depth[window] = torch.cat(found)[1:-1, 1:-1].sqrt()
    return depth


def _run_lengths(inside_HW: Tensor) -> Tensor:
    """How many pixels there are from each one up to the next outside, itself included."""
    row = torch.arange(len(inside_HW), device=inside_HW.device, dtype=torch.float32)[:, None]
    return row - torch.where(inside_HW, -1, row).cummax(0).values


def careless_boxes(
    masks_NHW: Tensor,
    slack: float,
    generator: torch.Generator | None = None,
    image_size: int | None = None,
) -> Tensor:
    """Boxes as users draw them: each corner is off by up to a share of the side, and few pixels.

    Masks may be smaller than the picture that a user sees.
    """
    boxes = mask_boxes_xyxy(masks_NHW).float()
    height, width = masks_NHW.shape[1:]
    sides = boxes[:, 2:] - boxes[:, :2]
    most = _MOST_SLACK * max(height, width) / (image_size or max(height, width))
    reach = (sides * slack).clamp(max=most).repeat(1, 2)
    chance = torch.rand(boxes.shape, generator=generator, device=boxes.device)
    ends = torch.tensor([width - 1, height - 1] * 2, device=boxes.device)
    return (boxes + reach * (2 * chance - 1)).clamp(min=0).minimum(ends)
