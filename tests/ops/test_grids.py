"""Judges point grids and crops by their geometry, and by the reference."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import CropBox, crop_boxes, point_grid, point_grids_by_layer


def test_points_run_along_x_first():
    grid = point_grid(2)
    assert grid.dtype == np.float64
    assert grid.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


@pytest.mark.parametrize("points_per_side", [1, 3, 32])
def test_points_are_the_centres_of_equal_cells(points_per_side):
    cells = np.floor(point_grid(points_per_side) * points_per_side)
    within = point_grid(points_per_side) * points_per_side - cells
    np.testing.assert_allclose(within, 0.5, atol=1e-9)
    assert len(np.unique(cells, axis=0)) == points_per_side**2


def test_grids_get_sparser_with_the_layers():
    grids = point_grids_by_layer(32, layers=2, downscale=3)
    assert [len(grid) for grid in grids] == [32**2, 10**2, 3**2]


def test_a_layer_without_a_point_is_refused():
    with pytest.raises(ValueError, match="points_per_side=0"):
        point_grids_by_layer(2, layers=2, downscale=2)


def test_no_layers_give_the_whole_image_alone():
    assert crop_boxes(480, 640, 0, 0.3) == [CropBox(0, 0, 640, 480, 0)]


@settings(deadline=None, max_examples=60)
@given(height=st.integers(1, 3000), width=st.integers(1, 3000), layers=st.integers(1, 3))
def test_the_crops_of_a_layer_cover_the_image_and_stay_inside(height, width, layers):
    boxes = crop_boxes(height, width, layers, 512 / 1500)
    for layer in range(1, layers + 1):
        mine = [box for box in boxes if box.layer == layer]
        assert len(mine) == 4**layer or min(height, width) < 4**layer
        covered_x = {x for box in mine for x in range(box.x0, box.x1)}
        covered_y = {y for box in mine for y in range(box.y0, box.y1)}
        assert covered_x == set(range(width))
        assert covered_y == set(range(height))


@pytest.mark.parametrize(
    ("size", "layers", "counts"),
    [((1, 40), 1, [1, 2]), ((40, 1), 1, [1, 2]), ((1, 1), 2, [1, 1, 1]), ((2, 2), 2, [1, 4, 4])],
)
def test_crops_past_the_edge_of_a_tiny_image_are_left_out(size, layers, counts):
    boxes = crop_boxes(*size, layers, 512 / 1500)
    assert [sum(box.layer == layer for box in boxes) for layer in range(layers + 1)] == counts
    assert all(box.x0 < box.x1 <= size[1] and box.y0 < box.y1 <= size[0] for box in boxes)


def test_crops_are_ordered_by_column_first():
    corners = [(box.x0, box.y0) for box in crop_boxes(100, 200, 1, 0.0)[1:]]
    assert corners == [(0, 0), (0, 50), (100, 0), (100, 50)]


@pytest.mark.reference
@settings(deadline=None, max_examples=200)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    layers=st.integers(0, 3),
    overlap=st.floats(0, 1),
)
def test_crops_are_those_of_the_reference(height, width, layers, overlap):
    amg = import_module("sam2.utils.amg")
    expected_boxes, expected_layers = amg.generate_crop_boxes((height, width), layers, overlap)
    expected = [
        (*box, layer)
        for box, layer in zip(expected_boxes, expected_layers, strict=True)
        if box[0] < box[2] and box[1] < box[3]  # searching an empty crop, the reference crashes
    ]
    found = crop_boxes(height, width, layers, overlap)
    assert [(box.x0, box.y0, box.x1, box.y1, box.layer) for box in found] == expected


@pytest.mark.reference
@pytest.mark.parametrize(("points", "downscale"), [(32, 1), (32, 2), (37, 3), (64, 2), (7, 1)])
def test_grids_are_those_of_the_reference_to_the_last_bit(points, downscale):
    amg = import_module("sam2.utils.amg")
    expected = amg.build_all_layer_point_grids(points, 1, downscale)
    for found, wanted in zip(point_grids_by_layer(points, 1, downscale), expected, strict=True):
        assert np.array_equal(found, wanted)
