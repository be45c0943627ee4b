"""What all-masks runs are steered by, and the forms in which a found mask can be had."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from ops import encode_run_lengths, to_coco_strings
from sam2_core import RELEASED, AutoMaskConfig, ConfigError, Mask, build_sam2

OFFICIAL_DEFAULTS = {
    "points_per_side": 32,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.8,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
    "mask_threshold": 0.0,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "crop_nms_thresh": 0.7,
    "crop_overlap_ratio": 512 / 1500,
    "crop_n_points_downscale_factor": 1,
    "point_grids": None,
    "min_mask_region_area": 0,
    "output_mode": "binary_mask",
    "use_m2m": False,
    "multimask_output": True,
}


def test_names_and_defaults_are_the_official_ones_and_one_more() -> None:
    ours = {f.name: f.default for f in dataclasses.fields(AutoMaskConfig)}
    assert ours == {**OFFICIAL_DEFAULTS, "stability_fallback": True}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("points_per_side", [0, -1]),
        ("points_per_batch", [0, -5]),
        ("pred_iou_thresh", [-0.1, 1.1, math.nan]),
        ("stability_score_thresh", [-0.1, 1.1, math.nan]),
        ("stability_score_offset", [math.nan, math.inf]),
        ("mask_threshold", [math.nan, -math.inf]),
        ("box_nms_thresh", [-0.1, 1.1, math.nan]),
        ("crop_nms_thresh", [-0.1, 1.1, math.nan]),
        ("crop_n_layers", [-1]),
        ("crop_overlap_ratio", [-0.1, 1.1, math.nan]),
        ("crop_n_points_downscale_factor", [0]),
        ("min_mask_region_area", [-1]),
        ("output_mode", ["rle", ""]),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(ConfigError, match=rf"AutoMaskConfig\.{name}="):
            AutoMaskConfig(**{name: value})


@pytest.mark.parametrize("both", [True, False])
def test_exactly_one_of_side_and_grids_is_wanted(both: bool) -> None:
    grids = [np.array([[0.5, 0.5]])] if both else None
    with pytest.raises(ConfigError, match="exactly one of points_per_side and point_grids"):
        AutoMaskConfig(points_per_side=4 if both else None, point_grids=grids)


def test_one_grid_a_layer_is_wanted() -> None:
    grids = [np.array([[0.5, 0.5]])]
    with pytest.raises(ConfigError, match=r"1 point_grids for crop_n_layers=1.*2 in all"):
        AutoMaskConfig(points_per_side=None, point_grids=grids, crop_n_layers=1)


@pytest.mark.parametrize(
    "grid",
    [
        np.zeros((0, 2)),
        np.zeros(2),
        np.zeros((3, 3)),
        np.array([[0.5, 1.5]]),
        np.array([[-0.1, 0.5]]),
        np.array([[math.nan, 0.5]]),
        np.array([[320, 200]]),
    ],
)
def test_a_grid_that_is_none_is_refused(grid: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"point_grids\[0\] must be \[points, 2\]"):
        AutoMaskConfig(points_per_side=None, point_grids=[grid])


@pytest.mark.parametrize(
    ("grids", "words"),
    [
        (5, "point_grids is a int: give a list of arrays"),
        ([["a", "b"]], r"point_grids\[0\] must be \[points, 2\].* no plain numbers"),
        ([[(0.5, 0.5j)]], r"point_grids\[0\] .* no plain numbers"),
        ([[(0.5, 1.5)]], r"point_grids\[0\] .*; it holds 1\.5\.$"),
        ([[(0.5, 0.5)], [(0.1, math.nan)]], r"point_grids\[1\] .*; it holds nan\.$"),
        ([[(0.5, 0.5)], 3], r"point_grids\[1\] .* shape \(\)"),
        ([[(0.5,), (0.5, 0.5)]], r"point_grids\[0\] .* rows are of unequal length"),
    ],
)
def test_what_holds_no_grids_is_refused_by_our_own_error(grids: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AutoMaskConfig(points_per_side=None, point_grids=grids)


def test_grids_may_come_from_a_generator_and_stay() -> None:
    config = AutoMaskConfig(
        points_per_side=None, crop_n_layers=1, point_grids=([[x, 0.5]] for x in (0.2, 0.8))
    )
    for _ in range(2):
        assert [grid.tolist() for grid in config.grids()] == [[[0.2, 0.5]], [[0.8, 0.5]]]
    assert dataclasses.replace(config, use_m2m=True).point_grids == config.point_grids


@pytest.mark.parametrize(
    ("side", "layers", "factor"), [(4, 2, 4), (1, 1, 2), (32, 6, np.int64(2)), (7, 3, 2)]
)
def test_a_layer_of_crops_without_a_point_is_refused(side: int, layers: int, factor: int) -> None:
    settings = {"points_per_side": side, "crop_n_points_downscale_factor": factor}
    with pytest.raises(ConfigError, match=rf"points_per_side={side} .*crop_n_layers={layers} leav"):
        AutoMaskConfig(crop_n_layers=layers, **settings)
    fewer = AutoMaskConfig(crop_n_layers=layers - 1, **settings)
    assert all(len(grid) for grid in fewer.grids())


def test_a_model_in_place_of_its_config_is_refused_with_the_way_out() -> None:
    for given in ("nano", build_sam2("nano")):
        with pytest.raises(ConfigError, match=f"not a {type(given).__name__}: write model.config"):
            AutoMaskConfig.for_model(given)


def test_a_config_cannot_be_changed_but_replaced() -> None:
    config = AutoMaskConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.points_per_side = 8
    with pytest.raises(ConfigError):
        dataclasses.replace(config, points_per_side=0)


def test_configs_with_equal_grids_can_be_compared() -> None:
    one, other = (
        AutoMaskConfig(points_per_side=None, point_grids=[np.array([[0.5, 0.5], [0.1, 0.2]])])
        for _ in range(2)
    )
    assert one in (other, one)


def test_grids_are_halved_layer_by_layer() -> None:
    config = AutoMaskConfig(points_per_side=8, crop_n_layers=2, crop_n_points_downscale_factor=2)
    assert [len(grid) for grid in config.grids()] == [64, 16, 4]


def test_own_grids_come_back_as_arrays() -> None:
    (grid,) = AutoMaskConfig(points_per_side=None, point_grids=[[[0.25, 0.5]]]).grids()
    assert grid.tolist() == [[0.25, 0.5]]


def test_a_model_brings_points_that_suit_it_and_grids_take_their_place() -> None:
    model = dataclasses.replace(RELEASED["sam2.1_hiera_tiny"], points_per_side=9)
    assert AutoMaskConfig.for_model(model).points_per_side == 9
    assert AutoMaskConfig.for_model(model, points_per_side=3).points_per_side == 3
    own = AutoMaskConfig.for_model(model, point_grids=[[[0.25, 0.5]]])
    assert (own.points_per_side, len(own.grids()[0])) == (None, 1)


def test_a_model_brings_thresholds_that_suit_its_weights_and_settings_win() -> None:
    model = dataclasses.replace(
        RELEASED["nano"], name="test", pred_iou_thresh=0.3, stability_score_thresh=0.4
    )
    config = AutoMaskConfig.for_model(model, stability_score_thresh=0.6, points_per_side=5)
    assert config == AutoMaskConfig(
        pred_iou_thresh=0.3, stability_score_thresh=0.6, points_per_side=5
    )


def test_a_released_model_has_the_official_thresholds() -> None:
    assert AutoMaskConfig.for_model(RELEASED["sam2.1_hiera_large"]) == AutoMaskConfig()


# ---------------------------------------------------------------- the forms of a mask


def _pixels() -> np.ndarray:
    pixels = np.random.default_rng(0).random((13, 17)) > 0.6
    pixels[0, 0] = True  # the first run, of unset pixels, is empty
    return pixels


def _mask(output_mode: str, pixels: np.ndarray) -> Mask:
    (counts,) = to_coco_strings(encode_run_lengths(torch.as_tensor(pixels)[None]))
    rle = {"size": list(pixels.shape), "counts": counts}
    four = (0.0, 0.0, 1.0, 1.0)
    return Mask(rle, four, int(pixels.sum()), 0.9, 0.9, (1.0, 1.0), four, output_mode)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
@pytest.mark.parametrize("pixels", [_pixels(), np.zeros((3, 4), bool), np.ones((3, 4), bool)])
def test_all_forms_are_the_mask_that_pycocotools_reads(pixels: np.ndarray) -> None:
    mask = _mask("binary_mask", pixels)
    assert np.array_equal(coco.decode(mask.rle).astype(bool), pixels)
    assert np.array_equal(mask.decode(), pixels)
    assert coco.encode(np.asfortranarray(pixels))["counts"].decode() == mask.rle["counts"]

    assert mask.segmentation.dtype == bool
    assert np.array_equal(mask.segmentation, pixels)

    compressed = _mask("coco_rle", pixels).segmentation
    assert np.array_equal(coco.decode(compressed).astype(bool), pixels)

    plain = _mask("uncompressed_rle", pixels).segmentation
    assert all(type(count) is int for count in plain["counts"])
    assert sum(plain["counts"]) == pixels.size
    height, width = plain["size"]
    assert np.array_equal(coco.decode(coco.frPyObjects(plain, height, width)), pixels)
    values = np.repeat(np.arange(len(plain["counts"])) % 2, plain["counts"])
    assert np.array_equal(values.reshape(width, height).T, pixels)
