"""The world to learn from: the same for the same seed, exact, and full of what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from sam2_core.learning.shapes import HELD_OUT, TRAINED
from sam2_core.learning.textures import patterns
from sam2_core.learning.world import World

FAMILIES = {**TRAINED, **HELD_OUT}


def test_the_same_number_is_the_same_picture_and_others_are_not():
    one, other = World(7).picture(3), World(7).picture(3)
    assert np.array_equal(one.pixels, other.pixels)
    assert np.array_equal(one.ids, other.ids)
    assert not np.array_equal(one.pixels, World(7).picture(4).pixels)
    assert not np.array_equal(one.pixels, World(8).picture(3).pixels)


@pytest.mark.parametrize("size", [64, 256])
def test_pictures_are_what_models_take(size: int):
    picture = World(1, size=size).picture(0)
    assert (picture.pixels.shape, picture.pixels.dtype) == ((size, size, 3), np.uint8)
    assert picture.ids.shape == (size, size)
    ids = picture.object_ids()
    assert ids
    masks = picture.masks(ids)
    assert masks.shape == (len(ids), size, size)
    assert masks.sum(0).max() == 1, "a pixel shows one thing"
    assert np.array_equal(masks.any(0), picture.ids > 0)


def test_a_world_does_not_show_the_same_few_patterns_for_ever():
    first, second = ({plane.tobytes() for plane in patterns(3, era)} for era in (0, 1))
    assert len(first & second) < 5, "checks alone are few"
    np.testing.assert_array_equal(patterns(3, 1), patterns(3, 1))


def test_pictures_differ_in_how_much_they_hold():
    counts = [len(World(2).picture(number).object_ids(30)) for number in range(40)]
    assert min(counts) >= 1
    assert len(set(counts)) > 5


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_makes_shapes_that_are_there_and_stay_in_their_frame(name: str):
    ends = np.linspace(-1.4, 1.4, 141, dtype=np.float32)
    u, v = np.broadcast_arrays(ends[None, :], ends[:, None])
    for seed in range(12):
        shape = FAMILIES[name](np.random.default_rng(seed))
        for time in (0.0, 1.3):
            distance = shape(u, v, time)
            assert np.isfinite(distance).all()
            inside = distance < 0
            assert 0.02 < inside.mean() < 0.6
            reach = np.hypot(u, v)[inside].max()
            assert reach < 1.45
            # Where a pixel is inside and the next is not, both are near the outline.
            step, crossed = np.diff(distance, axis=1), np.diff(inside, axis=1)
            assert np.abs(step[crossed]).max() < 5 * (ends[1] - ends[0])


def test_nothing_that_is_held_out_is_trained_on():
    assert not set(TRAINED) & set(HELD_OUT)
    assert len(HELD_OUT) >= 3


def test_things_move_are_hidden_leave_and_return():
    world = World(3, size=128)
    events = {"moves": 0, "vanishes": 0, "returns": 0}
    for number in range(12):
        clip = world.clip(number, frames=24)
        assert clip.frames.shape == (24, 128, 128, 3)
        for thing in np.unique(clip.ids)[1:]:
            areas = clip.masks(int(thing)).sum((1, 2))
            seen = areas > 10
            events["moves"] += bool((clip.masks(int(thing))[0] ^ clip.masks(int(thing))[-1]).any())
            changes = np.flatnonzero(np.diff(seen.astype(int)))
            events["vanishes"] += bool((np.diff(seen.astype(int)) < 0).any())
            events["returns"] += len(changes) >= 2
    assert events["moves"] > 40
    assert events["vanishes"] > 5
    assert events["returns"] > 2


def test_a_frame_of_a_clip_is_a_labelled_picture():
    clip = World(4, size=64).clip(0, frames=3)
    assert len(clip) == 3
    frame = clip[2]
    assert np.array_equal(frame.pixels, clip.frames[2])
    (first, *_) = frame.object_ids()
    assert np.array_equal(frame.masks([first])[0], clip.masks(first)[2])
