"""Rows of one size from labels of any: the same whoever makes them, masks where things are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from make_labels import WORLD, masks_of

from ops import decode_run_lengths, encode_run_lengths
from sam2ray.learning.labels.labelled import LabelledImage, LabelledVideo
from sam2ray.learning.labels.made_world import WorldLabels
from sam2ray.learning.labels.mask_stack import RunLengthMasks
from sam2ray.learning.labels.opening import Mixture
from sam2ray.learning.samples import SampleMaker, clip_batch, picture_batch
from sam2ray.learning.train_stage import Stage
from sam2ray.learning.views import View

WORLD_LABELS = Mixture([WorldLabels(31, 96, False, 16)], [1.0], seed=5)


def maker(mixture: Mixture = WORLD_LABELS, **settings: object) -> SampleMaker:
    given = {"name": "s", "learn": "pictures", "steps": 1, "objects": 3, **settings}
    return SampleMaker(mixture, Stage.model_validate(given), 1, 64)


class _One:
    """A source of one picture, and of one clip of three frames."""

    name, pictures, clips = "one", 1, 1

    def picture(self, number: int) -> LabelledImage:
        made = WORLD.picture(number)
        return LabelledImage(made.pixels[:, :80], masks_of(made)[:, :, :80])

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        made = WORLD.clip(number, 3)
        seen = made[0].object_ids(16)
        return LabelledVideo(list(made.frames), np.stack([made[n].masks(seen) for n in range(3)]))


ONE = Mixture([_One()], [1.0], seed=0)  # pyright: ignore[reportArgumentType] no whole clips


def stacked(rows: list[dict]) -> dict:
    return {name: np.array([row[name] for row in rows]) for name in ("pixels", "cover", "objects")}


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_masks_lie_where_their_things_are_seen(stride: int):
    made = maker(ONE, target_stride=stride, flip=False, objects=20)
    row = made.picture(7)
    batch = picture_batch(stacked([row]) | {"ids": row["ids"][None]})
    assert batch.pixels_BSS3.shape == (1, 64, 64, 3)
    assert batch.targets.shape[1:] == (64 // stride, 64 // stride)
    areas = batch.targets.flatten(1).float().mean(1)
    true = masks_of(WORLD.picture(0))[:, :, :80].reshape(-1, 96 * 80).mean(1)
    true = true[true * (64 // stride) ** 2 >= 6]
    assert len(areas) >= len(true)
    for area in true:
        assert np.abs(areas.numpy() - area).min() < 0.02
    for number, mask in enumerate(batch.targets.numpy()):
        assert mask.any(), number


def test_masks_are_shrunk_a_few_at_a_time_as_they_are_all_at_once(monkeypatch):
    masks = np.concatenate([masks_of(WORLD.picture(number)) for number in range(4)])
    assert len(masks) > 16
    lengths = RunLengthMasks(encode_run_lengths(torch.from_numpy(masks)))
    decoded = []

    def watched(runs):
        decoded.append(len(runs))
        return decode_run_lengths(runs)

    monkeypatch.setattr("sam2ray.learning.labels.mask_stack.decode_run_lengths", watched)
    view = View(5, 10, 80, 70, mirrored=True)
    part = torch.from_numpy(masks[:, 5:85, 10:80][:, :, ::-1].copy())
    for side in (32, 41):
        whole = torch.nn.functional.interpolate(part[:, None].float(), (side, side), mode="area")
        for given in (masks, lengths):
            found = view.of_masks(given, side)
            np.testing.assert_array_equal(found, (whole[:, 0] * 255).round().byte().numpy())
            assert view.of_masks(given[:0], side).shape == (0, side, side)
    assert max(decoded) == 8
    unchanged = View(0, 0, 96, 96, mirrored=False).of_masks(lengths, 96)
    np.testing.assert_array_equal(unchanged, masks * np.uint8(255))


def test_a_picture_of_which_no_mask_is_left_is_a_row_without_objects():
    class Bare(_One):
        def picture(self, number: int) -> LabelledImage:
            found = super().picture(number)
            return LabelledImage(found.pixels, found.masks[:0])

    row = maker(Mixture([Bare()], [1.0], seed=0)).picture(0)  # pyright: ignore[reportArgumentType]
    assert row["objects"] == 0
    assert not row["ids"].any()


def test_a_mirrored_picture_has_mirrored_masks():
    plain, mirrored = maker(ONE, flip=False, objects=20), maker(ONE, flip=True, objects=20)
    straight = plain.picture(0)
    turned = next(
        row
        for row in map(mirrored.picture, range(20))
        if not (row["pixels"] == straight["pixels"]).all()
    )
    np.testing.assert_array_equal(turned["pixels"], straight["pixels"][:, ::-1])
    np.testing.assert_array_equal(turned["ids"] > 0, straight["ids"][:, ::-1] > 0)


def test_the_same_number_gives_the_same_row_and_stages_see_other_labels():
    one, other = maker(crop=0.5).picture(3), maker(crop=0.5).picture(3)
    np.testing.assert_array_equal(one["pixels"], other["pixels"])
    np.testing.assert_array_equal(one["cover"], other["cover"])
    later = SampleMaker(WORLD_LABELS, maker().stage, 2, 64)
    assert not (later.picture(3)["pixels"] == one["pixels"]).all()


def test_objects_of_a_clip_are_there_on_its_first_frame_and_a_short_one_stands_still():
    row = maker(ONE, learn="clips", frames=5, objects=4).clip(2)
    batch = clip_batch(stacked([row]))
    assert batch.pixels_BTSS3.shape == (1, 5, 64, 64, 3)
    assert batch.targets.shape[1:] == (5, 64, 64)
    assert batch.targets[:, 0].flatten(1).any(1).all()
    assert (batch.targets[:, 3] == batch.targets[:, 2]).all()
    assert (batch.pixels_BTSS3[:, 4] == batch.pixels_BTSS3[:, 2]).all()
    assert batch.source_index_N.tolist() == [0] * len(batch.targets)
