"""Segment what prompts point at, in batches of pictures of any sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from ops import RunLengths, clean_up_logits, upsample_masks, upsampled_run_lengths

from ..config import LOGIT_CLAMP, ModelConfig
from ..data import ImageEmbedding, MaskPrediction, Prompt, concatenate_predictions
from ..errors import PromptError
from ..network.mask_decoder import Answer
from ..network.sam2 import Sam2, no_point_prompts
from .preprocess import Picture, SizedPicture, all_as_sized, images_to_pixels, size_hw_of
from .prompts import CheckedPrompt, check_prompt, pack_prompts
from .settings import is_integer, is_number, is_truth_value, require_model, require_value

_ENCODE_BATCH = 8
_DECODE_BATCH = 64  # prompts whose logits are alive at once


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The answer to all prompts of one picture, on the CPU; M is 3, or 1 for multimask=False."""

    predicted_iou: Tensor  # [N, M]
    low_res_logits: Tensor  # float32 [N, M, h, w], within +-32; may be fed back as a prompt
    object_score: Tensor  # [N], raw logit
    size_hw: tuple[int, int]
    cleaned_logits: Tensor  # [N, M, h, w] as masks are made of them, on the device
    mask_threshold: float = 0.0

    def __repr__(self) -> str:
        low_res = list(self.low_res_logits.shape)
        masks = [*low_res[:2], *self.size_hw]
        return f"Segmentation(masks={masks}, low_res_logits={low_res})"

    @cached_property
    def masks(self) -> Tensor:
        """Bool [N, M, H, W], computed when it is first read."""
        logits = self.cleaned_logits.flatten(0, 1)
        with torch.inference_mode(mode=False):  # wherever it is read, it may be changed later
            flat = upsample_masks(logits, self.size_hw, self.mask_threshold)
        return flat.unflatten(0, self.cleaned_logits.shape[:2]).cpu()

    def run_lengths(self, chosen: Tensor) -> RunLengths:
        """Some of the N x M masks as run lengths, never holding many of them as pixels."""
        logits = self.cleaned_logits.flatten(0, 1)[chosen.to(self.cleaned_logits.device)]
        return upsampled_run_lengths(logits, self.size_hw, self.mask_threshold)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EmbeddedImages:
    """Pictures that were encoded once and can be prompted many times."""

    embedding: ImageEmbedding
    sizes_hw: tuple[tuple[int, int], ...]
    config: ModelConfig  # of the model that encoded them

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def __repr__(self) -> str:
        by = f"{self.config.name} at {self.config.image_size} px"
        return f"EmbeddedImages({len(self)} pictures, embedded by {by})"


