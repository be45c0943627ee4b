"""The weights that ship, in our model and in the reference's: equal masks, and ones that fit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_close, assert_masks_equal_where_sure
from oracle import image_predictor, lend_components, mask_generator, reference_model
from reference_video import prompt, propagate, start, write_frames

from ops import mask_boxes_xyxy
from sam2_core import (
    AutoMaskConfig,
    FramePrompt,
    ImageSegmenter,
    MaskGenerator,
    Prompt,
    Sam2,
    TrackingConfig,
    VideoTracker,
    export_checkpoint,
    load_sam2,
)
from sam2_core.learning.interaction import next_clicks
from sam2_core.learning.losses import true_iou
from sam2_core.learning.shapes import HELD_OUT
from sam2_core.learning.world import World

pytestmark = pytest.mark.reference

WORLD = World(2024, families=HELD_OUT)
LARGE = 655  # pixels: a hundredth of a picture


@cache
def _twins(*, video: bool = False) -> tuple[Sam2, Any]:
    ours = load_sam2("nano")
    theirs = reference_model(ours.config, video=video)
    theirs.load_state_dict(export_checkpoint(ours)["model"])
    return ours, theirs


def _asked(number: int) -> tuple[np.ndarray, torch.Tensor, list[Prompt]]:
    """A picture, masks of its large things, and a click into each and a box about it."""
    made = WORLD.picture(number)
    masks = torch.from_numpy(made.masks(made.object_ids(LARGE)))
    points, _ = next_clicks(masks, None, where="middle")
    clicks = [Prompt(points=[tuple(point)], labels=[1]) for point in points.tolist()]
    boxes = [Prompt(box=tuple(box)) for box in mask_boxes_xyxy(masks).tolist()]
    return np.array(made.pixels), masks, clicks + boxes


def test_prompted_masks_equal_the_reference_and_fit_their_things() -> None:
    ours, reference = _twins()
    predictor = image_predictor(reference)
    ious = []
    for number in range(6):
        picture, masks, prompts = _asked(number)
        (answer,) = ImageSegmenter(ours).segment([picture], [prompts])
        predictor.set_image(picture)
        for row, asked in enumerate(prompts):
            logits, scores, low = predictor.predict(
                np.array(asked.points) if len(asked.points) else None,
                np.array(asked.labels) if len(asked.labels) else None,
                None if asked.box is None else np.array(asked.box),
                return_logits=True,
            )
            logits, what = torch.from_numpy(logits), f"prompt {row} of picture {number}"
            assert_masks_equal_where_sure(answer.masks[row], logits, what)
            assert_close(answer.predicted_iou[row], torch.from_numpy(scores), what)
            assert_close(answer.low_res_logits[row], torch.from_numpy(low), what)
        best = answer.predicted_iou.argmax(1)
        chosen = answer.masks[torch.arange(len(prompts)), best]
        ious += true_iou(chosen.flatten(1), masks.repeat(2, 1, 1).flatten(1)).tolist()
    assert np.mean(ious) > 0.7


def test_all_masks_equal_the_reference_and_most_things_are_among_them() -> None:
    lend_components()
    ours, reference = _twins()
    config = AutoMaskConfig.for_model(ours.config, points_per_side=12)
    told = ("points_per_side", "pred_iou_thresh", "stability_score_thresh")
    theirs = mask_generator(reference, **{name: getattr(config, name) for name in told})
    best = []
    for number in range(3):
        picture, truths, _ = _asked(number)
        (found,) = MaskGenerator(ours, config).generate([picture])
        records = theirs.generate(picture)
        assert len(found) == len(records) > 3
        for mask, record in zip(found, records, strict=True):
            assert mask.point == pytest.approx(tuple(record["point_coords"][0]), abs=1e-4)
            assert mask.predicted_iou == pytest.approx(record["predicted_iou"], abs=1e-4)
            assert (mask.decode() != record["segmentation"]).sum() <= 3
        masks = torch.from_numpy(np.stack([mask.decode() for mask in found])).flatten(1)
        best += [
            float(true_iou(masks, truth.expand_as(masks)).max()) for truth in truths.flatten(1)
        ]
    assert np.mean(np.array(best) > 0.5) > 0.6


@torch.no_grad()
def test_what_is_tracked_equals_the_reference(tmp_path: Path) -> None:
    ours, reference = _twins(video=True)
    reference.fill_hole_area = 0
    clip = WORLD.clip(3, 10)
    large = clip[0].object_ids(LARGE)[:3]
    points, _ = next_clicks(torch.from_numpy(clip[0].masks(large)), None, where="middle")
    prompts = [
        FramePrompt(0, number, Prompt(points=[tuple(point)], labels=[1]))
        for number, point in zip(large, points.tolist(), strict=True)
    ]
    state = start(reference, write_frames(list(clip.frames), tmp_path / "clip"))
    for asked in prompts:
        prompt(reference, state, asked)
    theirs = propagate(reference, state)
    tracker = VideoTracker(ours, TrackingConfig(fill_hole_area=0))
    for frame in tracker.track(list(clip.frames), prompts):
        assert_close(frame.logits, theirs[frame.frame], f"frame {frame.frame}")
