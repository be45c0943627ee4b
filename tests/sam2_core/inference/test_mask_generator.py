"""All masks of small pictures: what is found, what work it takes, and what must not change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from make_clip import textured_picture
from scipy import ndimage
from small_models import lively_model
from torch.nn.functional import interpolate

from sam2_core import (
    AutoMaskConfig,
    ImageError,
    ImageSegmenter,
    Mask,
    MaskGenerator,
    Prompt,
    Sam2,
    resize_picture,
)
from sam2_core.inference import candidates, mask_generator

# Thresholds that let some masks of the lively model through, and stop some.
SOME: dict[str, Any] = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.2,
    "box_nms_thresh": 1.0,  # masks of random weights all span their picture
}
ALL: dict[str, Any] = {
    "points_per_side": 3,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
}


@cache
def _picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return textured_picture(height, width, seed)


@pytest.fixture(scope="module")
def model() -> Sam2:
    return lively_model(64)


def _generate(model: Sam2, images: Sequence[np.ndarray], **settings: Any) -> list[list[Mask]]:
    return MaskGenerator(model, AutoMaskConfig(**settings)).generate(images)


def _same(found: Sequence[Mask], expected: Sequence[Mask]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.point == theirs.point
        assert ours.crop_xywh == theirs.crop_xywh
        assert ours.predicted_iou == pytest.approx(theirs.predicted_iou, abs=1e-4)
        stability = pytest.approx(theirs.stability_score, abs=1e-2, nan_ok=True)
        assert ours.stability_score == stability
        changed = (ours.decode() != theirs.decode()).sum()
        assert changed <= 3, f"{changed} pixels differ"  # where logits close to zero


def _count_rows(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, rows: Callable[..., int]
) -> list[int]:
    """Let calls through and note the number of rows in each."""
    counts: list[int] = []
    through = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        counts.append(rows(*args, **kwargs))
        return through(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return counts


# ---------------------------------------------------------------- what is found


def test_records_fit_their_picture_and_agree_with_their_mask(model: Sam2) -> None:
    (found,) = _generate(model, [_picture()], **SOME)
    assert len(found) > 3
    for mask in found:
        pixels = mask.decode()
        assert pixels.shape == (48, 64)
        assert mask.area == pixels.sum() > 0
        ys, xs = np.nonzero(pixels)
        expected = (xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min())
        assert mask.bbox_xywh == expected
        assert mask.crop_xywh == (0, 0, 64, 48)
        assert 0.5 < mask.predicted_iou <= 1
        assert 0.2 <= mask.stability_score <= 1
        assert isinstance(mask.rle["counts"], str)
        assert mask.rle["size"] == [48, 64]


@pytest.mark.parametrize("seed", range(4))
def test_generating_equals_segmenting_every_point_and_filtering_by_hand(
    model: Sam2, seed: int
) -> None:
    picture = _picture(seed=seed)
    (found,) = _generate(model, [picture], **{**SOME, "box_nms_thresh": 0.95})
    side = (np.arange(4) + 0.5) / 4
    points = [(x * 64, y * 48) for y in side for x in side]
    prompts = [Prompt(points=[point], labels=[1]) for point in points]
    (answer,) = ImageSegmenter(model).segment([picture], [prompts])
    logits = interpolate(answer.low_res_logits, (48, 64), mode="bilinear").flatten(0, 1)
    scores = answer.predicted_iou.flatten()
    stability = (logits > 1).sum((1, 2)) / (logits > -1).sum((1, 2))
    boxes = torch.stack([_box(mask) for mask in logits > 0]).float()
    good = torch.nonzero((scores > 0.5) & (stability >= 0.2)).squeeze(1)
    kept = good[torchvision.ops.nms(boxes[good], scores[good], 0.95)]
    assert 0 < len(kept) < len(good) < len(scores), "a filter stops nothing: it is not tested"
    assert len(found) == len(kept)
    for mask, row in zip(found, kept.tolist(), strict=True):
        assert mask.point == pytest.approx(points[row // 3])
        assert mask.predicted_iou == pytest.approx(scores[row].item(), abs=1e-4)
        assert mask.stability_score == pytest.approx(stability[row].item(), abs=1e-2)
        assert (torch.as_tensor(mask.decode()) != (logits[row] > 0)).sum() <= 3


def _box(mask: torch.Tensor) -> torch.Tensor:
    ys, xs = torch.nonzero(mask, as_tuple=True)
    if not len(xs):
        return torch.zeros(4)
    return torch.stack([xs.min(), ys.min(), xs.max(), ys.max()])


def test_points_are_pixels_of_the_picture(model: Sam2) -> None:
    (found,) = _generate(model, [_picture()], **ALL)
    assert len(found) == 27
    assert {mask.point for mask in found} == {
        (x, y)
        for x in np.float32([64 / 6, 32, 64 * 5 / 6]).tolist()
        for y in np.float32([8, 24, 40]).tolist()
    }


def test_a_picture_may_have_no_mask(model: Sam2) -> None:
    nothing = {**SOME, "pred_iou_thresh": 1.0}
    assert _generate(model, [_picture(), _picture(30, 31)], **nothing) == [[], []]


def test_a_picture_may_have_no_mask_in_any_crop(model: Sam2) -> None:
    nothing = {**SOME, "pred_iou_thresh": 1.0, "crop_n_layers": 1}
    assert _generate(model, [_picture()], **nothing) == [[]]


def test_one_picture_without_a_mask_does_not_touch_its_neighbours(model: Sam2) -> None:
    settings = {**SOME, "stability_score_thresh": 0.5, "pred_iou_thresh": 0.3}
    pictures = [_picture(48, 64, seed) for seed in range(6)]
    together = _generate(model, pictures, **settings)
    counts = [len(found) for found in together]
    assert 0 in counts, "no picture is without a mask: choose other thresholds"
    assert max(counts) > 0, "no picture has a mask: choose other thresholds"
    for found, picture in zip(together, pictures, strict=True):
        _same(found, _generate(model, [picture], **settings)[0])


def test_no_picture_gives_no_answer(model: Sam2) -> None:
    assert _generate(model, [], **SOME) == []


def test_pictures_of_any_shapes_at_once_equal_one_by_one(model: Sam2) -> None:
    shapes = [(48, 64), (64, 20), (33, 47), (1, 1), (80, 81), (7, 90)]
    pictures = [_picture(*shape, seed=number) for number, shape in enumerate(shapes)]
    settings = {**SOME, "stability_score_thresh": 0.0, "pred_iou_thresh": 0.3}
    together = _generate(model, pictures, **settings)
    assert all(len(found) for found in together)
    for found, picture in zip(together, pictures, strict=True):
        _same(found, _generate(model, [picture], **settings)[0])


@pytest.mark.parametrize("batch", [1, 5, 16, 1000])
def test_the_batch_of_points_does_not_change_what_is_found(model: Sam2, batch: int) -> None:
    pictures = [_picture(), _picture(33, 47)]
    expected = _generate(model, pictures, **SOME)
    for found, wanted in zip(
        _generate(model, pictures, **SOME, points_per_batch=batch), expected, strict=True
    ):
        _same(found, wanted)


def test_grey_and_alpha_and_paths_are_pictures_too(model: Sam2) -> None:
    grey = _picture()[:, :, 0]
    found = _generate(model, [grey, np.dstack([grey] * 3)], **SOME)
    _same(found[0], found[1])


def test_a_float_picture_is_refused(model: Sam2) -> None:
    with pytest.raises(ImageError, match="dtype uint8"):
        _generate(model, [_picture() / 255], **SOME)


# ---------------------------------------------------------------- settings


def test_a_higher_threshold_keeps_a_part_of_the_masks(model: Sam2) -> None:
    (all_of_them,) = _generate(model, [_picture()], **ALL)
    for name, value in (("pred_iou_thresh", 0.6), ("stability_score_thresh", 0.3)):
        (fewer,) = _generate(model, [_picture()], **{**ALL, name: value})
        field = name.removesuffix("_thresh").replace("pred_", "predicted_")
        expected = {m.rle["counts"] for m in all_of_them if getattr(m, field) > value}
        assert 0 < len(fewer) < len(all_of_them)
        assert {m.rle["counts"] for m in fewer} == expected


def test_a_lower_nms_threshold_drops_duplicates_of_better_masks(model: Sam2) -> None:
    (loose,) = _generate(model, [_picture()], **ALL)
    (tight,) = _generate(model, [_picture()], **{**ALL, "box_nms_thresh": 0.5})
    assert 0 < len(tight) < len(loose)
    assert tight[0].predicted_iou == max(mask.predicted_iou for mask in loose)
    boxes = torchvision.ops.box_convert(torch.tensor([m.bbox_xywh for m in tight]), "xywh", "xyxy")
    overlaps = torchvision.ops.box_iou(boxes, boxes).fill_diagonal_(0)
    assert overlaps.max() <= 0.5


def test_one_mask_a_point_may_be_asked_for(model: Sam2) -> None:
    (found,) = _generate(model, [_picture()], **ALL, multimask_output=False)
    assert len(found) == 9
    (without,) = _generate(
        model, [_picture()], **ALL, multimask_output=False, stability_fallback=False
    )
    assert [m.rle for m in found] != [m.rle for m in without]


def test_own_grids_are_used_as_they_are(model: Sam2) -> None:
    own = [np.array([[0.25, 0.5], [0.75, 1.0]])]
    settings = {**ALL, "points_per_side": None, "point_grids": own}
    (found,) = _generate(model, [_picture()], **settings)
    assert sorted(mask.point for mask in found) == [(16, 24)] * 3 + [(48, 48)] * 3


def test_the_same_grid_by_hand_gives_the_same_masks(model: Sam2) -> None:
    side = (np.arange(4) + 0.5) / 4
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    by_hand = {**SOME, "points_per_side": None, "point_grids": [grid]}
    _same(_generate(model, [_picture()], **by_hand)[0], _generate(model, [_picture()], **SOME)[0])


def test_m2m_asks_again_with_each_mask_and_shows_the_refined_ones(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _generate(model, [_picture()], **ALL)[0]
    decoded = _count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    refined = _generate(model, [_picture()], **ALL, use_m2m=True)[0]
    assert len(refined) == len(plain) == 27
    assert sum(decoded) == 9 + 27
    assert {m.rle["counts"] for m in refined} != {m.rle["counts"] for m in plain}


def test_m2m_equals_feeding_logits_back_by_hand(model: Sam2) -> None:
    settings = {**ALL, "points_per_side": None, "point_grids": [np.array([[0.5, 0.5]])]}
    refined = _generate(model, [_picture()], **settings, use_m2m=True)[0]
    segmenter = ImageSegmenter(model)
    (first,) = segmenter.segment([_picture()], [[Prompt(points=[(32, 24)], labels=[1])]])
    again = [
        Prompt(points=[(32, 24)], labels=[1], low_res_logits=logits)
        for logits in first.low_res_logits[0]
    ]
    (second,) = segmenter.segment([_picture()], [again], multimask=False)
    order = second.predicted_iou[:, 0].argsort(descending=True)
    assert [m.predicted_iou for m in refined] == pytest.approx(
        second.predicted_iou[order, 0].tolist(), abs=1e-4
    )
    for mask, row in zip(refined, order, strict=True):
        assert (torch.as_tensor(mask.decode()) != second.masks[row, 0]).sum() <= 3


def test_small_holes_and_specks_go_where_asked(model: Sam2) -> None:
    """At 64 px a mask has 16 x 16 low-res pixels, shown here at their own size."""
    picture = _picture(16, 16)
    settings = {**ALL, "box_nms_thresh": 1.0}

    def small_parts(masks: Sequence[Mask]) -> int:
        count = 0
        for mask in masks:
            for side in (mask.decode(), ~mask.decode()):
                labels, _ = ndimage.label(side, structure=np.ones((3, 3)))
                count += int((np.bincount(labels.ravel())[1:] <= 4).sum())
        return count

    (plain,) = _generate(model, [picture], **settings)
    (clean,) = _generate(model, [picture], **settings, min_mask_region_area=4)
    assert small_parts(plain) > small_parts(clean)


# ---------------------------------------------------------------- crops


def test_crops_are_searched_too_and_their_masks_lie_in_the_whole_picture(model: Sam2) -> None:
    picture = _picture(36, 40)  # so small that the filter at crop edges lets everything through
    settings = {**ALL, "crop_n_layers": 1, "crop_nms_thresh": 1.0}
    (found,) = _generate(model, [picture], **settings)
    crops = {mask.crop_xywh for mask in found}
    assert len(crops) == 5
    assert (0, 0, 40, 36) in crops
    assert len(found) == 5 * 27
    for mask in found:
        x, y, width, height = (round(value) for value in mask.crop_xywh)
        pixels = mask.decode()
        assert pixels.shape == (36, 40)
        outside = pixels.copy()
        outside[y : y + height, x : x + width] = False
        assert not outside.any()
        assert x <= mask.point[0] <= x + width
        assert y <= mask.point[1] <= y + height


def test_a_crop_is_searched_as_a_picture_of_its_own(model: Sam2) -> None:
    picture = _picture(36, 40)
    settings = {**ALL, "crop_n_layers": 1, "crop_nms_thresh": 1.0}
    (found,) = _generate(model, [picture], **settings)
    crop = max(mask.crop_xywh for mask in found)
    x, y, width, height = (round(value) for value in crop)
    assert (x, y) != (0, 0)
    (alone,) = _generate(model, [picture[y : y + height, x : x + width]], **ALL)
    inside = [mask for mask in found if mask.crop_xywh == crop]
    pairs = {mask.point: mask for mask in alone if mask.area}
    assert len(inside) == len(alone)
    for mask in inside:
        point = (mask.point[0] - x, mask.point[1] - y)
        near = min(pairs, key=lambda p: abs(p[0] - point[0]) + abs(p[1] - point[1]))
        assert near == pytest.approx(point, abs=1e-4)
    decoded = sorted(m.decode()[y : y + height, x : x + width].tobytes() for m in inside)
    assert decoded == sorted(m.decode().tobytes() for m in alone)


def test_duplicates_between_crops_go_to_the_smaller_crop(model: Sam2) -> None:
    picture = _picture(36, 40)
    settings = {**ALL, "crop_n_layers": 1}
    (loose,) = _generate(model, [picture], **settings, crop_nms_thresh=1.0)
    (tight,) = _generate(model, [picture], **settings, crop_nms_thresh=0.3)
    assert 0 < len(tight) < len(loose)
    assert (0, 0, 40, 36) in {mask.crop_xywh for mask in loose}
    assert {mask.crop_xywh[2:] for mask in tight} == {(26, 24)}
    assert len({mask.crop_xywh for mask in tight}) == 4


def test_deeper_layers_use_fewer_points_where_asked(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = _count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    settings = {**ALL, "points_per_side": 4, "crop_n_layers": 1}
    _generate(model, [_picture(36, 40)], **settings, crop_n_points_downscale_factor=2)
    assert sum(decoded) == 16 + 4 * 4


def test_several_pictures_with_crops_equal_one_by_one(model: Sam2) -> None:
    pictures = [_picture(36, 40), _picture(30, 22, seed=1), _picture(12, 39, seed=2)]
    settings = {**SOME, "crop_n_layers": 1, "stability_score_thresh": 0.1}
    together = _generate(model, pictures, **settings)
    for found, picture in zip(together, pictures, strict=True):
        assert found
        _same(found, _generate(model, [picture], **settings)[0])


def test_a_mask_that_a_crop_cuts_off_is_dropped(model: Sam2) -> None:
    picture = _picture(300, 300)
    settings = {**ALL, "crop_n_layers": 1, "crop_nms_thresh": 1.0}
    (found,) = _generate(model, [picture], **settings)
    for mask in found:
        if mask.crop_xywh == (0, 0, 300, 300):
            continue
        x, y, width, height = mask.crop_xywh
        left, top, box_width, box_height = mask.bbox_xywh
        edges = [
            (left, x, 0),
            (top, y, 0),
            (left + box_width, x + width, 300),
            (top + box_height, y + height, 300),
        ]
        for box, crop, image in edges:
            assert abs(box - crop) > 20 or abs(box - image) <= 20
    assert len(found) < 5 * 27


# ---------------------------------------------------------------- work


def test_every_point_is_decoded_once_in_full_batches_across_pictures(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = _count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    encoded = _count_rows(monkeypatch, model, "embed_images", len)
    _generate(model, [_picture(), _picture(33, 47), _picture(20, 20)], **SOME, points_per_batch=10)
    assert sum(decoded) == 3 * 16
    assert decoded == [10, 10, 10, 10, 8]
    assert sum(encoded) == 3


def test_only_masks_that_pass_the_iou_filter_are_upsampled_and_only_the_last_ones_encoded(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    (everything,) = _generate(model, [_picture()], **{**ALL, "points_per_side": 4})
    passing = sum(mask.predicted_iou > 0.5 for mask in everything)
    assert 0 < passing < len(everything) == 48
    measured = _count_rows(
        monkeypatch, mask_generator, "measure_upsampled", lambda logits, *_: len(logits)
    )
    drawn = _count_rows(monkeypatch, candidates, "upsample_masks", lambda logits, *_: len(logits))
    (found,) = _generate(model, [_picture()], **SOME)
    assert sum(measured) == passing
    assert sum(drawn) == len(found) < passing


def test_nothing_is_upsampled_where_no_mask_passes(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = _count_rows(
        monkeypatch, mask_generator, "measure_upsampled", lambda logits, *_: len(logits)
    )
    _generate(model, [_picture()], **{**SOME, "pred_iou_thresh": 1.0})
    assert sum(measured) == 0


def test_a_picture_that_was_resized_before_has_the_same_masks_but_no_crops(model: Sam2) -> None:
    resized = resize_picture(_picture(), model.config.image_size, rounded=False)
    (expected,) = _generate(model, [_picture()], **ALL)
    (found,) = _generate(model, [resized], **ALL)
    _same(found, expected)
    with pytest.raises(ImageError, match="Crops are cut from a picture's own pixels"):
        _generate(model, [resized], crop_n_layers=1)
