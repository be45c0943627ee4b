"""Examinations of pictures: what a simulated user says of a pixel is what the picture shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sam2_core import RELEASED, ImageSegmenter, Prompt, build_sam2
from sam2_core.learning.exams import CLICKS, examine_picture

SMALL = dataclasses.replace(RELEASED["nano"], image_size=64)


class _Constant(ImageSegmenter):
    """Answers the same everywhere, and keeps the last clicks."""

    answer: bool
    clicked: list[Prompt]

    def segment(self, embedded, prompts, **how):
        (answer,) = super().segment(embedded, prompts, **how)
        answer.__dict__["masks"] = torch.full((*answer.predicted_iou.shape, 90, 900), self.answer)
        if prompts[0][0].box is None:
            self.clicked = prompts[0]
        return [answer]


@pytest.mark.parametrize("answer", [False, True])
def test_all_clicks_on_what_is_too_thin_for_the_copy_say_what_the_picture_shows(answer: bool):
    targets = torch.zeros(2, 90, 900, dtype=torch.bool)
    targets[0, 40] = True
    targets[1, :, 700] = True
    pixels = np.random.default_rng(0).integers(0, 256, (90, 900, 3), np.uint8)
    segmenter = _Constant(build_sam2(SMALL))
    segmenter.answer = answer
    examine_picture(segmenter, pixels, targets, torch.Generator().manual_seed(0))
    for prompt, target in zip(segmenter.clicked, targets, strict=True):
        assert prompt.points is not None
        assert len(prompt.points) == max(CLICKS)
        shown = [int(target[round(y), round(x)]) for x, y in prompt.points]
        assert shown == list(prompt.labels or ())
        assert shown == [1] + [int(not answer)] * 4
