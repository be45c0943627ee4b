"""Where a list of pictures is asked for, a single one is refused and not read row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_models import lively_model

from sam2_core import (
    AutoMaskConfig,
    ImageError,
    ImageSegmenter,
    MaskGenerator,
    Prompt,
    PromptError,
    build_sam2,
)

SINGLE = [
    (np.zeros((40, 60, 3), np.uint8), r"array of shape \(40, 60, 3\): write \[picture\]"),
    (np.zeros((40, 60), np.uint8), r"array of shape \(40, 60\): write \[picture\]"),
    (Image.new("RGB", (60, 40)), r"of type Image: write \[picture\]"),
    ("photo.jpg", r"of type str: write \[picture\]"),
    (Path("photo.jpg"), r"of type PosixPath: write \[picture\]"),
]


@pytest.mark.parametrize(("picture", "words"), SINGLE)
def test_a_single_picture_is_refused_with_the_way_out(picture: Any, words: str) -> None:
    model = lively_model(64)
    prompt = Prompt(points=[(5, 5)], labels=[1])
    for call in (
        lambda: MaskGenerator(model).generate(picture),
        lambda: ImageSegmenter(model).embed(picture),
        lambda: ImageSegmenter(model).segment(picture, [[prompt]]),
    ):
        with pytest.raises(ImageError, match=words):
            call()


@pytest.mark.parametrize("shape", [(2, 40, 60, 3), (2, 40, 60)])
def test_several_pictures_may_come_as_one_array(shape: tuple[int, ...]) -> None:
    pictures = np.zeros(shape, np.uint8)
    assert len(ImageSegmenter(lively_model(64)).embed(pictures)) == 2  # type: ignore[arg-type]


def test_a_single_prompt_is_refused_with_the_way_out() -> None:
    picture, prompt = np.zeros((40, 60, 3), np.uint8), Prompt(points=[(5, 5)], labels=[1])
    with pytest.raises(PromptError, match=r"write \[\[prompt\]\]"):
        ImageSegmenter(lively_model(64)).segment([picture], prompt)  # type: ignore[arg-type]


def test_without_settings_all_masks_follow_the_row_of_the_model() -> None:
    model = build_sam2("nano")
    assert MaskGenerator(model).config == AutoMaskConfig.for_model(model.config)
    assert MaskGenerator(model).config != AutoMaskConfig()
