"""Find all masks of pictures: prompt a grid of points, filter, and drop duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice, pairwise

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
from ..data import MaskPrediction, PackedPrompts, concatenate_predictions
from ..errors import ImageError
from ..network.mask_decoder import Answer
from ..network.sam2 import Sam2, Scene
from .automask import AutoMaskConfig, FoundMasks, Mask
from .candidates import Candidates, concatenate_candidates, corners_of, found_masks, size_of
from .preprocess import (
    Picture,
    ResizedPicture,
    SizedPicture,
    all_as_sized,
    as_sized,
    images_to_pixels,
    refuse_other_side,
    size_hw_of,
)
from .prompts import to_model_pixels
from .settings import require_config, require_model

_ENCODE_BATCH = 4  # crops encoded at once
_WHOLES = (np.ndarray, str, bytes, Mapping, Set)  # iterables that are no stream of pictures


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """One crop of one picture."""

    number: int  # of the picture
    picture: SizedPicture
    crop: CropBox
    ends_picture: bool

    @property
    def size_hw(self) -> tuple[int, int]:
        """The whole picture's height and width."""
        return size_hw_of(self.picture)


class MaskGenerator:
    """Find all masks of many pictures, `points_per_batch` prompts of any of them at a time."""

    def __init__(self, model: Sam2, config: AutoMaskConfig | None = None) -> None:
        require_model(model)
        self.model = model
        self.config = AutoMaskConfig.for_model(model.config) if config is None else config
        require_config(self.config, AutoMaskConfig)
        self._single: Answer = "stable" if self.config.stability_fallback else "one"
        self._answer: Answer = "three" if self.config.multimask_output else self._single
        self._grids = self.config.grids()

    def generate(self, images: Iterable[Picture]) -> list[list[Mask]]:
        """Masks of each picture, in the reference's order; a picture may have none."""
        return [found.records() for found in self.find(images)]

    @torch.inference_mode()
    def find(self, images: Iterable[Picture]) -> list[FoundMasks]:
        """The same as columns: for who makes tables of them, or looks at the run lengths.

        Pictures are taken from `images` when their turn to be encoded comes, and what was found in
        one is brought into its final form before the next one is searched.
        """
        tasks = self._tasks(images)
        answers: list[FoundMasks] = []
        parts: list[tuple[CropBox, Candidates]] = []
        while batch := list(islice(tasks, _ENCODE_BATCH)):
            for task, found in zip(batch, self._search(batch), strict=True):
                parts.append((task.crop, found))
                if task.ends_picture:
                    answers.append(found_masks(parts, task.size_hw, self.config))
                    parts = []
        return answers

    def _tasks(self, images: Iterable[Picture]) -> Iterator[_Task]:
        """The crops of each picture, the whole one first."""
        for number, image in enumerate(_several(images)):
            with _about_picture(number):
                picture = as_sized(image)
                refuse_other_side(picture, self.model.config.image_size)
                self._refuse_to_crop(picture)
            crops = crop_boxes(
                *size_hw_of(picture), self.config.crop_n_layers, self.config.crop_overlap_ratio
            )
            for crop in crops:
                yield _Task(number, picture, crop, ends_picture=crop is crops[-1])

    def _refuse_to_crop(self, picture: SizedPicture) -> None:
        if self.config.crop_n_layers and isinstance(picture, ResizedPicture):
            raise ImageError(
                "Crops are cut from a picture's own pixels, and a ResizedPicture has none: give "
                "the picture itself, or set crop_n_layers=0."
            )

    def _search(self, tasks: Sequence[_Task]) -> Iterator[Candidates]:
        """Encode crops as one batch and prompt their points; what each crop has comes out."""
        points = [self._points(task.crop) for task in tasks]
        owners = np.repeat(np.arange(len(tasks)), [len(p) for p in points])
        everywhere = torch.cat(points)
        scene = self._embed(tasks, prompts=len(owners))
        step = self.config.points_per_batch
        spans = chain.from_iterable(
            self._prompt(
                scene, tasks, everywhere[start : start + step], owners[start : start + step]
            )
            for start in range(0, len(owners), step)
        )
        for _, of_crop in groupby(spans, key=lambda span: span[0]):
            yield self._drop_duplicates(concatenate_candidates([kept for _, kept in of_crop]))

    def _embed(self, tasks: Sequence[_Task], prompts: int) -> Scene:
        cuts = [_cut(task.picture, task.crop) for task in tasks]
        size, device = self.model.config.image_size, self.model.device
        embedding = self.model.embed_images(images_to_pixels(cuts, size, device))
        return self.model.scene(embedding, maskless_prompts=prompts)

    def _points(self, crop: CropBox) -> Tensor:
        scale = np.array([crop.x1 - crop.x0, crop.y1 - crop.y0])
        return torch.as_tensor(self._grids[crop.layer] * scale, dtype=torch.float32)

    def _prompt(
        self,
        scene: Scene,
        tasks: Sequence[_Task],
        points_N2: Tensor,
        owners: np.ndarray,
    ) -> Iterator[tuple[int, Candidates]]:
        """Decode one packed batch of points and filter the masks crop by crop."""
        first, last = int(owners[0]), int(owners[-1])
        inside = scene.rows(slice(first, last + 1))
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
            yield owner, self._filter(prediction.rows(span), points_N2[span], tasks[owner])

    def _decode(self, scene: Scene, prompts: PackedPrompts) -> MaskPrediction:
        prediction = self.model.decode_masks(scene, prompts, self._answer)
        return self._refine(scene, prompts, prediction) if self.config.use_m2m else prediction

    def _refine(
        self, scene: Scene, prompts: PackedPrompts, prediction: MaskPrediction
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
            self.model.decode_masks(scene, again.rows(slice(i, i + step)), self._single)
            for i in range(0, count * masks, step)
        ]
        refined = concatenate_predictions(parts)
        return replace(
            prediction,
            logits_NMhw=refined.logits_NMhw.view_as(prediction.logits_NMhw),
            predicted_iou_NM=refined.predicted_iou_NM.view(count, masks),
        )

    def _filter(self, prediction: MaskPrediction, points_N2: Tensor, task: _Task) -> Candidates:
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
            # At 0, whatever mask_threshold is: so the predictor inside the reference's generator.
            logits = clean_up_logits(logits, area, area)
        measures = measure_upsampled(
            logits, size_of(task.crop), config.mask_threshold, config.stability_score_offset
        )
        stability, boxes = measures.stability, measures.boxes_xyxy_N4
        whole = ~touches_crop_edge(boxes, corners_of(task.crop), task.size_hw)
        if config.stability_score_thresh > 0:
            whole &= stability >= config.stability_score_thresh
        found = Candidates(logits, points.to(logits.device), scores, stability, boxes)
        return found.rows(torch.nonzero(whole).squeeze(1))

    def _drop_duplicates(self, candidates: Candidates) -> Candidates:
        kept = suppress(
            candidates.boxes_xyxy_N4, candidates.predicted_iou_N, self.config.box_nms_thresh
        )
        return candidates.rows(kept)


def _several(images: Iterable[Picture]) -> Iterable[Picture]:
    """Pictures one after another; what may be a single one is looked at as a whole."""
    is_stream = isinstance(images, Iterable) and not isinstance(images, _WHOLES)
    return images if is_stream else all_as_sized(images)


@contextmanager
def _about_picture(number: int) -> Iterator[None]:
    """Let errors say which picture is wrong."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"Picture {number}: {error}") from error


def _cut(array: SizedPicture, crop: CropBox) -> SizedPicture:
    if isinstance(array, ResizedPicture):
        return array
    return array[crop.y0 : crop.y1, crop.x0 : crop.x1]


def _click_prompts(coords_N2: Tensor, owners_N: Tensor, device: torch.device) -> PackedPrompts:
    """One point on the object each, and the token that ends every list of points."""
    coords = torch.stack([coords_N2, torch.zeros_like(coords_N2)], dim=1)
    labels = torch.tensor([1, -1]).expand(len(coords_N2), 2)
    return PackedPrompts(coords.to(device), labels.to(device), owners_N.long().to(device))
