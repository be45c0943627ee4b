"""All masks beside the reference's: the same records in the same order."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import mean_iou
from make_clip import textured_picture
from oracle import lend_components, mask_generator, small, twins

from sam2_core import AutoMaskConfig, Mask, MaskGenerator, read_image

pytestmark = pytest.mark.reference

# Random masks span the picture, so duplicates are judged by scores and not by boxes here.
COMMON = {
    "points_per_side": 6,
    "stability_score_thresh": 0.2,
    "box_nms_thresh": 1.0,
    "crop_nms_thresh": 1.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "crops": {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2},
    "two layers of crops": {"points_per_side": 4, "crop_n_layers": 2, "crop_overlap_ratio": 0.2},
    "m2m": {"use_m2m": True},
    "clean-up": {"min_mask_region_area": 15},
    "clean-up under a threshold": {"min_mask_region_area": 15, "mask_threshold": 1.0},
    "single mask": {"multimask_output": False},
    "grids": {"points_per_side": None, "point_grids": [np.array([[0.3, 0.3], [0.6, 0.8]])]},
    "suppression": {"box_nms_thresh": 0.7, "crop_nms_thresh": 0.7, "crop_n_layers": 1},
    "small batches": {"points_per_batch": 5},
    "threshold": {"mask_threshold": 0.3, "stability_score_offset": 0.5},
}


@cache
def _models() -> tuple[Any, Any]:
    return twins(small("sam2.1_hiera_tiny", 128))


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_masks_equal_the_reference_record_by_record(variant: str) -> None:
    lend_components()
    settings = {**COMMON, **VARIANTS[variant]}
    ours, reference = _models()
    pictures = [textured_picture(120, 200), textured_picture(160, 90, 1)]
    threshold = _median_score(ours, pictures[0], settings)
    settings["pred_iou_thresh"] = threshold
    found = MaskGenerator(ours, AutoMaskConfig(**settings)).generate(pictures)
    counts = [_compare(reference, p, f, settings) for p, f in zip(pictures, found, strict=True)]
    assert counts[0] > (0 if "grids" in variant or "supp" in variant else 5)


@pytest.mark.media
@pytest.mark.parametrize("name", ["truck.jpg", "bedroom_00000.jpg"])
def test_all_masks_of_photographs_equal_the_reference(name: str, media: Path) -> None:
    ours, reference = _models()
    picture = read_image(media / name)
    settings = {**COMMON, "points_per_side": 4, "crop_n_layers": 1, "stability_score_thresh": 0.0}
    settings["pred_iou_thresh"] = _median_score(ours, picture, settings)
    (found,) = MaskGenerator(ours, AutoMaskConfig(**settings)).generate([picture])
    assert _compare(reference, picture, found, settings) > 5


def test_a_picture_without_masks_gives_an_empty_list_where_the_reference_crashes() -> None:
    ours, reference = _models()
    settings = {**COMMON, "pred_iou_thresh": 1.0, "crop_n_layers": 1}
    picture = textured_picture(80, 80)
    assert MaskGenerator(ours, AutoMaskConfig(**settings)).generate([picture]) == [[]]
    with pytest.raises(IndexError):
        mask_generator(reference, **settings).generate(picture)


def _median_score(ours: Any, picture: np.ndarray, settings: dict[str, Any]) -> float:
    """A threshold between the scores of these masks, in the widest gap near their middle."""
    everything = AutoMaskConfig(**{**settings, "pred_iou_thresh": 0.0})
    (masks,) = MaskGenerator(ours, everything).generate([picture])
    scores = np.sort([mask.predicted_iou for mask in masks])
    if len(scores) < 4:
        return 0.01
    middle = scores[len(scores) // 4 : 3 * len(scores) // 4 + 1]
    gap = int(np.diff(middle).argmax())
    return float(middle[gap : gap + 2].mean())


def _compare(
    reference: Any, picture: np.ndarray, found: list[Mask], settings: dict[str, Any]
) -> int:
    theirs = mask_generator(reference, **settings).generate(picture)
    assert len(found) == len(theirs)
    for ours, record in zip(found, theirs, strict=True):
        assert ours.point == pytest.approx(tuple(record["point_coords"][0]), abs=1e-4)
        assert ours.crop_xywh == tuple(record["crop_box"])
        assert ours.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert ours.stability_score == pytest.approx(record["stability_score"], abs=5e-3)
        assert ours.bbox_xywh == pytest.approx(tuple(record["bbox"]), abs=1)
        ours_mask, their_mask = ours.decode(), record["segmentation"]
        assert int((ours_mask != their_mask).sum()) <= 3  # pixels whose logit is zero to 1e-6
        assert mean_iou(torch.as_tensor(ours_mask), torch.as_tensor(their_mask)) > 0.99
        assert ours.area == int(ours_mask.sum())
    return len(found)
