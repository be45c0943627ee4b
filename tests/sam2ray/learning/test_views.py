"""Pictures are turned with their masks, and all that belongs together is seen in one light."""

from __future__ import annotations

import numpy as np
import pytest
from make_labels import WORLD, masks_of
from pydantic import ValidationError

from sam2_core.network.class_head import UNKNOWN
from sam2ray.learning.labels.labelled import LabelledVideo
from sam2ray.learning.labels.opening import Mixture
from sam2ray.learning.samples import SampleMaker
from sam2ray.learning.train_stage import Stage
from sam2ray.learning.views import Light, View

WHOLE = {"top": 0, "left": 0, "height": 96, "width": 96, "mirrored": False}
PLAIN = Light(1.0, 1.0, 1.0)


def stage(**settings: object) -> Stage:
    return Stage.model_validate({"name": "s", "learn": "pictures", "steps": 1, **settings})


def drawn(seed: int, **settings: object) -> View:
    return View.drawn(np.random.default_rng(seed), (96, 96), stage(**settings))


def test_a_quarter_turn_moves_every_pixel_and_every_mask():
    made = WORLD.picture(0)
    view = View(**WHOLE, turned=90.0)
    np.testing.assert_array_equal(view.of_pixels(made.pixels, 96), np.rot90(made.pixels))
    masks = masks_of(made)
    found = view.of_masks(masks, 96)
    np.testing.assert_array_equal(found, np.rot90(masks, axes=(1, 2)) * np.uint8(255))
    classes = made.ids.astype(np.uint8)
    np.testing.assert_array_equal(view.of_ids(classes, 96), np.rot90(classes))


@pytest.mark.parametrize("side", [96, 64, 40])
def test_masks_stay_where_their_things_are_whatever_the_turn(side: int):
    masks = masks_of(WORLD.picture(3))[:4]
    for turned in (-170.0, -33.0, 12.5, 120.0):
        view = View(5, 10, 80, 70, mirrored=True, turned=turned)
        for mask, cover in zip(masks, view.of_masks(masks, side), strict=True):
            shown = view.of_pixels(np.repeat(mask[..., None], 3, 2) * np.uint8(255), side)
            y, x = np.mgrid[:side, :side] - (side - 1) / 2
            inside = np.hypot(x, y) < side / 2 - 2  # beyond there is nothing of the picture
            difference = np.abs(shown[..., 0].astype(int) - cover)[inside]
            # Pixels are resized by triangles and masks by areas.
            assert difference.mean() < 6
            assert ((shown[..., 0] > 127) == (cover > 127))[inside].mean() > 0.98


