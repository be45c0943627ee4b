"""Learning classes: how wrong a head's logits are, and how good its maps are (mIoU)."""

# B images  C classes  h,w pixels

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.class_head import UNKNOWN
from .pictures import enlarged


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLossConfig:
    """What counts how much beside the cross entropy, which counts once."""

    dice: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)  # of a class's pixels, else 1

    def weights_of(self, classes: Sequence[str]) -> list[float]:
        """One for each class."""
        return [self.weights.get(name, 1.0) for name in classes]


@dataclass(frozen=True, slots=True, eq=False)
class ClassLosses:
    """How wrong logits are; parts of a batch add up."""

    cross_entropy: Tensor
    dice: Tensor

    def total(self, config: ClassLossConfig) -> Tensor:
        """The one number that is made smaller."""
        return self.cross_entropy + config.dice * self.dice


def class_losses(
    logits_BChw: Tensor,
    truths_Bhw: Tensor,
    classes: Sequence[str],
    config: ClassLossConfig,
    pixels: float,
) -> ClassLosses:
    """Judge logits, at the size of the truth; pixels that nobody knows teach nothing.

    The cross entropy is a sum by `pixels`; dice is a mean over the classes that the batch shows.
    """
    logits = enlarged(logits_BChw, truths_Bhw.shape[-1])
    # One row a pixel: sums over maps are in another order each time on an accelerator.
    rows, truths = logits.movedim(1, -1).flatten(0, 2), truths_Bhw.long().flatten()
    weights = torch.tensor(config.weights_of(classes), device=rows.device)
    wrong = F.cross_entropy(rows, truths, weights, ignore_index=UNKNOWN, reduction="sum")
    dice = _dice(rows, truths) if config.dice else torch.zeros((), device=rows.device)
    return ClassLosses(wrong / pixels, dice)


def _dice(logits_PC: Tensor, truths_P: Tensor) -> Tensor:
    """1 - twice the overlap by the sum of the areas, softly: mean over the classes that are there.

    Sums are matrix products: what is summed by index comes in another order each time.
    """
    known = truths_P != UNKNOWN
    chances = torch.softmax(logits_PC[known], dim=1)
    truth = F.one_hot(truths_P[known], logits_PC.shape[1]).to(chances.dtype)
    areas = truth.sum(0)
    overlap = 2 * (chances * truth).sum(0)
    wrong = 1 - (overlap + 1) / (chances.sum(0) + areas + 1)
    is_there = areas > 0
    return (wrong * is_there).sum() / is_there.sum().clamp(min=1)


# ---------------------------------------------------------------- how good maps are


def confusion(answers: Tensor, truths: Tensor, classes: int) -> Tensor:
    """Count pixels, int64 [C, C]: rows are truths, columns answers; unknown ones are left out.

    Matrices of pictures add up to that of all of them.
    """
    known = truths != UNKNOWN
    places = truths[known].long() * classes + answers[known].long()
    return torch.bincount(places, minlength=classes**2).view(classes, classes)


def class_iou(confusion_CC: Tensor) -> Tensor:
    """IoU of each class over all pixels counted: float64 [C], NaN of one that is nowhere."""
    shared = confusion_CC.diagonal().double()
    return shared / (confusion_CC.sum(0) + confusion_CC.sum(1) - shared)


def mean_iou(confusion_CC: Tensor) -> float:
    """mIoU: the mean of the classes' IoU, each over the pixels of all pictures together.

    All classes count alike, the ground too. Classes that neither truth nor answers have are left
    out; one that only answers have counts 0. Without any known pixel it is NaN.
    """
    return float(class_iou(confusion_CC).nanmean())
