"""Segment what prompts point at, in batches of pictures of any sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from ops import RunLengths, clean_up_logits, upsample_masks, upsampled_run_lengths

from ..config import LOGIT_CLAMP
from ..data import ImageEmbedding, MaskPrediction, Prompt, concatenate_predictions
from ..errors import PromptError
from ..network.mask_decoder import Answer
from ..network.sam2 import Sam2, no_point_prompts
from .preprocess import Picture, SizedPicture, all_as_sized, images_to_pixels, size_hw_of
from .prompts import CheckedPrompt, check_prompt, pack_prompts

_ENCODE_BATCH = 8
_DECODE_BATCH = 64  # prompts whose logits are alive at once


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The answer to all prompts of one picture, on the CPU; M is 3, or 1 for multimask=False."""

    predicted_iou: Tensor  # [N, M]
    low_res_logits: Tensor  # float32 [N, M, h, w], within +-32; may be fed back as a prompt
    object_score: Tensor  # [N], raw logit
    size_hw: tuple[int, int]
    cleaned_logits: Tensor  # [N, M, h, w] as masks are made of them, on the device
    mask_threshold: float = 0.0

    @cached_property
    def masks(self) -> Tensor:
        """Bool [N, M, H, W], computed when it is first read."""
        flat = upsample_masks(self.cleaned_logits.flatten(0, 1), self.size_hw, self.mask_threshold)
        return flat.unflatten(0, self.cleaned_logits.shape[:2]).cpu()

    def run_lengths(self, chosen: Tensor) -> RunLengths:
        """Some of the N x M masks as run lengths, never holding many of them as pixels."""
        logits = self.cleaned_logits.flatten(0, 1)[chosen.to(self.cleaned_logits.device)]
        return upsampled_run_lengths(logits, self.size_hw, self.mask_threshold)


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedImages:
    """Pictures that were encoded once and can be prompted many times."""

    embedding: ImageEmbedding
    sizes_hw: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.sizes_hw)


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
        self.model = model
        self.single_answer: Answer = "stable" if stability_fallback else "one"
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_speck_area = max_speck_area

    @torch.inference_mode()
    def embed(self, images: Sequence[Picture]) -> EmbeddedImages:
        """Encode pictures, to be prompted as often as needed."""
        arrays = all_as_sized(images)
        if not arrays:
            raise PromptError("There is no picture to embed.")
        return self._embed_arrays(arrays)

    def _embed_arrays(self, arrays: Sequence[SizedPicture]) -> EmbeddedImages:
        size, device = self.model.config.image_size, self.model.device
        embedding = self.model.embed_images(images_to_pixels(arrays, size, device))
        return EmbeddedImages(embedding, tuple(size_hw_of(array) for array in arrays))

    @torch.inference_mode()
    def segment(
        self,
        images: Sequence[Picture] | EmbeddedImages,
        prompts: Sequence[Iterable[Prompt]],
        multimask: bool = True,
    ) -> list[Segmentation]:
        """Answer the prompts of each picture: prompts[i] are those of images[i], in order."""
        _refuse_flat(prompts)
        arrays = [] if isinstance(images, EmbeddedImages) else all_as_sized(images)
        if len(images) != len(prompts):
            raise PromptError(
                f"{len(images)} pictures but {len(prompts)} lists of prompts: give one list each, "
                "empty where there is nothing to ask."
            )
        answer: Answer = "three" if multimask else self.single_answer
        if isinstance(images, EmbeddedImages):
            return self._answer(images, self._check(prompts, images.sizes_hw), answer)
        # Every prompt is checked before the first second of encoding.
        checked = self._check(prompts, [size_hw_of(array) for array in arrays])
        answers = []
        for start in range(0, len(arrays), _ENCODE_BATCH):
            part = slice(start, start + _ENCODE_BATCH)
            answers += self._answer(self._embed_arrays(arrays[part]), checked[part], answer)
        return answers

    def _check(
        self, prompts: Sequence[Iterable[Prompt]], sizes: Sequence[tuple[int, int]]
    ) -> list[list[CheckedPrompt]]:
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
        if not groups:
            return model.decode_masks(
                embedding,
                no_point_prompts(torch.zeros(0, dtype=torch.long, device=model.device)),
                answer,
            )
        parts = [
            model.decode_masks(embedding, group.packed.rows(slice(i, i + _DECODE_BATCH)), answer)
            for group in groups
            for i in range(0, len(group.places), _DECODE_BATCH)
        ]
        places = torch.tensor([place for group in groups for place in group.places])
        return concatenate_predictions(parts).rows(torch.argsort(places).to(model.device))

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


def _refuse_flat(prompts: Sequence[Iterable[Prompt]]) -> None:
    """Refuse prompts that are not one list a picture."""
    if isinstance(prompts, Prompt):
        raise PromptError("prompts holds one list of Prompts a picture: write [[prompt]].")
    for image, asked in enumerate(prompts):
        if not isinstance(asked, Iterable):
            raise PromptError(
                f"prompts[{image}] is a {type(asked).__name__}: prompts holds one list of "
                "Prompts a picture."
            )
