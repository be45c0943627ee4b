"""Our segmenter beside the reference's image predictor."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_close, assert_masks_equal_where_sure
from make_clip import textured_picture
from oracle import image_predictor, lend_components, small, twins

from sam2_core import ImageSegmenter, Prompt

pytestmark = pytest.mark.reference

PICTURES = [textured_picture(120, 200), textured_picture(181, 97, 1), textured_picture(128, 128, 2)]


@cache
def _models(name: str) -> tuple[Any, Any]:
    return twins(small(name, 128))


def _prompts(picture: np.ndarray) -> list[Prompt]:
    height, width = picture.shape[:2]
    middle, corner = (width / 2, height / 2), (width / 5, height / 6)
    box = (width / 8, height / 8, width * 0.7, height * 0.9)
    return [
        Prompt(points=[middle], labels=[1]),
        Prompt(points=[middle, corner], labels=[1, 0]),
        Prompt(box=box),
        Prompt(points=[middle, corner], labels=[1, 0], box=box),
        Prompt(points=[(0.0, 0.0)], labels=[1]),
        Prompt(points=[(width, height)], labels=[0]),
    ]


@pytest.mark.parametrize("name", ["sam2.1_hiera_tiny", "sam2_hiera_small"])
@pytest.mark.parametrize("multimask", [True, False])
def test_prompted_masks_equal_the_reference(name: str, multimask: bool) -> None:
    ours, reference = _models(name)
    asked = [_prompts(picture) for picture in PICTURES]
    answers = ImageSegmenter(ours).segment(PICTURES, asked, multimask=multimask)
    for picture, prompts, answer in zip(PICTURES, asked, answers, strict=True):
        for row, prompt in enumerate(prompts):
            logits, scores, low = _ask(reference, picture, prompt, multimask)
            assert_masks_equal_where_sure(answer.masks[row], logits, f"prompt {row}")
            assert_close(answer.predicted_iou[row], scores, f"score of prompt {row}")
            assert_close(answer.low_res_logits[row], low, f"low-res logits of prompt {row}")


def test_iterative_refinement_equals_the_reference() -> None:
    ours, reference = _models("sam2.1_hiera_tiny")
    picture, first = PICTURES[0], _prompts(PICTURES[0])[0]
    segmenter = ImageSegmenter(ours)
    (answer,) = segmenter.segment([picture], [[first]])
    best = int(answer.predicted_iou[0].argmax())
    again = Prompt(
        points=first.points, labels=first.labels, low_res_logits=answer.low_res_logits[0, best]
    )
    (refined,) = segmenter.segment([picture], [[again]], multimask=False)
    logits, scores, _ = _ask(reference, picture, again, False)
    assert_masks_equal_where_sure(refined.masks[0], logits, "refined mask")
    assert_close(refined.predicted_iou[0], scores, "refined score")


def test_without_the_stability_fallback_the_single_mask_equals_the_reference() -> None:
    ours, reference = twins(small("sam2.1_hiera_tiny", 128), postprocess=False)
    prompts = _prompts(PICTURES[1])
    (answer,) = ImageSegmenter(ours, stability_fallback=False).segment(
        [PICTURES[1]], [prompts], multimask=False
    )
    for row, prompt in enumerate(prompts):
        logits, _, _ = _ask(reference, PICTURES[1], prompt, False)
        assert_masks_equal_where_sure(answer.masks[row], logits, f"prompt {row}")


def test_holes_and_specks_equal_the_reference_with_its_components() -> None:
    lend_components()
    ours, reference = _models("sam2.1_hiera_tiny")
    picture, prompts = PICTURES[0], _prompts(PICTURES[0])[:3]
    cleaner = ImageSegmenter(ours, max_hole_area=12, max_speck_area=12)
    (answer,) = cleaner.segment([picture], [prompts])
    (raw,) = ImageSegmenter(ours).segment([picture], [prompts])
    assert not torch.equal(answer.masks, raw.masks), "nothing to clean: the test proves nothing"
    for row, prompt in enumerate(prompts):
        cleaned = {"max_hole_area": 12, "max_sprinkle_area": 12}
        logits, _, _ = _ask(reference, picture, prompt, True, **cleaned)
        assert_masks_equal_where_sure(answer.masks[row], logits, f"prompt {row}")


def _ask(
    reference: Any, picture: np.ndarray, prompt: Prompt, multimask: bool, **settings: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits at full size, scores and low-res logits of the reference."""
    predictor = image_predictor(reference, **settings)
    predictor.set_image(picture)
    logits, scores, low = predictor.predict(
        point_coords=np.array(prompt.points) if len(prompt.points) else None,
        point_labels=np.array(prompt.labels) if len(prompt.labels) else None,
        box=None if prompt.box is None else np.array(prompt.box),
        mask_input=None if prompt.low_res_logits is None else prompt.low_res_logits[None].numpy(),
        multimask_output=multimask,
        return_logits=True,
    )
    return torch.as_tensor(logits), torch.as_tensor(scores), torch.as_tensor(low)
