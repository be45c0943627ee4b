"""Drops boxes that a better box of the same group covers."""

# N boxes  K kept

import torch
from torch import Tensor


def suppress(
    boxes_xyxy: Tensor, scores: Tensor, iou_threshold: float, groups: Tensor | None = None
) -> Tensor:
    """Return the int64 indices kept, ordered by group, then by falling score, then by index.

    A box is dropped when its IoU with a kept box of its own group is above iou_threshold.
    """
    # Not with the module: torchvision brings torch._dynamo along, which costs each process of a job
    # two seconds, and most of them suppress nothing.
    from torchvision.ops import batched_nms

    if groups is None:
        groups = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    # float32 as in the reference: with half-precision boxes other neighbours would survive.
    keep = batched_nms(boxes_xyxy.float(), scores.float(), groups, iou_threshold)
    # Sorted again because torchvision's two paths order ties and groups differently.
    keep = keep.sort().values
    keep = keep[scores[keep].argsort(descending=True, stable=True)]
    return keep[groups[keep].argsort(stable=True)]
