"""Lower precision and compiled parts, each held against eager fp32."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import pytest
import torch
from make_clip import moving_shapes
from small_models import lively_model

from sam2_core import ConfigError, FramePrompt, ImageSegmenter, Prompt, VideoTracker, load_sam2
from sam2_core.inference.compilation import FP32_ISLANDS, prepare
from sam2_core.network.sam2 import Sam2, bucket_of

HEIGHT, WIDTH = 90, 130
CLIP = moving_shapes(6, HEIGHT, WIDTH, seed=3)
POINTS = [Prompt(points=[point], labels=[1]) for point in ((60, 40), (30, 60), (100, 20), (9, 80))]
BOX = Prompt(box=(20, 15, 90, 70))
# Four points on three pictures: more prompts than pictures, so that these are shared.
ASKED = [[*POINTS[:2], BOX], POINTS[2:], [BOX]]

# Weights are random. On these seeds no mask hangs on a tie: where two of three masks have the same
# score but for rounding, each precision follows another one.
SEEDS = range(6)
GATE = 0.99
FEWEST = {"prompted": 108, "tracked": 45}  # masks that are compared

UNCHOSEN_SEEDS = range(6, 12)
FOLLOWS_ANOTHER = 0.9  # IoU of less: not the same mask a little off
MOST_OTHERS = 4

Masks: TypeAlias = dict[str, torch.Tensor]
Overlaps: TypeAlias = dict[str, list[float]]


def _own_model(image_size: int, seed: int = 0) -> Sam2:
    """A copy: the shared models must stay as they are."""
    return copy.deepcopy(lively_model(image_size, seed=seed))


def _masks(model: Sam2) -> Masks:
    """Masks of prompts on pictures, and of two objects tracked through a clip."""
    answers = ImageSegmenter(model).segment(CLIP[:3], ASKED)
    prompts = [FramePrompt(0, 1, POINTS[0]), FramePrompt(1, 2, BOX)]
    frames = VideoTracker(model).track(CLIP, prompts)
    return {
        "prompted": torch.cat([answer.masks.flatten(0, 1) for answer in answers]),
        "tracked": torch.cat([frame.masks for frame in frames]),
    }


def _overlaps(model: Sam2, seeds: Iterable[int] = SEEDS) -> Overlaps:
    """IoU of a model's masks with those of eager fp32, seed by seed; none where both are empty."""
    overlaps: Overlaps = {"prompted": [], "tracked": []}
    for seed in seeds:
        truth = lively_model(model.config.image_size, seed=seed)
        model.load_state_dict(truth.state_dict())
        found, exact = _masks(model), _masks(truth)
        for kind, ious in overlaps.items():
            either = (found[kind] | exact[kind]).sum((1, 2)).double()
            both = (found[kind] & exact[kind]).sum((1, 2)).double()
            ious += (both / either)[either > 0].tolist()
    return overlaps


def _assert_mean_overlap(overlaps: Overlaps, least: float) -> None:
    for kind, ious in overlaps.items():
        assert len(ious) >= FEWEST[kind], f"only {len(ious)} {kind} masks were compared"
        assert fmean(ious) >= least, f"{len(ious)} {kind} masks"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_masks_in_lower_precision_are_those_of_fp32(precision: str) -> None:
    _assert_mean_overlap(_overlaps(prepare(_own_model(64), precision=precision)), GATE)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_on_seeds_that_nobody_chose_few_masks_follow_another_one(precision: str) -> None:
    """Where this was written 2 of 168 did so in bf16, both of tracked objects; none in fp16."""
    found = _overlaps(prepare(_own_model(64), precision=precision), seeds=UNCHOSEN_SEEDS)
    ious = [iou for of_kind in found.values() for iou in of_kind]
    others = [iou for iou in ious if iou < FOLLOWS_ANOTHER]
    assert len(ious) >= 140
    assert len(others) <= MOST_OTHERS, f"{len(others)} of {len(ious)} masks: {others}"
    assert fmean(iou for iou in ious if iou >= FOLLOWS_ANOTHER) >= GATE


def test_what_meets_thresholds_stays_in_fp32() -> None:
    model = prepare(_own_model(64), precision="bf16")
    kept = {name for name, weight in model.named_parameters() if weight.dtype == torch.float32}
    cast = {name for name, weight in model.named_parameters() if weight.dtype == torch.bfloat16}
    assert all(name.startswith(FP32_ISLANDS) for name in kept)
    assert {"encoder.blocks.0.mlp.layers.0.weight", "mask_decoder.upscale1.weight"} <= cast
    assert "mask_decoder.iou_head.layers.0.weight" in kept
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"precision": "int8"}, "precision='int8'"), ({"compile": "max"}, "compile='max'")],
)
def test_unknown_settings_are_refused_with_those_known(
    settings: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_sam2("nano", **settings)


def test_batches_are_filled_up_to_powers_of_two() -> None:
    assert [bucket_of(count) for count in (1, 2, 3, 5, 8, 9)] == [1, 2, 4, 8, 8, 16]


def test_filled_up_batches_give_the_same_masks() -> None:
    filled = _own_model(64)
    filled.static_images = filled.static_objects = True
    assert min(min(ious) for ious in _overlaps(filled, seeds=(0,)).values()) > 0.999


_RUN = """
import json, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from sam2_core.inference.compilation import prepare
import test_compilation as cases
model = prepare(cases._own_model(64), precision=sys.argv[2], compile=sys.argv[3])
overlaps = cases._overlaps(model)
from torch._dynamo.utils import counters
print(json.dumps({
    "overlaps": overlaps,
    "hits": counters["inductor"]["fxgraph_cache_hit"],
    "misses": counters["inductor"]["fxgraph_cache_miss"],
    "graphs": counters["stats"]["unique_graphs"],
}))
"""


def _run_apart(precision: str, compile_mode: str, programs: Path) -> dict:
    """Run in a process of its own, as a restarted actor would."""
    here, support = Path(__file__).parent, Path(__file__).parents[2] / "support"
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, str(support), precision, compile_mode],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (root, support, here))),
            "TORCHINDUCTOR_CACHE_DIR": str(programs),
        },
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("compile_mode", [pytest.param("encoder", marks=pytest.mark.long), "full"])
def test_compiled_masks_are_those_of_eager_fp32_and_restarts_find_the_programs(
    compile_mode: str, tmp_path: Path
) -> None:
    first = _run_apart("fp32", compile_mode, tmp_path)
    again = _run_apart("fp32", compile_mode, tmp_path)
    assert first["misses"] > 0
    assert again["misses"] == 0
    assert again["hits"] >= first["misses"]
    _assert_mean_overlap(first["overlaps"], 0.9999)
    assert again["overlaps"] == first["overlaps"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("precision", "compile_mode"),
    [
        pytest.param("bf16", "full", marks=pytest.mark.long),
        pytest.param("bf16", "encoder", marks=pytest.mark.long),
        pytest.param("fp16", "full", marks=pytest.mark.long),
        pytest.param("fp16", "encoder", marks=pytest.mark.long),
    ],
)
def test_compiled_masks_in_lower_precision_are_those_of_eager_fp32(
    precision: str, compile_mode: str, tmp_path: Path
) -> None:
    _assert_mean_overlap(_run_apart(precision, compile_mode, tmp_path)["overlaps"], GATE)
