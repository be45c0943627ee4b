"""All masks of small pictures: what is found, and what must not change it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision
from all_masks import ALL, SOME, all_masks, assert_same, count_rows, small_picture
from scipy import ndimage
from small_models import lively_model
from torch.nn.functional import interpolate

from sam2_core import (
    ConfigError,
    ImageError,
    ImageSegmenter,
    Mask,
    MaskGenerator,
    Prompt,
    Sam2,
    resize_picture,
)


@pytest.fixture(scope="module")
def model() -> Sam2:
    return lively_model(64)


# ---------------------------------------------------------------- what is found


def test_records_fit_their_picture_and_agree_with_their_mask(model: Sam2) -> None:
    (found,) = all_masks(model, [small_picture()], **SOME)
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
    picture = small_picture(seed=seed)
    (found,) = all_masks(model, [picture], **{**SOME, "box_nms_thresh": 0.95})
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
    (found,) = all_masks(model, [small_picture()], **ALL)
    assert len(found) == 27
    assert {mask.point for mask in found} == {
        (x, y)
        for x in np.float32([64 / 6, 32, 64 * 5 / 6]).tolist()
        for y in np.float32([8, 24, 40]).tolist()
    }


def test_a_picture_may_have_no_mask(model: Sam2) -> None:
    nothing = {**SOME, "pred_iou_thresh": 1.0}
    assert all_masks(model, [small_picture(), small_picture(30, 31)], **nothing) == [[], []]


def test_a_picture_may_have_no_mask_in_any_crop(model: Sam2) -> None:
    nothing = {**SOME, "pred_iou_thresh": 1.0, "crop_n_layers": 1}
    assert all_masks(model, [small_picture()], **nothing) == [[]]


def test_one_picture_without_a_mask_does_not_touch_its_neighbours(model: Sam2) -> None:
    settings = {**SOME, "stability_score_thresh": 0.5, "pred_iou_thresh": 0.3}
    pictures = [small_picture(48, 64, seed) for seed in range(6)]
    together = all_masks(model, pictures, **settings)
    counts = [len(found) for found in together]
    assert 0 in counts, "no picture is without a mask: choose other thresholds"
    assert max(counts) > 0, "no picture has a mask: choose other thresholds"
    for found, picture in zip(together, pictures, strict=True):
        assert_same(found, all_masks(model, [picture], **settings)[0])


def test_no_picture_gives_no_answer(model: Sam2) -> None:
    assert all_masks(model, [], **SOME) == []


def test_pictures_of_any_shapes_at_once_equal_one_by_one(model: Sam2) -> None:
    shapes = [(48, 64), (64, 20), (33, 47), (1, 1), (80, 81), (7, 90)]
    pictures = [small_picture(*shape, seed=number) for number, shape in enumerate(shapes)]
    settings = {**SOME, "stability_score_thresh": 0.0, "pred_iou_thresh": 0.3}
    together = all_masks(model, pictures, **settings)
    assert all(len(found) for found in together)
    for found, picture in zip(together, pictures, strict=True):
        assert_same(found, all_masks(model, [picture], **settings)[0])


@pytest.mark.parametrize("batch", [1, 5, 16, 1000])
def test_the_batch_of_points_does_not_change_what_is_found(model: Sam2, batch: int) -> None:
    pictures = [small_picture(), small_picture(33, 47)]
    expected = all_masks(model, pictures, **SOME)
    for found, wanted in zip(
        all_masks(model, pictures, **SOME, points_per_batch=batch), expected, strict=True
    ):
        assert_same(found, wanted)


def test_grey_and_alpha_and_paths_are_pictures_too(model: Sam2) -> None:
    grey = small_picture()[:, :, 0]
    found = all_masks(model, [grey, np.dstack([grey] * 3)], **SOME)
    assert_same(found[0], found[1])


def test_a_float_picture_is_refused(model: Sam2) -> None:
    with pytest.raises(ImageError, match=r"Picture 1: .* dtype uint8"):
        all_masks(model, [small_picture(), small_picture() / 255], **SOME)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ConfigError, match="model is a str"):
        MaskGenerator("nano")  # type: ignore[arg-type]


# ---------------------------------------------------------------- settings


def test_a_higher_threshold_keeps_a_part_of_the_masks(model: Sam2) -> None:
    (all_of_them,) = all_masks(model, [small_picture()], **ALL)
    for name, value in (("pred_iou_thresh", 0.6), ("stability_score_thresh", 0.3)):
        (fewer,) = all_masks(model, [small_picture()], **{**ALL, name: value})
        field = name.removesuffix("_thresh").replace("pred_", "predicted_")
        expected = {m.rle["counts"] for m in all_of_them if getattr(m, field) > value}
        assert 0 < len(fewer) < len(all_of_them)
        assert {m.rle["counts"] for m in fewer} == expected


def test_a_lower_nms_threshold_drops_duplicates_of_better_masks(model: Sam2) -> None:
    (loose,) = all_masks(model, [small_picture()], **ALL)
    (tight,) = all_masks(model, [small_picture()], **{**ALL, "box_nms_thresh": 0.5})
    assert 0 < len(tight) < len(loose)
    assert tight[0].predicted_iou == max(mask.predicted_iou for mask in loose)
    boxes = torchvision.ops.box_convert(torch.tensor([m.bbox_xywh for m in tight]), "xywh", "xyxy")
    overlaps = torchvision.ops.box_iou(boxes, boxes).fill_diagonal_(0)
    assert overlaps.max() <= 0.5


def test_one_mask_a_point_may_be_asked_for(model: Sam2) -> None:
    (found,) = all_masks(model, [small_picture()], **ALL, multimask_output=False)
    assert len(found) == 9
    (without,) = all_masks(
        model, [small_picture()], **ALL, multimask_output=False, stability_fallback=False
    )
    assert [m.rle for m in found] != [m.rle for m in without]


def test_own_grids_are_used_as_they_are(model: Sam2) -> None:
    own = [np.array([[0.25, 0.5], [0.75, 1.0]])]
    settings = {**ALL, "points_per_side": None, "point_grids": own}
    (found,) = all_masks(model, [small_picture()], **settings)
    assert sorted(mask.point for mask in found) == [(16, 24)] * 3 + [(48, 48)] * 3


def test_the_same_grid_by_hand_gives_the_same_masks(model: Sam2) -> None:
    side = (np.arange(4) + 0.5) / 4
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    by_hand = {**SOME, "points_per_side": None, "point_grids": [grid]}
    assert_same(
        all_masks(model, [small_picture()], **by_hand)[0],
        all_masks(model, [small_picture()], **SOME)[0],
    )


def test_m2m_asks_again_with_each_mask_and_shows_the_refined_ones(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = all_masks(model, [small_picture()], **ALL)[0]
    decoded = count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    refined = all_masks(model, [small_picture()], **ALL, use_m2m=True)[0]
    assert len(refined) == len(plain) == 27
    assert sum(decoded) == 9 + 27
    assert {m.rle["counts"] for m in refined} != {m.rle["counts"] for m in plain}


def test_m2m_equals_feeding_logits_back_by_hand(model: Sam2) -> None:
    settings = {**ALL, "points_per_side": None, "point_grids": [np.array([[0.5, 0.5]])]}
    refined = all_masks(model, [small_picture()], **settings, use_m2m=True)[0]
    segmenter = ImageSegmenter(model)
    (first,) = segmenter.segment([small_picture()], [[Prompt(points=[(32, 24)], labels=[1])]])
    again = [
        Prompt(points=[(32, 24)], labels=[1], low_res_logits=logits)
        for logits in first.low_res_logits[0]
    ]
    (second,) = segmenter.segment([small_picture()], [again], multimask=False)
    order = second.predicted_iou[:, 0].argsort(descending=True)
    assert [m.predicted_iou for m in refined] == pytest.approx(
        second.predicted_iou[order, 0].tolist(), abs=1e-4
    )
    for mask, row in zip(refined, order, strict=True):
        assert (torch.as_tensor(mask.decode()) != second.masks[row, 0]).sum() <= 3


def test_small_holes_and_specks_go_where_asked(model: Sam2) -> None:
    """At 64 px a mask has 16 x 16 low-res pixels, shown here at their own size."""
    picture = small_picture(16, 16)
    settings = {**ALL, "box_nms_thresh": 1.0}

    def small_parts(masks: Sequence[Mask]) -> int:
        count = 0
        for mask in masks:
            for side in (mask.decode(), ~mask.decode()):
                labels, _ = ndimage.label(side, structure=np.ones((3, 3)))
                count += int((np.bincount(labels.ravel())[1:] <= 4).sum())
        return count

    (plain,) = all_masks(model, [picture], **settings)
    (clean,) = all_masks(model, [picture], **settings, min_mask_region_area=4)
    assert small_parts(plain) > small_parts(clean)


# ---------------------------------------------------------------- crops


def test_crops_are_searched_too_and_their_masks_lie_in_the_whole_picture(model: Sam2) -> None:
    picture = small_picture(
        36, 40
    )  # so small that the filter at crop edges lets everything through
    settings = {**ALL, "crop_n_layers": 1, "crop_nms_thresh": 1.0}
    (found,) = all_masks(model, [picture], **settings)
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
    picture = small_picture(36, 40)
    settings = {**ALL, "crop_n_layers": 1, "crop_nms_thresh": 1.0}
    (found,) = all_masks(model, [picture], **settings)
    crop = max(mask.crop_xywh for mask in found)
    x, y, width, height = (round(value) for value in crop)
    assert (x, y) != (0, 0)
    (alone,) = all_masks(model, [picture[y : y + height, x : x + width]], **ALL)
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
    picture = small_picture(36, 40)
    settings = {**ALL, "crop_n_layers": 1}
    (loose,) = all_masks(model, [picture], **settings, crop_nms_thresh=1.0)
    (tight,) = all_masks(model, [picture], **settings, crop_nms_thresh=0.3)
    assert 0 < len(tight) < len(loose)
    assert (0, 0, 40, 36) in {mask.crop_xywh for mask in loose}
    assert {mask.crop_xywh[2:] for mask in tight} == {(26, 24)}
    assert len({mask.crop_xywh for mask in tight}) == 4


def test_deeper_layers_use_fewer_points_where_asked(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    settings = {**ALL, "points_per_side": 4, "crop_n_layers": 1}
    all_masks(model, [small_picture(36, 40)], **settings, crop_n_points_downscale_factor=2)
    assert sum(decoded) == 16 + 4 * 4


def test_several_pictures_with_crops_equal_one_by_one(model: Sam2) -> None:
    pictures = [small_picture(36, 40), small_picture(30, 22, seed=1), small_picture(12, 39, seed=2)]
    settings = {**SOME, "crop_n_layers": 1, "stability_score_thresh": 0.1}
    together = all_masks(model, pictures, **settings)
    for found, picture in zip(together, pictures, strict=True):
        assert found
        assert_same(found, all_masks(model, [picture], **settings)[0])


@pytest.mark.parametrize(
    ("shape", "layers"),
    [((1, 30), 1), ((30, 1), 1), ((1, 1), 2), ((2, 2), 2), ((3, 5), 2), ((7, 9), 3)],
)
def test_a_picture_too_small_for_some_of_its_crops_is_searched_in_the_others(
    model: Sam2, shape: tuple[int, int], layers: int
) -> None:
    settings = {**ALL, "points_per_side": 2, "crop_n_layers": layers, "crop_nms_thresh": 1.0}
    pictures = [small_picture(30, 22), small_picture(*shape), small_picture(12, 39, seed=2)]
    together = all_masks(model, pictures, **settings)
    for found, picture in zip(together, pictures, strict=True):
        assert found
        assert_same(found, all_masks(model, [picture], **settings)[0])
    crops = {mask.crop_xywh for mask in together[1]}
    assert all(width >= 1 and height >= 1 for _, _, width, height in crops)
    assert len(crops) > 1 or shape == (1, 1)


def test_a_mask_that_a_crop_cuts_off_is_dropped(model: Sam2) -> None:
    picture = small_picture(300, 300)
    settings = {**ALL, "crop_n_layers": 1, "crop_nms_thresh": 1.0}
    (found,) = all_masks(model, [picture], **settings)
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


def test_a_picture_that_was_resized_before_has_the_same_masks_but_no_crops(model: Sam2) -> None:
    resized = resize_picture(small_picture(), model.config.image_size, rounded=False)
    (expected,) = all_masks(model, [small_picture()], **ALL)
    (found,) = all_masks(model, [resized], **ALL)
    assert_same(found, expected)
    with pytest.raises(ImageError, match=r"Picture 0: Crops are cut from a picture's own pixels"):
        all_masks(model, [resized], crop_n_layers=1)


def test_a_picture_that_was_resized_for_another_model_is_named(model: Sam2) -> None:
    other = resize_picture(small_picture(), 96, rounded=True)
    with pytest.raises(ImageError, match=r"Picture 1: .* does not fit a model of 64 px"):
        all_masks(model, [small_picture(), other], **ALL)
