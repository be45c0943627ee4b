"""Low-res logits of classes -> the class of each pixel at full resolution, and how sure that is."""

# C classes  h,w pixels of logits  H,W pixels of the picture

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .resize import upsample_logits

# Of resized logits at a time. Choosing between parts costs as much as within one: done at once and
# not one by one, four classes of a megapixel take 36 ms instead of 85 on one core.
CHUNK_BYTES = 64 << 20
_FLOAT_BYTES = 4
_MOST_CLASSES = 256  # ids are bytes


@dataclass(frozen=True, slots=True, eq=False)
class PixelClasses:
    """What a picture's pixels show, and how much of it is what."""

    ids_HW: Tensor  # uint8: the class with the highest logit, of equal ones the first
    areas_C: Tensor  # int64, in pixels
    chances_C: Tensor  # float32, mean over the pixels of a class; NaN of one that has none


def upsample_classes(logits_Chw: Tensor, size_hw: tuple[int, int]) -> PixelClasses:
    """Resize logits and choose, a few classes at a time.

    C x H x W floats would be gigabytes: 7 of a picture of 12 megapixels with 150 classes. Classes
    are streamed and not bands of rows: a class that is resized alone has the very numbers that it
    has among all, while bands would have to repeat the arithmetic of torch's kernels to the bit.
    What is kept of those before is the highest logit, whose it is, and the sum of exponentials.
    """
    _require_logits(logits_Chw)
    logits = logits_Chw.contiguous()  # by channels last other kernels would resize them
    step = max(1, CHUNK_BYTES // (size_hw[0] * size_hw[1] * _FLOAT_BYTES))
    resized = upsample_logits(logits[None, :step], size_hw)[0]
    best, place = resized.max(dim=0)
    ids = place.to(torch.uint8)
    total = resized.sub_(best).exp_().sum(0)
    for start in range(step, len(logits), step):
        resized = upsample_logits(logits[None, start : start + step], size_hw)[0]
        top, place = resized.max(dim=0)
        ids = torch.where(top > best, (place + start).to(torch.uint8), ids)
        higher = torch.maximum(best, top)
        total.mul_(best.sub_(higher).exp_()).add_(resized.sub_(higher).exp_().sum(0))
        best = higher
    return _measured(ids, total.reciprocal_(), len(logits))


def _measured(ids_HW: Tensor, chances_HW: Tensor, classes: int) -> PixelClasses:
    areas = torch.bincount(ids_HW.flatten(), minlength=classes)
    means = torch.full((classes,), torch.nan, device=ids_HW.device)
    # One by one: sums by index are in another order each time on an accelerator.
    for number in areas.nonzero().flatten().tolist():
        sum_ = (chances_HW * (ids_HW == number)).sum(dtype=torch.float64)
        means[number] = (sum_ / areas[number]).float()
    return PixelClasses(ids_HW, areas, means)


def _require_logits(logits_Chw: Tensor) -> None:
    if logits_Chw.ndim != 3 or not 1 <= len(logits_Chw) <= _MOST_CLASSES:
        raise ValueError(
            f"upsample_classes got {list(logits_Chw.shape)}; pass logits [C, h, w] of at most "
            f"{_MOST_CLASSES} classes"
        )
