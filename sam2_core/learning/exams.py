"""How good a model's answers are on labelled pictures: IoU after 1, 3 and 5 clicks, and by box.

A simulated user clicks into the middle of the largest mistake, at the picture's own size; the place
is sought on a copy whose longer side has 256 pixels, as users see no more either. Boxes are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ops import mask_boxes_xyxy

from ..data import Prompt
from ..inference.image_segmenter import EmbeddedImages, ImageSegmenter, Segmentation
from ..inference.preprocess import RgbArray
from .interaction import next_clicks
from .losses import true_iou

CLICKS = (1, 3, 5)
_SIDE = 256
_OBJECTS = 32  # at once


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What one picture's objects got; each tensor has one number an object."""

    clicks: Mapping[int, Tensor]  # IoU of the chosen mask, by the number of clicks
    box: Tensor
    predicted: Tensor  # what the model thought of its masks after one click
    three: Tensor  # IoU of each of the three masks after one click [N, 3]
    three_predicted: Tensor  # what the model thought of them [N, 3]
    masks: Tensor  # bool [N, H, W] after one click, to be shown
    shares: Tensor  # of the picture, that each object covers


def examine_picture(
    segmenter: ImageSegmenter,
    pixels: RgbArray,
    targets_NHW: Tensor,
    generator: torch.Generator,
    most_clicks: int = max(CLICKS),
) -> Marks:
    """Ask about each object of a picture; the first click falls on the middle of it."""
    embedded = segmenter.embed([pixels])
    parts = [
        _ask(segmenter, embedded, some, generator, most_clicks)
        for some in targets_NHW.split(_OBJECTS)
    ]
    return Marks(
        {count: torch.cat([part.clicks[count] for part in parts]) for count in parts[0].clicks},
        torch.cat([part.box for part in parts]),
        torch.cat([part.predicted for part in parts]),
        torch.cat([part.three for part in parts]),
        torch.cat([part.three_predicted for part in parts]),
        torch.cat([part.masks for part in parts]),
        torch.cat([part.shares for part in parts]),
    )


def _ask(
    segmenter: ImageSegmenter,
    embedded: EmbeddedImages,
    targets_NHW: Tensor,
    generator: torch.Generator,
    most_clicks: int,
) -> Marks:
    points: list[Tensor] = []
    labels: list[Tensor] = []
    answer: Segmentation | None = None
    seen: Tensor | None = None
    first: _Chosen | None = None
    ious: dict[int, Tensor] = {}
    for count in range(1, most_clicks + 1):
        point, label = _clicks(targets_NHW, seen, generator)
        points.append(point)
        labels.append(label)
        prompts = _prompts(points, labels, answer if first is not None else None, first)
        (answer,) = segmenter.segment(embedded, [prompts], multimask=count == 1)
        chosen = _chosen(answer)
        first = first or chosen
        seen = chosen.masks
        if count in CLICKS:
            ious[count] = true_iou(seen.flatten(1), targets_NHW.flatten(1))
    assert first is not None
    box = _by_box(segmenter, embedded, targets_NHW)
    flat = targets_NHW.flatten(1)
    three = torch.stack([true_iou(one.flatten(1), flat) for one in first.answer.masks.unbind(1)], 1)
    shares = flat.float().mean(1)
    answers = first.answer.predicted_iou
    return Marks(ious, box, first.predicted, three, answers, first.masks, shares)


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """The masks that the model rates best."""

    answer: Segmentation
    masks: Tensor  # bool [N, H, W]
    predicted: Tensor  # [N]
    index: Tensor  # [N]


def _chosen(answer: Segmentation) -> _Chosen:
    index = answer.predicted_iou.argmax(1)
    rows = torch.arange(len(index))
    return _Chosen(answer, answer.masks[rows, index], answer.predicted_iou[rows, index], index)


def _prompts(
    points: Sequence[Tensor],
    labels: Sequence[Tensor],
    answer: Segmentation | None,
    first: _Chosen | None,
) -> list[Prompt]:
    """All clicks so far, and the last answer's logits."""
    made = []
    for n in range(len(points[0])):
        logits = None
        if answer is not None and first is not None:
            # Only the first answer has three masks to choose from.
            place = int(first.index[n]) if answer.low_res_logits.shape[1] > 1 else 0
            logits = answer.low_res_logits[n, place]
        clicked = [tuple(point[n].tolist()) for point in points]
        kinds = [int(label[n]) for label in labels]
        made.append(Prompt(points=clicked, labels=kinds, low_res_logits=logits))
    return made


def _clicks(
    targets_NHW: Tensor, seen_NHW: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Where a user clicks next, in pixels of the picture."""
    height, width = targets_NHW.shape[1:]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    target = _shrunk(targets_NHW, size)
    seen = None if seen_NHW is None else _shrunk(seen_NHW, size)
    is_lost = ~target.flatten(1).any(1)  # thinner than a pixel of the copy
    point, label = next_clicks(target, seen, generator, "middle")
    ratio = torch.tensor([width / size[1], height / size[0]])
    point = (point + 0.5) * ratio - 0.5
    if bool(is_lost.any()):
        answers = None if seen_NHW is None else seen_NHW[is_lost]
        point[is_lost], label[is_lost] = next_clicks(
            targets_NHW[is_lost], answers, generator, "anywhere"
        )
    return point.clamp(min=0), label


def _shrunk(masks_NHW: Tensor, size: tuple[int, int]) -> Tensor:
    if masks_NHW.shape[1:] == size:
        return masks_NHW
    return F.interpolate(masks_NHW[:, None].float(), size, mode="area")[:, 0] >= 0.5


def _by_box(segmenter: ImageSegmenter, embedded: EmbeddedImages, targets_NHW: Tensor) -> Tensor:
    boxes = mask_boxes_xyxy(targets_NHW)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)  # of a line of pixels, too
    prompts = [Prompt(box=tuple(box)) for box in boxes.tolist()]
    (answer,) = segmenter.segment(embedded, [prompts], multimask=False)
    return true_iou(answer.masks[:, 0].flatten(1), targets_NHW.flatten(1))


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's; not a number where one of them never changes."""
    if len(first) < 2 or np.std(first) == 0 or np.std(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
