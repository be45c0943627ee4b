"""All masks beside the reference's: the same records in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from make_clip import textured_picture
from oracle import lend_components, mask_generator, records_with_logits, small, twins
from pycocotools import mask as pycoco

from sam2_core import AutoMaskConfig, Mask, MaskGenerator, read_image

pytestmark = pytest.mark.reference

# Random masks span the picture, so duplicates are judged by scores and not by boxes here.
COMMON = {
    "points_per_side": 6,
    "stability_score_thresh": 0.2,
    "box_nms_thresh": 1.0,
    "crop_nms_thresh": 1.0,
}
# Masks at 0 span their crop too, and are dropped at its edges: these are small enough to stay.
CROPS = {
    "crop_n_layers": 1,
    "mask_threshold": 4.0,
    "stability_score_thresh": 0.2,
    "stability_score_offset": 0.25,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "crops": CROPS,
    "two layers of crops": {
        **CROPS,
        "points_per_side": 4,
        "crop_n_layers": 2,
        "crop_overlap_ratio": 0.2,
        "crop_n_points_downscale_factor": 2,
    },
    "m2m": {"use_m2m": True},
    "clean-up": {"min_mask_region_area": 15},
    "clean-up under a threshold": {"min_mask_region_area": 15, "mask_threshold": 1.0},
    "single mask": {"multimask_output": False},
    "grids": {"points_per_side": None, "point_grids": [np.array([[0.3, 0.3], [0.6, 0.8]])]},
    "suppression": {**CROPS, "box_nms_thresh": 0.7, "crop_nms_thresh": 0.7},
    "small batches": {"points_per_batch": 5},
    "threshold": {"mask_threshold": 0.3, "stability_score_offset": 0.5},
}
OF_PHOTOGRAPHS: dict[str, dict[str, Any]] = {
    "plain": {},
    "crops": {**CROPS, "mask_threshold": 6.0},
    "m2m": {"use_m2m": True},
    "clean-up": {"min_mask_region_area": 15},
}


@cache
def _models() -> tuple[Any, Any]:
    return twins(small("sam2.1_hiera_tiny", 128))


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_masks_equal_the_reference_record_by_record(variant: str) -> None:
    lend_components()
    settings = {**COMMON, **VARIANTS[variant]}
    ours, reference = _models()
    pictures = [textured_picture(180, 320), textured_picture(160, 90, 1)]
    threshold = _median_score(ours, pictures[0], settings)
    settings["pred_iou_thresh"] = threshold
    found = MaskGenerator(ours, AutoMaskConfig(**settings)).generate(pictures)
    counts = [_compare(reference, p, f, settings) for p, f in zip(pictures, found, strict=True)]
    assert counts[0] > (0 if "grids" in variant or "supp" in variant else 5)
    assert _come_from_crops(found[0], pictures[0]) == ("crop_n_layers" in settings)


@pytest.mark.media
@pytest.mark.parametrize("variant", OF_PHOTOGRAPHS)
@pytest.mark.parametrize(
    "shape",
    [
        "landscape",
        pytest.param("portrait", marks=pytest.mark.long),
        pytest.param("square", marks=pytest.mark.long),
    ],
)
def test_all_masks_of_photographs_equal_the_reference(
    shape: str, variant: str, media: Path
) -> None:
    lend_components()
    ours, reference = _models()
    picture = _photograph(media, shape)
    settings = {**COMMON, "points_per_side": 4, **OF_PHOTOGRAPHS[variant]}
    settings["pred_iou_thresh"] = _median_score(ours, picture, settings)
    (found,) = MaskGenerator(ours, AutoMaskConfig(**settings)).generate([picture])
    assert _compare(reference, picture, found, settings) > 5
    assert _come_from_crops(found, picture) == (variant == "crops")


def _photograph(media: Path, shape: str) -> np.ndarray:
    if shape == "portrait":
        return np.ascontiguousarray(np.rot90(read_image(media / "bedroom_00000.jpg")[::2, ::2]))
    truck = read_image(media / "truck.jpg")[::3, ::3]
    return truck if shape == "landscape" else np.ascontiguousarray(truck[:, : len(truck)])


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


def _come_from_crops(found: list[Mask], picture: np.ndarray) -> bool:
    height, width = picture.shape[:2]
    return any(mask.crop_xywh != (0, 0, width, height) for mask in found)


def _compare(
    reference: Any, picture: np.ndarray, found: list[Mask], settings: dict[str, Any]
) -> int:
    """Compare record by record; crops, too, are those of the reference."""
    theirs = records_with_logits(mask_generator(reference, **settings), picture)
    assert len(found) == len(theirs)
    for ours, (record, logits) in zip(found, theirs, strict=True):
        assert ours.point == pytest.approx(tuple(record["point_coords"][0]), abs=1e-4)
        assert ours.crop_xywh == tuple(record["crop_box"])
        assert ours.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert ours.stability_score == pytest.approx(record["stability_score"], abs=5e-3)
        differs = ours.decode() != record["segmentation"]
        if differs.any():
            _assert_undecided(differs, logits, ours.crop_xywh, settings.get("mask_threshold", 0.0))
        else:
            assert ours.rle["counts"] == _coco_string(record["segmentation"])
            assert ours.bbox_xywh == tuple(record["bbox"])
            assert ours.area == record["area"]
    return len(found)


def _assert_undecided(
    differs: np.ndarray, logits: torch.Tensor, crop_xywh: Sequence[float], threshold: float
) -> None:
    """Where pixels differ, the reference's logits are within a thousandth of the threshold."""
    x, y, width, height = map(int, crop_xywh)
    inside = differs[y : y + height, x : x + width]
    assert differs.sum() == inside.sum() <= 3
    assert np.abs(logits.numpy()[inside] - threshold).max() <= 1e-3


def _coco_string(mask: np.ndarray) -> str:
    return pycoco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
