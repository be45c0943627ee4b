"""Objects are sought among all masks of a picture, and each is found by the one that fits best."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from ops import encode_run_lengths
from sam2_core import RELEASED, AutoMaskConfig, MaskGenerator, build_sam2
from sam2ray.learning.examining import PictureScores, ask_about, wholeness_of
from sam2ray.learning.labels.labelled import LabelledImage
from sam2ray.learning.labels.mask_stack import MaskStack, RunLengthMasks
from sam2ray.learning.labels.opening import open_labels
from sam2ray.learning.train_config import Labels

SMALL = dataclasses.replace(RELEASED["nano"], image_size=64)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
def test_an_object_is_found_as_well_as_the_mask_that_fits_it_best():
    model = build_sam2(SMALL)
    settings = AutoMaskConfig(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.9)
    finder = MaskGenerator(model, settings)
    source = open_labels(Labels(kind="world", seed=3), {}, 64)
    scores, expected, masks = PictureScores(), [], 0
    for asked in ask_about(model, source, range(3), scores, finder):
        (found,) = finder.generate([asked.labelled.pixels])
        masks += len(found)
        decoded = [coco_masks.decode(mask.rle).astype(bool) for mask in found]
        for target in asked.labelled.masks:
            ious = [(one & target).sum() / (one | target).sum() for one in decoded]
            expected.append(max(ious))
    assert len(scores.found) == scores.objects > 3
    np.testing.assert_allclose(scores.found, expected, rtol=1e-5)
    figures = scores.figures()
    assert figures["recall"] == np.mean(np.array(expected) >= 0.5)
    assert figures["masks_a_picture"] == pytest.approx(masks / 3)


class Given:
    """A source of one black picture with masks."""

    name, pictures, clips = "given", 1, 0

    def __init__(self, masks: MaskStack) -> None:
        self.masks = masks

    def picture(self, number: int) -> LabelledImage:
        return LabelledImage(np.zeros((*self.masks.shape[1:], 3), np.uint8), self.masks)


def test_of_many_masks_those_that_show_anything_alone_become_pixels():
    masks = np.zeros((80, 64, 64), bool)
    for place in range(80):
        masks[place, place % 64, : 0 if place % 2 else 40] = True
    lengths = RunLengthMasks(encode_run_lengths(torch.from_numpy(masks)))

    scores = PictureScores()
    (asked,) = ask_about(build_sam2(SMALL), Given(lengths), range(1), scores)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(asked.labelled.masks, masks[::2])
    assert isinstance(asked.labelled.masks, np.ndarray)
    assert scores.objects == 40
    assert asked.marks.masks.shape == (40, 64, 64)  # more than are asked about at once


def test_without_a_finder_nothing_is_said_of_all_masks():
    scores = PictureScores()
    source = open_labels(Labels(kind="world", seed=3), {}, 64)
    assert sum(1 for _ in ask_about(build_sam2(SMALL), source, range(1), scores)) == 1
    assert "recall" not in scores.figures()


def test_of_one_click_all_three_masks_are_compared_with_what_the_model_thinks_of_them():
    model, source = build_sam2(SMALL), open_labels(Labels(kind="world", seed=3), {}, 64)
    scores, ious, thought = PictureScores(), [], []
    for asked in ask_about(model, source, range(3), scores):
        ious.append(asked.marks.three.numpy())
        thought.append(asked.marks.three_predicted.numpy())
    ious, thought = np.concatenate(ious), np.concatenate(thought)
    assert ious.shape == thought.shape == (scores.objects, 3)
    rows = np.arange(len(ious))
    np.testing.assert_array_equal(ious[rows, thought.argmax(1)], np.float32(scores.clicks[1]))
    np.testing.assert_array_equal(thought.max(1), np.float32(scores.predicted))
    figures = scores.figures()
    assert figures["iou_best_of_three"] == pytest.approx(ious.max(1).mean())
    expected = np.corrcoef(ious.flatten(), thought.flatten())[0, 1]
    assert figures["quality_correlation_three"] == pytest.approx(expected)


def test_marks_of_several_processes_are_those_of_one():
    model, source = build_sam2(SMALL), open_labels(Labels(kind="world", seed=3), {}, 64)
    alone, together = PictureScores(), PictureScores()
    list(ask_about(model, source, range(3), alone))
    for number in range(3):
        one = PictureScores(skipped=[f"after {number}"])
        list(ask_about(model, source, range(number, number + 1), one))
        together.extend(PictureScores.from_json(json.loads(json.dumps(one.to_json()))))
    assert together.skipped == ["after 0", "after 1", "after 2"]
    assert dataclasses.replace(together, skipped=[]) == alone
    assert together.pictures == 3


def test_marks_are_told_by_the_share_of_the_picture_that_an_object_covers():
    masks = np.zeros((4, 128, 128), bool)  # of which a small object has less than 55 pixels
    masks[0, 5:10, 5:10] = masks[1, 90:96, 5:11] = True
    masks[2, 20:30, 90:100] = True
    masks[3, 60:100, 60:100] = True

    scores = PictureScores()
    list(ask_about(build_sam2(SMALL), Given(masks), range(1), scores))  # pyright: ignore[reportArgumentType]
    sizes = scores.by_size()
    assert {size: marks["objects"] for size, marks in sizes.items()} == {
        "small": 2,
        "medium": 1,
        "large": 1,
    }
    assert sizes["large"]["iou_box"] == scores.box[3]
    assert sizes["small"]["iou_3_clicks"] == np.mean(scores.clicks[3][:2])
    assert "best_iou" not in sizes["large"]


def test_marks_are_told_by_whether_an_object_is_in_one_piece():
    masks = np.zeros((3, 128, 128), bool)
    masks[0, 10:40, 10:40] = masks[1, 60:90, 10:40] = masks[2, 60:90, 60:90] = True
    masks[0, 20:25] = False  # cut in two
    masks[1, 100, 100] = True  # a speck, beside 900 pixels

    scores = PictureScores()
    list(ask_about(build_sam2(SMALL), Given(masks), range(1), scores))  # pyright: ignore[reportArgumentType]
    scores.wholeness += wholeness_of(masks)
    np.testing.assert_allclose(scores.wholeness, [450 / 750, 900 / 901, 1.0], rtol=1e-6)
    np.testing.assert_allclose(wholeness_of(np.concatenate([masks] * 4)), scores.wholeness * 4)
    pieces = scores.by_pieces()
    assert {name: marks["objects"] for name, marks in pieces.items()} == {
        "in pieces": 1,
        "in one piece": 2,
    }
    assert pieces["in pieces"]["iou_box"] == scores.box[0]
    assert pieces["in one piece"]["iou_1_clicks"] == np.mean(scores.clicks[1][1:])
