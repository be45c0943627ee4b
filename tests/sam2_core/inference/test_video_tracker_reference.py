"""Our tracker beside the reference's, frame by frame, in fp32 with the same lively weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_close, mean_iou
from make_clip import moving_shapes
from oracle import lend_components, small, twins
from prompt_factories import LARGER
from reference_video import object_scores, prompt, propagate, start, write_frames

from sam2_core import FramePrompt, Prompt, TrackingConfig, VideoTracker
from sam2_core.data import concatenate_embeddings
from sam2_core.inference.memory_bank import MemoryBank
from sam2_core.inference.object_steps import Recall, follow_memory
from sam2_core.inference.preprocess import frames_to_pixels
from sam2_core.inference.tracked_frame import TrackedFrame

pytestmark = pytest.mark.reference

HEIGHT, WIDTH = LARGER.height, LARGER.width
NO_FILL = TrackingConfig(fill_hole_area=0)
_point, _box, _mask = LARGER.point, LARGER.box, LARGER.mask


@cache
def _models(name: str = "sam2.1_hiera_tiny", object_lift: float = 0.3) -> tuple[Any, Any]:
    ours, reference = twins(small(name, 128), video=True, object_lift=object_lift)
    reference.fill_hole_area = 0
    return ours, reference


THREE = [_point(1, 5, 60, 40), _box(3, 2), _mask(6, 9)]


@pytest.mark.parametrize(
    "prompts",
    [
        [_point(0, 1, 60, 40)],
        [_box(0, 1)],
        [_mask(0, 1)],
        [FramePrompt(0, 1, Prompt(points=[(60, 40), (10, 80)], labels=[1, 0]))],
        [FramePrompt(0, 1, Prompt(points=[(60, 40)], labels=[0], box=(20, 15, 90, 70)))],
        THREE,
        [_point(0, 1, 60, 40), _point(7, 1, 30, 20), _point(5, 3, 100, 50)],
    ],
    ids=["point", "box", "mask", "points", "box and point", "three objects", "in the future"],
)
@pytest.mark.parametrize("name", ["sam2.1_hiera_tiny", "sam2_hiera_tiny"])
def test_forward_tracking_equals_the_reference(
    prompts: list[FramePrompt], name: str, tmp_path: Path
) -> None:
    _compare(_models(name), 10, prompts, "forward", tmp_path)


@pytest.mark.parametrize("length", [1, 2, 5, 7])
def test_clips_shorter_than_eight_frames_equal_the_reference(length: int, tmp_path: Path) -> None:
    _compare(_models(), length, [_point(0, 1, 60, 40), _box(0, 2)], "forward", tmp_path)


def test_backward_tracking_equals_the_reference(tmp_path: Path) -> None:
    _compare(_models(), 10, THREE, "backward", tmp_path)


def test_tracking_both_ways_equals_a_reference_session_that_goes_forward_then_back(
    tmp_path: Path,
) -> None:
    later = [_point(4, 5, 60, 40), _box(6, 2), _mask(4, 9)]
    _compare(_models(), 10, later, "both", tmp_path)


def test_prompts_in_any_order_equal_the_reference(tmp_path: Path) -> None:
    _compare(_models(), 9, [_box(6, 2), _point(1, 5, 60, 40), _mask(3, 2)], "forward", tmp_path)


@pytest.mark.parametrize(
    ("stride", "direction"),
    [
        (2, "forward"),
        (3, "backward"),
        pytest.param(3, "forward", marks=pytest.mark.long),
        pytest.param(2, "backward", marks=pytest.mark.long),
    ],
)
def test_memory_strides_equal_the_reference(stride: int, direction: str, tmp_path: Path) -> None:
    ours, reference = twins(
        small("sam2.1_hiera_tiny", 64),
        video=True,
        extra=[f"++model.memory_temporal_stride_for_eval={stride}"],
    )
    reference.fill_hole_area = 0
    config = TrackingConfig(fill_hole_area=0, memory_temporal_stride_for_eval=stride)
    prompts = [_point(2 if direction == "forward" else 20, 1, 60, 40)]
    _compare((ours, reference), 22, prompts, direction, tmp_path, config)


def test_a_limit_on_recalled_prompts_equals_the_reference(tmp_path: Path) -> None:
    ours, reference = twins(
        small("sam2.1_hiera_tiny", 64), video=True, extra=["++model.max_cond_frames_in_attn=2"]
    )
    reference.fill_hole_area = 0
    prompts = [_point(f, 1, 50 + f, 40) for f in (0, 3, 4, 9, 12)]
    config = TrackingConfig(fill_hole_area=0, max_cond_frames_in_attn=2)
    _compare((ours, reference), 14, prompts, "forward", tmp_path, config)


def test_objects_that_do_not_overlap_equal_the_reference_where_one_clearly_wins(
    tmp_path: Path,
) -> None:
    ours, reference = twins(
        small("sam2.1_hiera_tiny", 128), video=True, extra=["++model.non_overlap_masks=true"]
    )
    reference.fill_hole_area = 0
    prompts = [_point(0, 1, 60, 40), _box(0, 2)]
    state = start(reference, write_frames(_clip(6), tmp_path / "clip"))
    for item in prompts:
        prompt(reference, state, item)
    theirs = propagate(reference, state)
    config = TrackingConfig(fill_hole_area=0, non_overlap_masks=True)
    free = list(VideoTracker(ours, NO_FILL).track(_clip(6), prompts))
    for frame, raw in zip(VideoTracker(ours, config).track(_clip(6), prompts), free, strict=True):
        first, second = raw.logits.topk(2, dim=0).values
        clear = (first - second > 1e-3 * raw.logits.abs().max()).expand(2, -1, -1)
        assert clear.float().mean() > 0.2
        assert_close(frame.logits[clear], theirs[frame.frame][clear], f"frame {frame.frame}")
        assert not frame.masks.all(dim=0).any()


def test_filled_holes_equal_the_reference_with_its_components(tmp_path: Path) -> None:
    lend_components()
    ours, reference = twins(small("sam2.1_hiera_tiny", 128), video=True)
    assert reference.fill_hole_area == 8
    found = _compare(
        (ours, reference),
        6,
        [_box(0, 1), _point(0, 2, 60, 40)],
        "forward",
        tmp_path,
        TrackingConfig(),
    )
    unfilled = list(VideoTracker(ours, NO_FILL).track(_clip(6), [_box(0, 1), _point(0, 2, 60, 40)]))
    changed = [not torch.equal(a.logits, b.logits) for a, b in zip(found, unfilled, strict=True)]
    assert any(changed), "these masks had no hole to fill: the test proves nothing"


def test_objects_in_and_out_of_sight_equal_the_reference(tmp_path: Path) -> None:
    models = _models(object_lift=-1.5)
    found = _compare(models, 12, [_point(0, 1, 60, 40), _box(2, 2)], "forward", tmp_path)
    scores = torch.stack([frame.object_score for frame in found])
    assert (scores > 0).any(), "no object was ever present: the test proves nothing"
    assert (scores <= 0).any(), "no object was ever absent: the test proves nothing"


def test_a_long_clip_agrees_step_by_step_on_the_references_memories(tmp_path: Path) -> None:
    models, length = _models(), 44
    frames, folder = _clip(length), write_frames(_clip(length), tmp_path / "clip")
    ours, reference = models
    state = start(reference, folder)
    prompt(reference, state, _point(0, 1, 60, 40))
    propagate(reference, state)
    outputs = state["output_dict_per_obj"][0]
    for frame in range(1, length):
        embedding = ours.embed_images(frames_to_pixels([frames[frame]], 128, torch.device("cpu")))
        bank = _bank_of(outputs, before=frame)
        recollection = bank.recollect(frame, backward=False, reach=16)
        with torch.inference_mode():
            result = follow_memory(
                ours,
                concatenate_embeddings([embedding]),
                [Recall(0, bank, recollection, 16)],
                NO_FILL,
            )
        theirs = outputs["non_cond_frame_outputs"][frame]
        assert_close(result.shown.logits_Nhw, theirs["pred_masks"][:, 0], f"frame {frame}")
        assert_close(result.shown.pointer_NC, theirs["obj_ptr"], f"pointer of frame {frame}")
        memory = theirs["maskmem_features"].flatten(2).transpose(1, 2).float()
        # Both were rounded to bfloat16: one step of it, relative to the largest, may lie between.
        assert_close(result.memory.features_NPC.float(), memory, f"memory of {frame}", 2**-7)


def test_a_long_clip_agrees_running_freely(tmp_path: Path) -> None:
    models, length = _models(), 44
    folder = write_frames(_clip(length), tmp_path / "clip")
    state = start(models[1], folder)
    prompt(models[1], state, _point(0, 1, 60, 40))
    theirs = propagate(models[1], state)
    for frame in VideoTracker(models[0], NO_FILL).track(_clip(length), [_point(0, 1, 60, 40)]):
        assert mean_iou(frame.masks, theirs[frame.frame] > 0) >= 0.99, f"frame {frame.frame}"


def _bank_of(outputs: dict[str, Any], before: int) -> MemoryBank[torch.Tensor, torch.Tensor]:
    bank: MemoryBank[torch.Tensor, torch.Tensor] = MemoryBank()
    keep: dict[str, Callable[..., None]] = {
        "cond_frame_outputs": bank.remember_prompted,
        "non_cond_frame_outputs": bank.remember,
    }
    for kind, remember in keep.items():
        for frame, output in outputs[kind].items():
            if frame < before:
                features = output["maskmem_features"][0].flatten(1).transpose(0, 1)
                remember(frame, features, output["obj_ptr"][0])
    return bank


def _clip(length: int) -> list[np.ndarray]:
    return moving_shapes(length, HEIGHT, WIDTH, seed=3)


def _compare(
    models: tuple[Any, Any],
    length: int,
    prompts: list[FramePrompt],
    direction: str,
    tmp_path: Path,
    config: TrackingConfig = NO_FILL,
) -> list[TrackedFrame]:
    """Track on both sides; every frame's logits and scores must agree."""
    ours, reference = models
    folder = write_frames(_clip(length), tmp_path / "clip")
    state = start(reference, folder)
    for item in prompts:
        prompt(reference, state, item)
    ids = tuple(dict.fromkeys(item.object_id for item in prompts))
    theirs, scores = _run_reference(reference, state, prompts, direction)
    found = list(VideoTracker(ours, config).track(_clip(length), prompts, direction))
    assert sorted(frame.frame for frame in found) == sorted(theirs)
    assert len({frame.frame for frame in found}) == len(found)
    for frame in found:
        assert frame.object_ids == ids
        assert_close(frame.logits, theirs[frame.frame], f"frame {frame.frame}")
        for index in range(len(ids)):
            score = torch.tensor(scores[index][frame.frame])
            assert_close(frame.object_score[index], score, f"score on {frame.frame}")
    return found


def _run_reference(
    reference: Any, state: dict[str, Any], prompts: list[FramePrompt], direction: str
) -> tuple[dict[int, torch.Tensor], list[dict[int, float]]]:
    """Logits by frame, and each object's scores by frame, as they were when first shown."""
    objects = range(len({item.object_id for item in prompts}))
    if direction == "backward":
        last = max(item.frame for item in prompts)
        logits = propagate(reference, state, start_frame_idx=last, reverse=True)
        return logits, [object_scores(state, index) for index in objects]
    forward = propagate(reference, state)
    scores = [object_scores(state, index) for index in objects]
    if direction == "forward":
        return forward, scores
    logits = {**propagate(reference, state, reverse=True), **forward}
    return logits, [{**object_scores(state, i), **scores[i]} for i in objects]
