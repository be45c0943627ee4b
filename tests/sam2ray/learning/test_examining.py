"""Objects are sought among all masks of a picture, and each is found by the one that fits best."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from sam2_core import RELEASED, AutoMaskConfig, MaskGenerator, build_sam2
from sam2ray.learning.examining import PictureScores, ask_about
from sam2ray.learning.labels.opening import open_labels
from sam2ray.learning.train_config import Labels

SMALL = dataclasses.replace(RELEASED["nano"], image_size=64)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_an_object_is_found_as_well_as_the_mask_that_fits_it_best():
    model = build_sam2(SMALL)
    finder = MaskGenerator(model, AutoMaskConfig.for_model(SMALL, points_per_side=4))
    source = open_labels(Labels(kind="world", seed=3), {}, 64)
    scores, expected, masks = PictureScores(), [], 0
    for asked in ask_about(model, source, range(3), scores, finder):
        (found,) = finder.generate([asked.labelled.pixels])
        masks += len(found)
        decoded = [coco_masks.decode(mask.rle).astype(bool) for mask in found]
        for target in asked.labelled.masks:
            ious = [(one & target).sum() / (one | target).sum() for one in decoded]
            expected.append(max(ious))
    assert len(scores.found) == scores.objects > 3
    np.testing.assert_allclose(scores.found, expected, rtol=1e-5)
    figures = scores.figures()
    assert figures["recall"] == np.mean(np.array(expected) >= 0.5)
    assert figures["masks_a_picture"] == pytest.approx(masks / 3)


def test_without_a_finder_nothing_is_said_of_all_masks():
    scores = PictureScores()
    source = open_labels(Labels(kind="world", seed=3), {}, 64)
    assert sum(1 for _ in ask_about(build_sam2(SMALL), source, range(1), scores)) == 1
    assert "recall" not in scores.figures()