@pytest.mark.parametrize("turned", [0.0, 30.0, 45.0, -75.0])
@pytest.mark.parametrize("size_hw", [(200, 400), (400, 200), (300, 300)])
def test_a_wide_picture_is_turned_in_its_own_proportions(size_hw: tuple[int, int], turned: float):
    height, width = size_hw
    mask = np.zeros((1, height, width), bool)
    mask[0, height // 2 - 40 : height // 2 + 40, width // 2 - 40 : width // 2 + 40] = True
    view = View(0, 0, height, width, mirrored=False, turned=turned)
    y, x = np.nonzero(view.of_masks(mask, 128)[0] > 127)
    # As a square in the picture it spreads as far in all directions.
    spread = np.cov((y + 0.5) * height / 128, (x + 0.5) * width / 128)
    assert np.linalg.eigvalsh(spread) == pytest.approx([80**2 / 12] * 2, rel=0.06)
    assert np.array([y.mean(), x.mean()]) == pytest.approx([63.5, 63.5], abs=0.3)


def test_what_comes_into_sight_belongs_to_nothing_and_to_no_class():
    view = View(**WHOLE, turned=45.0)
    assert (view.of_masks(np.ones((2, 96, 96), bool), 96)[:, :8, :8] == 0).all()
    assert (view.of_ids(np.ones((96, 96), np.uint8), 96)[:8, :8] == UNKNOWN).all()
    dark = View(**WHOLE, turned=45.0, light=Light(0.5, 1.0, 0.0))
    for seen in (view, dark):
        corner = seen.of_pixels(np.zeros((96, 96, 3), np.uint8), 96)[0, 0]
        assert corner.tolist() == [124, 116, 104]


def test_light_does_to_colours_what_it_says():
    pixels = WORLD.picture(1).pixels
    np.testing.assert_array_equal(PLAIN.on(pixels), pixels)
    grey = Light(1.0, 1.0, 0.0).on(pixels)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    assert np.abs(grey[..., 0] - pixels @ np.array([0.299, 0.587, 0.114])).max() < 0.6
    dark = Light(0.5, 1.0, 1.0).on(pixels)
    assert np.abs(dark.astype(float) - pixels * 0.5).max() <= 0.5
    flat = Light(1.0, 0.5, 1.0).on(pixels)
    assert np.abs(flat - (127.5 + (pixels - 127.5) * 0.5)).max() <= 0.5
    assert Light(2.0, 1.5, 1.5).on(pixels).max() == 255  # and nothing begins anew at 0


def test_light_is_drawn_within_what_a_stage_allows():
    lights = [drawn(seed, colour=0.3, grey=0.25).light for seed in range(400)]
    kept = [light for light in lights if light is not None]
    assert len(kept) == 400
    for name in ("brightness", "contrast"):
        values = [getattr(light, name) for light in kept]
        assert 0.7 <= min(values) < 0.75
        assert 1.25 < max(values) <= 1.3
    assert 70 < sum(light.saturation == 0 for light in kept) < 130
    assert {drawn(seed, grey=1.0).light for seed in range(5)} == {Light(1.0, 1.0, 0.0)}
    turns = [drawn(seed, turn=20).turned for seed in range(400)]
    assert -20 <= min(turns) < -18
    assert 18 < max(turns) <= 20


def test_a_stage_without_them_draws_what_it_drew_before_there_were_any():
    plain, rng = stage(crop=0.5), np.random.default_rng(4)
    view = View.drawn(rng, (96, 80), plain)
    assert view.light is None
    assert view.turned == 0
    other = np.random.default_rng(4)
    share = other.uniform(0.5, 1)
    other.integers(96 - round(96 * share) + 1), other.integers(80 - round(80 * share) + 1)
    other.random()
    assert rng.bit_generator.state == other.bit_generator.state


def test_all_frames_of_a_clip_are_seen_in_one_way():
    class Still:
        """A source of one clip, in which nothing moves."""

        name, pictures, clips = "still", None, 1

        def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
            made = WORLD.picture(2)
            return LabelledVideo([made.pixels] * frames, np.stack([masks_of(made)] * frames))

    still = Mixture([Still()], [1.0], seed=0)  # pyright: ignore[reportArgumentType] no pictures
    asked = stage(learn="clips", frames=4, objects=20, colour=0.5, grey=0.5, turn=90, flip=False)
    row = SampleMaker(still, asked, 1, 64).clip(2)
    for frame in range(1, 4):
        np.testing.assert_array_equal(row["pixels"][frame], row["pixels"][0])
        np.testing.assert_array_equal(row["cover"][:, frame], row["cover"][:, 0])
    plain = asked.model_copy(update={"colour": 0.0, "grey": 0.0, "turn": 0.0})
    assert not np.array_equal(SampleMaker(still, plain, 1, 64).clip(2)["pixels"], row["pixels"])


@pytest.mark.parametrize("settings", [{"turn": 181}, {"turn": -1}, {"colour": 1.5}, {"grey": -1}])
def test_what_cannot_be_is_refused(settings: dict):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        stage(**settings)


@pytest.mark.parametrize("settings", [{"learn": "dense"}, {"dense_weight": 0.5}])
def test_dense_lessons_have_no_word_for_what_comes_into_sight(settings: dict):
    with pytest.raises(ValidationError, match="turn leaves corners"):
        stage(turn=10, **settings)
