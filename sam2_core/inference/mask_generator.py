"""Find all masks of pictures: prompt a grid of points, filter, and drop duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ops import (
    CropBox,
    clean_up_logits,
    crop_boxes,
    measure_upsampled,
    suppress,
    touches_crop_edge,
)

from ..config import LOGIT_CLAMP
from ..data import ImageEmbedding, MaskPrediction, PackedPrompts, concatenate_predictions
from ..errors import ImageError
from ..network.mask_decoder import Answer
from ..network.sam2 import Sam2
from .automask import AutoMaskConfig, Mask
from .candidates import Candidates, concatenate_candidates, corners_of, mask_records, size_of
from .preprocess import (
    Picture,
    ResizedPicture,
    SizedPicture,
    all_as_sized,
    images_to_pixels,
    size_hw_of,
)
from .prompts import to_model_pixels
from .settings import require_config

_ENCODE_BATCH = 4  # crops encoded at once


@dataclass(frozen=True, slots=True)
class _Task:
    """One crop of one picture."""

    image: int
    crop: CropBox


class MaskGenerator:
    """Find all masks of many pictures, `points_per_batch` prompts of any of them at a time."""

    def __init__(self, model: Sam2, config: AutoMaskConfig | None = None) -> None:
        self.model = model
        self.config = AutoMaskConfig.for_model(model.config) if config is None else config
        require_config(self.config, AutoMaskConfig)
        self._single: Answer = "stable" if self.config.stability_fallback else "one"
        self._answer: Answer = "three" if self.config.multimask_output else self._single
        self._grids = self.config.grids()

    @torch.inference_mode()
    def generate(self, images: Sequence[Picture]) -> list[list[Mask]]:
        """Masks of each picture, in the reference's order; a picture may have none."""
        arrays = all_as_sized(images)
        self._refuse_to_crop(arrays)
        tasks = [
            _Task(number, crop)
            for number, array in enumerate(arrays)
            for crop in crop_boxes(
                *size_hw_of(array),
                self.config.crop_n_layers,
                self.config.crop_overlap_ratio,
            )
        ]
        found: list[list[tuple[CropBox, Candidates]]] = [[] for _ in arrays]
        for start in range(0, len(tasks), _ENCODE_BATCH):
            batch = tasks[start : start + _ENCODE_BATCH]
            for task, candidates in zip(batch, self._search(arrays, batch), strict=True):
                found[task.image].append((task.crop, self._drop_duplicates(candidates)))
        return [
            mask_records(parts, size_hw_of(array), self.config)
            for parts, array in zip(found, arrays, strict=True)
        ]

    def _refuse_to_crop(self, pictures: Sequence[SizedPicture]) -> None:
        if self.config.crop_n_layers and any(isinstance(p, ResizedPicture) for p in pictures):
            raise ImageError(
                "Crops are cut from a picture's own pixels, and a ResizedPicture has none: give "
                "the picture itself, or set crop_n_layers=0."
            )

    def _search(self, arrays: Sequence[SizedPicture], tasks: Sequence[_Task]) -> list[Candidates]:
        """Encode crops as one batch, prompt all their points, and keep what passes the filters."""
        cuts = [_cut(arrays[task.image], task.crop) for task in tasks]
        device = self.model.device
        embedding = self.model.embed_images(
            images_to_pixels(cuts, self.model.config.image_size, device)
        )
        points = [self._points(task.crop) for task in tasks]
        owners = np.repeat(np.arange(len(tasks)), [len(p) for p in points])
        everywhere = torch.cat(points)
        found: list[list[Candidates]] = [[] for _ in tasks]
        for start in range(0, len(owners), self.config.points_per_batch):
            part = slice(start, start + self.config.points_per_batch)
            for owner, kept in self._prompt(
                embedding, tasks, everywhere[part], owners[part], arrays
            ):
                found[owner].append(kept)
        return [concatenate_candidates(parts) for parts in found]

    def _points(self, crop: CropBox) -> Tensor:
        scale = np.array([crop.x1 - crop.x0, crop.y1 - crop.y0])
        return torch.as_tensor(self._grids[crop.layer] * scale, dtype=torch.float32)

    def _prompt(
        self,
        embedding: ImageEmbedding,
        tasks: Sequence[_Task],
        points_N2: Tensor,
        owners: np.ndarray,
        arrays: Sequence[SizedPicture],
    ) -> Iterator[tuple[int, Candidates]]:
        """Decode one packed batch of points and filter the masks crop by crop."""
        first, last = int(owners[0]), int(owners[-1])
        inside = embedding.rows(slice(first, last + 1))
        edges = [0, *(np.flatnonzero(np.diff(owners)) + 1).tolist(), len(owners)]
        spans = [(slice(a, b), int(owners[a])) for a, b in pairwise(edges)]
        coords = torch.cat(
            [
                to_model_pixels(
                    points_N2[span], size_of(tasks[owner].crop), self.model.config.image_size
                )
                for span, owner in spans
            ]
        )
        prompts = _click_prompts(coords, torch.as_tensor(owners - first), self.model.device)
        prediction = self._decode(inside, prompts)
        for span, owner in spans:
            task = tasks[owner]
            size = size_hw_of(arrays[task.image])
            yield owner, self._filter(prediction.rows(span), points_N2[span], task.crop, size)

    def _decode(self, embedding: ImageEmbedding, prompts: PackedPrompts) -> MaskPrediction:
        prediction = self.model.decode_masks(embedding, prompts, self._answer)
        return self._refine(embedding, prompts, prediction) if self.config.use_m2m else prediction

    def _refine(
        self, embedding: ImageEmbedding, prompts: PackedPrompts, prediction: MaskPrediction
    ) -> MaskPrediction:
        """Ask again with each mask beside its point: one mask for each of the M."""
        count, masks = prediction.predicted_iou_NM.shape
        every = torch.arange(count, device=self.model.device).repeat_interleave(masks)
        again = replace(
            prompts.rows(every),
            mask_logits_Nhw=prediction.logits_NMhw.flatten(0, 1).clamp(-LOGIT_CLAMP, LOGIT_CLAMP),
        )
        step = self.config.points_per_batch
        parts = [
            self.model.decode_masks(embedding, again.rows(slice(i, i + step)), self._single)
            for i in range(0, count * masks, step)
        ]
        refined = concatenate_predictions(parts)
        return replace(
            prediction,
            logits_NMhw=refined.logits_NMhw.view_as(prediction.logits_NMhw),
            predicted_iou_NM=refined.predicted_iou_NM.view(count, masks),
        )

    def _filter(
        self,
        prediction: MaskPrediction,
        points_N2: Tensor,
        crop: CropBox,
        image_size_hw: tuple[int, int],
    ) -> Candidates:
        """Apply the filters from cheap to dear: nothing is upsampled that its own score rejects."""
        config = self.config
        scores = prediction.predicted_iou_NM.flatten()
        logits = prediction.logits_NMhw.flatten(0, 1)
        points = points_N2.repeat_interleave(prediction.predicted_iou_NM.shape[1], dim=0)
        if config.pred_iou_thresh > 0:
            good = torch.nonzero(scores > config.pred_iou_thresh).squeeze(1)
            scores, logits, points = scores[good], logits[good], points[good.cpu()]
        if config.min_mask_region_area > 0:
            area = config.min_mask_region_area
            logits = clean_up_logits(logits, area, area, config.mask_threshold)
        size = size_of(crop)
        measures = measure_upsampled(
            logits, size, config.mask_threshold, config.stability_score_offset
        )
        stability, boxes = measures.stability, measures.boxes_xyxy_N4
        whole = ~touches_crop_edge(boxes, corners_of(crop), image_size_hw)
        if config.stability_score_thresh > 0:
            whole &= stability >= config.stability_score_thresh
        found = Candidates(logits, points.to(logits.device), scores, stability, boxes)
        return found.rows(torch.nonzero(whole).squeeze(1))

    def _drop_duplicates(self, candidates: Candidates) -> Candidates:
        kept = suppress(
            candidates.boxes_xyxy_N4, candidates.predicted_iou_N, self.config.box_nms_thresh
        )
        return candidates.rows(kept)


def _cut(array: SizedPicture, crop: CropBox) -> SizedPicture:
    if isinstance(array, ResizedPicture):
        return array
    return array[crop.y0 : crop.y1, crop.x0 : crop.x1]


def _click_prompts(coords_N2: Tensor, owners_N: Tensor, device: torch.device) -> PackedPrompts:
    """One point on the object each, and the token that ends every list of points."""
    coords = torch.stack([coords_N2, torch.zeros_like(coords_N2)], dim=1)
    labels = torch.tensor([1, -1]).expand(len(coords_N2), 2)
    return PackedPrompts(coords.to(device), labels.to(device), owners_N.long().to(device))
