"""How wrong answers are: focal and dice loss of masks, their predicted quality, and presence.

Of several masks the one that fits best is blamed for its shape, as SAM does: the others stay free
to mean something else, but for what `LossConfig.others` asks of them. Sums over objects are divided
by `objects`: parts of a batch then add up.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import ABSENT_LOGIT


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the four losses, and their shapes; by default as SAM 2 was trained."""

    focal: float = 20.0
    dice: float = 1.0
    iou: float = 1.0
    presence: float = 1.0
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    others: float = 0.0  # what the mean over all masks counts, beside the one that fits best
    every_iou: bool = True  # each mask's predicted quality is judged, not only the best one's
    absolute_iou: bool = True  # by |error|, else by its square
    blank_absent: bool = True  # masks of what is taken for absent are blank, and learn nothing


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Sums over the objects of some answers; they add up over steps and frames."""

    focal: Tensor
    dice: Tensor
    iou: Tensor
    presence: Tensor

    def __add__(self, other: Losses) -> Losses:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Losses(*(a + b for a, b in pairs))

    def total(self, config: LossConfig) -> Tensor:
        """The one number that is made smaller."""
        return (
            config.focal * self.focal
            + config.dice * self.dice
            + config.iou * self.iou
            + config.presence * self.presence
        )


def losses_of(
    logits_NMHW: Tensor,
    predicted_iou_NM: Tensor,
    object_score_N: Tensor,
    targets_NHW: Tensor,  # bool, or float: shares of pixels
    config: LossConfig,
    objects: float,
) -> Losses:
    """Judge one answer to each of N objects; targets are empty where one is not there.

    They are bool, or shares of pixels: what is covered by half is there, and shares say on which
    side of a pixel an outline runs, so that small targets can teach fine outlines.
    """
    logits = logits_NMHW.float().flatten(2)
    if config.blank_absent:
        logits = torch.where(object_score_N[:, None, None] > 0, logits, ABSENT_LOGIT)
    is_mask = targets_NHW.dtype == torch.bool
    seen_N1P = (targets_NHW if is_mask else targets_NHW >= 0.5).flatten(1).unsqueeze(1)
    targets = seen_N1P.expand_as(logits)
    shares = targets_NHW.flatten(1).unsqueeze(1).float().expand_as(logits)
    focal = _focal(logits, shares, config.focal_alpha, config.focal_gamma).mean(-1)
    dice = _dice(logits, shares)
    iou = _iou_error(logits, targets, predicted_iou_NM.float(), absolute=config.absolute_iou)
    if logits.shape[1] > 1:
        best = (config.focal * focal + config.dice * dice).argmin(dim=1, keepdim=True)
        focal, dice = (
            loss.gather(1, best) + config.others * loss.mean(1, keepdim=True)
            for loss in (focal, dice)
        )
        iou = iou.mean(1, keepdim=True) if config.every_iou else iou.gather(1, best)
    is_there = seen_N1P.flatten(1).any(1)
    there = is_there[:, None] / objects
    presence = F.binary_cross_entropy_with_logits(
        object_score_N.float(), is_there.float(), reduction="sum"
    )
    return Losses(
        (focal * there).sum(), (dice * there).sum(), (iou * there).sum(), presence / objects
    )


def _focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Cross entropy that cares little for what is right already: of each pixel."""
    wrong = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    chance = torch.sigmoid(logits)
    missed = chance + targets - 2 * chance * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * missed**gamma * wrong


def _dice(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - twice the overlap by the sum of the areas, softly: of each mask."""
    chance = torch.sigmoid(logits)
    overlap = 2 * (chance * targets).sum(-1)
    return 1 - (overlap + 1) / (chance.sum(-1) + targets.sum(-1) + 1)


def _iou_error(logits: Tensor, targets: Tensor, predicted: Tensor, *, absolute: bool) -> Tensor:
    error = predicted - true_iou(logits > 0, targets)
    return error.abs() if absolute else error.square()


def true_iou(masks: Tensor, targets: Tensor) -> Tensor:
    """IoU of masks over their last dimension; 0 of two empty ones."""
    shared = (masks & targets).sum(-1).float()
    return shared / (masks | targets).sum(-1).clamp(min=1)
