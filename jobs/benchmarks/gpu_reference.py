"""The reference package beside our core, with the same weights and inputs, where it is at hand."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from jobs.benchmarks.gpu_rows import Row
from jobs.benchmarks.gpu_sheet import Sheet, said
from jobs.benchmarks.gpu_speed import measure_encode, time_all_masks, time_track
from jobs.benchmarks.gpu_world import Suite, clicked_objects, drifting_clip

POINTS_PER_BATCH = 64  # its default
OBJECT_S = 6  # it goes through the objects of a clip one by one, and through the clip twice
SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


def measure_reference(suite: Suite, name: str, folder: Path | None) -> None:
    """Measure the reference as its own benchmark runs it, autocast to bf16; or say why not."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    sheet = Sheet(suite=suite, name=name, precision="autocast", side="reference: ")
    try:
        image_model, video_model = _build(sheet, video=False), _build(sheet, video=True)
    except ImportError as error:
        suite.ledger.skip("reference", said(error), name)
        return
    with torch.inference_mode(), torch.autocast(suite.device.type, torch.bfloat16):
        measure_encode(sheet, image_model.forward_image, suite.scale.encode_batches)
        _measure_all_masks(sheet, image_model)
        _measure_track(sheet, video_model)


def _build(sheet: Sheet, *, video: bool) -> Any:  # noqa: ANN401 the reference is not typed
    package = import_module("sam2.build_sam")
    family, size = sheet.name.split("_hiera_")
    coarse = sheet.size // 16
    attention = "++model.memory_attention.layer"
    build = package.build_sam2_video_predictor if video else package.build_sam2
    model = build(
        f"configs/{family}/{family}_hiera_{SIZES[size]}.yaml",
        device=str(sheet.suite.device),
        hydra_overrides_extra=[
            f"++model.image_size={sheet.size}",
            f"{attention}.self_attention.feat_sizes=[{coarse},{coarse}]",
            f"{attention}.cross_attention.feat_sizes=[{coarse},{coarse}]",
        ],
    )
    weights = torch.load(sheet.suite.checkpoint(sheet.name), weights_only=True)["model"]
    model.load_state_dict(weights)
    return model.eval()


def _measure_all_masks(sheet: Sheet, model: Any) -> None:  # noqa: ANN401 the reference is not typed
    config = sheet.suite.thresholds.get(sheet.name)
    if config is None:
        sheet.suite.ledger.skip("reference: all masks", "no thresholds of ours yet", sheet.name)
        return
    package = import_module("sam2.automatic_mask_generator")
    generator = package.SAM2AutomaticMaskGenerator(
        model,
        points_per_side=config.points_per_side,
        points_per_batch=POINTS_PER_BATCH,
        pred_iou_thresh=config.pred_iou_thresh,
        stability_score_thresh=config.stability_score_thresh,
        box_nms_thresh=config.box_nms_thresh,
        output_mode="uncompressed_rle",
    )
    side = sheet.size // 16
    generator.predictor._bb_feat_sizes = [(4 * side,) * 2, (2 * side,) * 2, (side, side)]
    sheet.measure(
        sheet.row("all masks", "images/s", batch=POINTS_PER_BATCH),
        lambda row: time_all_masks(sheet, row, generator.generate),
    )


def _measure_track(sheet: Sheet, model: Any) -> None:  # noqa: ANN401 the reference is not typed
    clip = drifting_clip(sheet.suite.scale.frames, (sheet.size, sheet.size))
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(clip):
            # PNG content behind the name that the reference asks for: no pixel is lost.
            Image.fromarray(frame).save(Path(folder) / f"{number:05d}.jpg", format="PNG")
        for objects in sheet.suite.scale.objects:

            def work(row: Row, objects: int = objects) -> None:
                state = model.init_state(folder)  # loading frames is not measured
                time_track(sheet, row, lambda: _track(model, state, objects, sheet.size))

            row = sheet.row("track", "frames/s", objects=objects)
            sheet.measure(row, work, needed_s=OBJECT_S * objects)


def _track(model: Any, state: Any, objects: int, size: int) -> Iterator[Any]:  # noqa: ANN401
    model.reset_state(state)
    for item in clicked_objects(objects, (size, size)):
        points = np.array(item.prompt.points, dtype=np.float32)
        labels = np.array(item.prompt.labels, dtype=np.int32)
        model.add_new_points_or_box(state, item.frame, item.object_id, points, labels)
    yield from model.propagate_in_video(state)
