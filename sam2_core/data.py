"""The nouns of the core: what goes in, what moves between the verbs, what comes out.

Letters in shapes: B images  N objects or prompts  M masks each  T tokens  P coarse pixels, row by
row  C channels  H,W source pixels  S model pixels (image_size)  h,w low-res logits (S / 4).
Coordinates of a Prompt are source pixels; inside the network they are model pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

ArrayLike: TypeAlias = "np.ndarray[Any, Any] | Tensor | Sequence[Any]"


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What a user points at in one picture, in its own pixels; any sensible subset."""

    points: ArrayLike | None = ()  # (x, y) each
    labels: ArrayLike | None = ()  # 1 on the object, 0 off it
    box: ArrayLike | None = None  # (x0, y0, x1, y1)
    mask: ArrayLike | None = None  # bool [H, W]
    low_res_logits: ArrayLike | None = None  # float [h, w], as an earlier answer gave them


@dataclass(frozen=True, slots=True, eq=False)
class FramePrompt:
    """A prompt for one object on one frame of a clip."""

    frame: int
    object_id: int
    prompt: Prompt


@dataclass(frozen=True, slots=True, eq=False)
class PackedPrompts:
    """Prompts with equally many tokens, of any images of a batch, in model pixels."""

    coords_NT2: Tensor
    labels_NT: Tensor  # 0 off, 1 on, 2 and 3 corners of a box, -1 not a point
    image_index_N: Tensor  # rows of the embedding; sorted is faster
    mask_logits_Nhw: Tensor | None = None

    def __len__(self) -> int:
        return self.coords_NT2.shape[0]

    def rows(self, chosen: slice | Tensor) -> PackedPrompts:
        """Some of the prompts."""
        logits = self.mask_logits_Nhw
        return PackedPrompts(
            self.coords_NT2[chosen],
            self.labels_NT[chosen],
            self.image_index_N[chosen],
            None if logits is None else logits[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class ImageEmbedding:
    """What the encoder saw in a batch of images.

    `coarse_BPC` has stride 16. The two finer levels feed the mask decoder only and are kept in
    nested pixel order (layers.windows.nest). After `recall` the coarse rows are objects, and
    `source_index` says whose finer levels they use.
    """

    coarse_BPC: Tensor
    middle_BPQC: Tensor  # stride 8: [B, P, 4, C / 4]
    fine_BPQC: Tensor  # stride 4: [B, P, 16, C / 8]
    conditioned: bool = False  # memory, or the embedding that stands for none, has been added
    source_index: Tensor | None = None

    def __len__(self) -> int:
        return self.coarse_BPC.shape[0]

    def rows(self, chosen: slice | Tensor) -> ImageEmbedding:
        """The embeddings of some images."""
        if self.source_index is not None:
            return replace(
                self, coarse_BPC=self.coarse_BPC[chosen], source_index=self.source_index[chosen]
            )
        return replace(
            self,
            coarse_BPC=self.coarse_BPC[chosen],
            middle_BPQC=self.middle_BPQC[chosen],
            fine_BPQC=self.fine_BPQC[chosen],
        )

    def coarse_map(self) -> Tensor:
        """The coarse level as a map: [B, C, side, side]."""
        side = round(self.coarse_BPC.shape[1] ** 0.5)
        return self.coarse_BPC.transpose(1, 2).unflatten(2, (side, side))


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrediction:
    """What the decoder answers to each prompt: M masks with their scores."""

    logits_NMhw: Tensor  # float32
    predicted_iou_NM: Tensor
    object_score_N: Tensor  # logit of the object being in the picture
    tokens_NMC: Tensor  # the decoder's mask tokens; object pointers are made of them

    def rows(self, chosen: slice | Tensor) -> MaskPrediction:
        """The answers to some of the prompts."""
        return MaskPrediction(
            self.logits_NMhw[chosen],
            self.predicted_iou_NM[chosen],
            self.object_score_N[chosen],
            self.tokens_NMC[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPrediction:
    """The one mask that stands for each object on a frame."""

    logits_Nhw: Tensor
    predicted_iou_N: Tensor
    object_score_N: Tensor
    pointer_NC: Tensor

    def __len__(self) -> int:
        return self.logits_Nhw.shape[0]

    def rows(self, chosen: slice | Tensor) -> ObjectPrediction:
        """The predictions of some objects."""
        return self._each(lambda x: x[chosen])

    def clone(self) -> ObjectPrediction:
        """The same in storage of its own: a row would keep its batch alive."""
        return self._each(torch.clone)

    def cpu(self) -> ObjectPrediction:
        """The same in main memory."""
        return self._each(lambda x: x.cpu())

    def _each(self, change: Callable[[Tensor], Tensor]) -> ObjectPrediction:
        return ObjectPrediction(
            change(self.logits_Nhw),
            change(self.predicted_iou_N),
            change(self.object_score_N),
            change(self.pointer_NC),
        )


@dataclass(frozen=True, slots=True, eq=False)
class FrameMemory:
    """What is remembered of each object on one frame."""

    features_NPC: Tensor  # bfloat16 in every precision, as the reference stores them
    pointer_NC: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Memories:
    """What some objects recall: equally many frames K and pointers Q each.

    `slots_NK` are rows of the temporal encoding; `ages_NQ` are in frames, 0 on the same frame.
    """

    rows_N: Tensor  # which objects of the step these are
    features_NKPC: Tensor
    slots_NK: Tensor
    pointers_NQC: Tensor
    ages_NQ: Tensor
    reach: int  # min(length of the clip, 16); ages are encoded relative to reach - 1


def concatenate_predictions(parts: Sequence[MaskPrediction]) -> MaskPrediction:
    """Join the answers to consecutive prompts."""
    if len(parts) == 1:
        return parts[0]
    return MaskPrediction(
        torch.cat([part.logits_NMhw for part in parts]),
        torch.cat([part.predicted_iou_NM for part in parts]),
        torch.cat([part.object_score_N for part in parts]),
        torch.cat([part.tokens_NMC for part in parts]),
    )


def concatenate_objects(parts: Sequence[ObjectPrediction]) -> ObjectPrediction:
    """Put the predictions of different objects side by side."""
    if len(parts) == 1:
        return parts[0]
    return ObjectPrediction(
        torch.cat([part.logits_Nhw for part in parts]),
        torch.cat([part.predicted_iou_N for part in parts]),
        torch.cat([part.object_score_N for part in parts]),
        torch.cat([part.pointer_NC for part in parts]),
    )


def concatenate_embeddings(parts: Sequence[ImageEmbedding]) -> ImageEmbedding:
    """Join bare embeddings into one batch."""
    if len(parts) == 1:
        return parts[0]
    return ImageEmbedding(
        torch.cat([part.coarse_BPC for part in parts]),
        torch.cat([part.middle_BPQC for part in parts]),
        torch.cat([part.fine_BPQC for part in parts]),
    )
