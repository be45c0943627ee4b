"""How good masks are: IoU of pictures, and J and F of clips as DAVIS and SA-V define them.

J is the IoU of a frame; F is how well outlines meet, within a tolerance that follows the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_TOLERANCE = 0.008  # of the diagonal


@dataclass(frozen=True, slots=True)
class ClipScore:
    """Means over the frames of one object."""

    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """What clips are ranked by."""
        return (self.j + self.f) / 2


@dataclass(slots=True)
class ClipScorer:
    """Judges one object on frames of a clip as they come; which may count is the caller's to say.

    As the evaluator of SA-V does it, they count from the first one on that shows the object or an
    answer; who is on none of them has no score.
    """

    frames: int = 0  # that count
    j_sum: float = 0.0
    f_sum: float = 0.0
    is_seen: bool = False

    def add(self, answers_THW: Tensor, targets_THW: Tensor) -> None:
        """Judge the next frames."""
        if not self.frames:
            shown = (answers_THW | targets_THW).flatten(1).any(1).nonzero()
            if not len(shown):
                return
            first = int(shown[0])
            answers_THW, targets_THW = answers_THW[first:], targets_THW[first:]
        self.frames += len(targets_THW)
        self.is_seen |= bool(targets_THW.any())
        self.j_sum += region_similarity(answers_THW, targets_THW).double().sum().item()
        self.f_sum += boundary_accuracy(answers_THW, targets_THW).double().sum().item()

    def score(self) -> ClipScore:
        """The means so far."""
        if not self.is_seen:
            return ClipScore(math.nan, math.nan)
        return ClipScore(self.j_sum / self.frames, self.f_sum / self.frames)


def score_clip(answers_THW: Tensor, targets_THW: Tensor) -> ClipScore:
    """Judge one object on all frames that may count."""
    scorer = ClipScorer()
    scorer.add(answers_THW, targets_THW)
    return scorer.score()


def mean_score(scores: Iterable[ClipScore]) -> ClipScore:
    """The mean over objects, of those that have one."""
    known = [score for score in scores if not math.isnan(score.j)]
    if not known:
        return ClipScore(math.nan, math.nan)
    count = len(known)
    return ClipScore(sum(s.j for s in known) / count, sum(s.f for s in known) / count)


def region_similarity(answers_NHW: Tensor, targets_NHW: Tensor) -> Tensor:
    """IoU of each pair; 1 where both are empty."""
    answers, targets = answers_NHW.flatten(1), targets_NHW.flatten(1)
    union = (answers | targets).sum(1)
    shared = (answers & targets).sum(1)
    return torch.where(union > 0, shared / union.clamp(min=1), 1.0)


def boundary_accuracy(answers_NHW: Tensor, targets_NHW: Tensor) -> Tensor:
    """Harmonic mean of how much of one outline lies near the other, and the other way round."""
    near = _disc(math.ceil(_TOLERANCE * math.hypot(*targets_NHW.shape[1:])))
    outlines = [outline(masks) for masks in (answers_NHW, targets_NHW)]
    precision = _share_near(outlines[0], outlines[1], near)
    recall = _share_near(outlines[1], outlines[0], near)
    both = precision + recall
    return torch.where(both > 0, 2 * precision * recall / both.clamp(min=1e-12), 0.0)


def outline(masks_NHW: Tensor) -> Tensor:
    """Pixels that differ from a neighbour to the right, below, or both; the edge has fewer."""
    right, below = masks_NHW.clone(), masks_NHW.clone()
    right[:, :, :-1], below[:, :-1] = masks_NHW[:, :, 1:], masks_NHW[:, 1:]
    both = masks_NHW.clone()
    both[:, :-1, :-1] = masks_NHW[:, 1:, 1:]
    found = (masks_NHW ^ right) | (masks_NHW ^ below)
    inner = masks_NHW[:, :-1, :-1] ^ both[:, :-1, :-1]
    found[:, :-1, :-1] |= inner
    return found


def _disc(radius: int) -> Tensor:
    ends = torch.arange(-radius, radius + 1)
    return (ends[:, None].square() + ends[None].square() <= radius**2).float()


def _share_near(lines_NHW: Tensor, others_NHW: Tensor, near: Tensor) -> Tensor:
    """Of each outline, how much lies near the other; nothing of nothing is all of it."""
    reach = near.to(others_NHW.device)[None, None]
    pad = near.shape[0] // 2
    grown = F.conv2d(others_NHW[:, None].float(), reach, padding=pad)[:, 0] > 0.5
    count = lines_NHW.flatten(1).sum(1)
    met = (lines_NHW & grown).flatten(1).sum(1)
    return torch.where(count > 0, met / count.clamp(min=1), 1.0)
