"""Small pictures of masks: the right pixels, whatever the size of the whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ops import RunLengths, encode_run_lengths, to_coco_strings
from sam2ray.pages.painting import (
    COLOURS,
    ColouredMask,
    SmallGrid,
    css_colour,
    jpeg,
    masks_png,
    outline,
    small_picture,
)


def _counts(mask: np.ndarray) -> str:
    (text,) = to_coco_strings(encode_run_lengths(torch.from_numpy(mask)[None]))
    return text


def _rgba(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGBA"))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_small_mask_has_what_the_middles_of_its_pixels_show(height, width, most_px, seed):
    draw = np.random.default_rng(seed)
    mask = draw.random((height, width)) < draw.choice([0.0, 0.3, 0.7, 1.0])
    grid = SmallGrid.of((height, width), most_px)
    rows, columns = (
        ((np.arange(small) + 0.5) * side / small).astype(int)
        for side, small in zip((height, width), grid.small_hw, strict=True)
    )
    assert (grid.sample(_counts(mask)) == mask[rows][:, columns]).all()


def test_a_mask_of_ten_gigapixels_is_drawn_without_being_decoded():
    side, stripe = 100_000, 40_000  # columns on the left that belong to it
    counts = torch.tensor([0, stripe * side, (side - stripe) * side])
    (text,) = to_coco_strings(RunLengths(side, side, counts, torch.tensor([0, 3])))
    small = SmallGrid.of((side, side), 100).sample(text)
    assert small.shape == (100, 100)
    assert small[:, :40].all()
    assert not small[:, 40:].any()


def test_no_picture_grows_and_none_vanishes():
    assert SmallGrid.of((3, 5), 640).small_hw == (3, 5)
    assert SmallGrid.of((4000, 2), 640).small_hw == (640, 1)
    with pytest.raises(ValueError, match="0 x 5"):
        SmallGrid.of((5, 0), 640)


def test_damaged_run_lengths_are_refused():
    with pytest.raises(ValueError):
        SmallGrid.of((5, 5), 640).sample("no run lengths")


def test_later_masks_lie_on_earlier_ones_each_with_an_outline():
    large, small = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    large[2:18, 2:18] = True
    small[8:14, 8:14] = True
    grid = SmallGrid.of((20, 20), 640)
    drawn = _rgba(
        masks_png(grid, [ColouredMask(_counts(large), 0), ColouredMask(_counts(small), 1)])
    )
    assert drawn[0, 0, 3] == 0
    assert tuple(drawn[5, 5, :3]) == tuple(bytes.fromhex(css_colour(0)[1:]))
    assert tuple(drawn[10, 10, :3]) == tuple(bytes.fromhex(css_colour(1)[1:]))
    assert 0 < drawn[5, 5, 3] < 255
    assert drawn[2, 5, 3] == drawn[8, 10, 3] == 255


def test_an_outline_goes_along_the_edge_of_the_picture_too():
    whole = np.ones((6, 6), bool)
    line = outline(whole, 1)
    assert line[0].all()
    assert not line[1:-1, 1:-1].any()
    assert outline(whole, 2).sum() == 32
    assert (outline(whole, 9) == whole).all()


def test_colours_of_a_dozen_masks_are_far_from_each_other():
    colours = np.array([list(bytes.fromhex(css_colour(n)[1:])) for n in range(12)], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(12, dtype=bool)].min() > 50
    assert css_colour(COLOURS) == css_colour(0)


def test_a_photograph_becomes_a_jpeg_of_at_most_that_side():
    pixels = np.zeros((1000, 3000, 3), np.uint8)
    pixels[:, 1500:] = 200
    small = Image.open(io.BytesIO(jpeg(small_picture(pixels, 640))))
    assert (small.format, small.size) == ("JPEG", (640, 213))
    assert small.getpixel((600, 100)) == pytest.approx((200, 200, 200), abs=3)