class ImageSegmenter:
    """Turn pictures and prompts into masks.

    `stability_fallback` is the reference's dynamic multimask: an unstable single mask is replaced
    by the best of the three. Holes and specks up to the given areas, counted in low-res pixels,
    are filled and dropped.
    """

    def __init__(
        self,
        model: Sam2,
        stability_fallback: bool = True,
        *,
        mask_threshold: float = 0.0,
        max_hole_area: int = 0,
        max_speck_area: int = 0,
    ) -> None:
        require_model(model)
        _require_truth("stability_fallback", stability_fallback)
        is_finite = is_number(mask_threshold) and math.isfinite(mask_threshold)
        require_value("mask_threshold", mask_threshold, is_finite, "a finite number")
        for name, area in (("max_hole_area", max_hole_area), ("max_speck_area", max_speck_area)):
            require_value(name, area, is_integer(area) and area >= 0, "an integer, at least 0")
        self.model = model
        self.single_answer: Answer = "stable" if stability_fallback else "one"
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_speck_area = max_speck_area

    @torch.inference_mode()
    def embed(self, images: Iterable[Picture]) -> EmbeddedImages:
        """Encode pictures, to be prompted as often as needed."""
        arrays = all_as_sized(images)
        if not arrays:
            raise PromptError("There is no picture to embed.")
        return self._embed_arrays(arrays)

    def _embed_arrays(self, arrays: Sequence[SizedPicture]) -> EmbeddedImages:
        config = self.model.config
        pixels = images_to_pixels(arrays, config.image_size, self.model.device)
        sizes = tuple(size_hw_of(array) for array in arrays)
        return EmbeddedImages(self.model.embed_images(pixels), sizes, config)

    @torch.inference_mode()
    def segment(
        self,
        images: Iterable[Picture] | EmbeddedImages,
        prompts: Iterable[Iterable[Prompt]],
        multimask: bool = True,
    ) -> list[Segmentation]:
        """Answer the prompts of each picture: prompts[i] are those of images[i], in order."""
        _require_truth("multimask", multimask)
        answer: Answer = "three" if multimask else self.single_answer
        asked = _listed(prompts)
        if isinstance(images, EmbeddedImages):
            self._refuse_another_model(images)
            return self._answer(images, self._check(asked, images.sizes_hw), answer)
        arrays = all_as_sized(images)
        # Every prompt is checked before the first second of encoding.
        checked = self._check(asked, [size_hw_of(array) for array in arrays])
        answers = []
        for start in range(0, len(arrays), _ENCODE_BATCH):
            part = slice(start, start + _ENCODE_BATCH)
            answers += self._answer(self._embed_arrays(arrays[part]), checked[part], answer)
        return answers

    def _refuse_another_model(self, images: EmbeddedImages) -> None:
        if images.config != self.model.config:
            theirs, ours = images.config, self.model.config
            raise PromptError(
                f"These pictures were embedded by {theirs.name} at {theirs.image_size} px, and "
                f"this is {ours.name} at {ours.image_size} px: embed them with this segmenter."
            )

    def _check(
        self, prompts: Sequence[Iterable[Prompt]], sizes: Sequence[tuple[int, int]]
    ) -> list[list[CheckedPrompt]]:
        if len(sizes) != len(prompts):
            raise PromptError(
                f"{len(sizes)} pictures but {len(prompts)} lists of prompts: give one list each, "
                "empty where there is nothing to ask."
            )
        return [
            [self._check_one(prompt, size, image, number) for number, prompt in enumerate(asked)]
            for image, (asked, size) in enumerate(zip(prompts, sizes, strict=True))
        ]

    def _check_one(
        self, prompt: Prompt, size: tuple[int, int], image: int, number: int
    ) -> CheckedPrompt:
        place = f"Picture {image}, prompt {number}"
        if not isinstance(prompt, Prompt):
            raise PromptError(
                f"{place}: expected a Prompt, got {type(prompt).__name__}. prompts holds one list "
                "of Prompts a picture."
            )
        try:
            return check_prompt(prompt, size, self.model.config)
        except PromptError as error:
            raise PromptError(f"{place}: {error}") from error

    def _answer(
        self, images: EmbeddedImages, prompts: Sequence[Sequence[CheckedPrompt]], answer: Answer
    ) -> list[Segmentation]:
        counts = [len(asked) for asked in prompts]
        flat = [prompt for asked in prompts for prompt in asked]
        owners = [image for image, count in enumerate(counts) for _ in range(count)]
        prediction = self._decode(images.embedding, flat, owners, answer)
        ends = list(accumulate(counts))
        return [
            self._finish(prediction.rows(slice(end - count, end)), size)
            for count, end, size in zip(counts, ends, images.sizes_hw, strict=True)
        ]

    def _decode(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[CheckedPrompt],
        owners: Sequence[int],
        answer: Answer,
    ) -> MaskPrediction:
        """Decode prompts group by group and bring the answers back into the caller's order."""
        model = self.model
        groups = pack_prompts(prompts, owners, model.config, model.device)
        parts = [
            model.decode_masks(embedding, group.packed.rows(slice(i, i + _DECODE_BATCH)), answer)
            for group in groups
            for i in range(0, len(group.places), _DECODE_BATCH)
        ]
        if not parts:
            nothing = no_point_prompts(torch.zeros(0, dtype=torch.long, device=model.device))
            parts = [model.decode_masks(embedding, nothing, answer)]
        places = [place for group in groups for place in group.places]
        order = torch.tensor(places, dtype=torch.long).argsort().to(model.device)
        # What is handed out may be changed and learned from: the copy in order is a plain tensor.
        with torch.inference_mode(mode=False):
            return concatenate_predictions(parts).rows(order)

    @torch.inference_mode(mode=False)
    def _finish(self, prediction: MaskPrediction, size_hw: tuple[int, int]) -> Segmentation:
        """Clean up, cut and upsample the masks of one picture."""
        logits = prediction.logits_NMhw
        flat = logits.flatten(0, 1)
        if self.max_hole_area or self.max_speck_area:
            flat = clean_up_logits(
                flat, self.max_hole_area, self.max_speck_area, self.mask_threshold
            )
        return Segmentation(
            prediction.predicted_iou_NM.cpu(),
            logits.clamp(-LOGIT_CLAMP, LOGIT_CLAMP).cpu(),
            prediction.object_score_N.cpu(),
            size_hw,
            flat.view_as(logits),
            self.mask_threshold,
        )


def _require_truth(name: str, value: bool) -> None:
    require_value(name, value, is_truth_value(value), "True or False")


def _listed(prompts: Iterable[Iterable[Prompt]]) -> list[Iterable[Prompt]]:
    """One list of prompts a picture; a single list of prompts is refused."""
    if isinstance(prompts, Prompt):
        raise PromptError("prompts holds one list of Prompts a picture: write [[prompt]].")
    if not isinstance(prompts, Iterable) or isinstance(prompts, Mapping | str):
        raise PromptError(
            f"prompts is a {type(prompts).__name__}: it holds one list of Prompts a picture, "
            "[[Prompt(...), ...], ...]."
        )
    listed = list(prompts)
    for image, asked in enumerate(listed):
        if not isinstance(asked, Iterable):
            raise PromptError(
                f"prompts[{image}] is a {type(asked).__name__}: prompts holds one list of "
                "Prompts a picture."
            )
    return listed
