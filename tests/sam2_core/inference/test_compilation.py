"""Lower precision and compiled parts, each held against eager fp32."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from agreement import mean_iou
from make_clip import moving_shapes
from small_models import lively_model

from sam2_core import ConfigError, FramePrompt, ImageSegmenter, Prompt, VideoTracker, load_sam2
from sam2_core.inference.compilation import FP32_ISLANDS, prepare
from sam2_core.network.sam2 import Sam2, bucket_of

HEIGHT, WIDTH = 90, 130
CLIP = moving_shapes(6, HEIGHT, WIDTH, seed=3)
POINT = Prompt(points=[(60, 40)], labels=[1])
BOX = Prompt(box=(20, 15, 90, 70))
SEEDS = (0, 1, 2)


def _own_model(image_size: int, seed: int = 0) -> Sam2:
    """A copy: the shared models must stay as they are."""
    return copy.deepcopy(lively_model(image_size, seed=seed))


def _masks(model: Sam2) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of prompts on pictures, and of two objects tracked through a clip."""
    asked = [[POINT, BOX], [BOX], []]
    answers = ImageSegmenter(model).segment(CLIP[:3], asked)
    prompted = torch.cat([answer.masks.flatten(0, 1) for answer in answers])
    prompts = [FramePrompt(0, 1, POINT), FramePrompt(1, 2, BOX)]
    tracked = torch.cat([frame.masks for frame in VideoTracker(model).track(CLIP, prompts)])
    return prompted, tracked


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_masks_in_lower_precision_are_those_of_fp32(precision: str) -> None:
    scores = []
    for seed in SEEDS:
        exact = _masks(lively_model(128, seed=seed))
        rough = _masks(prepare(_own_model(128, seed), precision=precision))
        scores.append([mean_iou(a, b) for a, b in zip(rough, exact, strict=True)])
    prompted, tracked = torch.tensor(scores).mean(dim=0).tolist()
    assert prompted >= 0.99
    assert tracked >= 0.99


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
    plain, filled = lively_model(64), _own_model(64)
    filled.static_shapes = True
    for ours, theirs in zip(_masks(filled), _masks(plain), strict=True):
        assert mean_iou(ours, theirs) > 0.999


_RUN = """
import copy, json, sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from small_models import lively_model
from sam2_core.inference.compilation import prepare
import test_compilation as cases
from agreement import mean_iou
exact = cases._masks(lively_model(64))
model = prepare(copy.deepcopy(lively_model(64)), precision=sys.argv[2], compile=sys.argv[3])
found = cases._masks(model)
from torch._dynamo.utils import counters
print(json.dumps({
    "iou": [mean_iou(a, b) for a, b in zip(found, exact)],
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
@pytest.mark.parametrize("compile_mode", ["encoder", "full"])
def test_compiled_masks_are_those_of_eager_fp32_and_restarts_find_the_programs(
    compile_mode: str, tmp_path: Path
) -> None:
    first = _run_apart("fp32", compile_mode, tmp_path)
    again = _run_apart("fp32", compile_mode, tmp_path)
    assert first["misses"] > 0
    assert again["misses"] == 0
    assert again["hits"] >= first["misses"]
    assert min(first["iou"]) >= 0.9999
    assert again["iou"] == pytest.approx(first["iou"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("compile_mode", ["encoder", "full"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_compiled_masks_in_lower_precision_are_those_of_eager_fp32(
    precision: str, compile_mode: str, tmp_path: Path
) -> None:
    prompted, tracked = _run_apart(precision, compile_mode, tmp_path)["iou"]
    assert (prompted + tracked) / 2 >= 0.99
