"""How fast the network's uses run on one device, beside what the arithmetic alone would take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs.benchmarks.gpu_checks import some_pass
from jobs.benchmarks.gpu_rows import Row
from jobs.benchmarks.gpu_sheet import Sheet, Timing
from jobs.benchmarks.gpu_world import (
    Suite,
    Variant,
    clicked_objects,
    drifting_clip,
    picture,
    point_prompts,
)
from sam2_core import (
    AutoMaskConfig,
    FramePrompt,
    ImageSegmenter,
    MaskGenerator,
    Sam2,
    TrackedFrame,
    VideoTracker,
)

PROMPT_COUNTS = (1, 64)
FIRST_BATCHES = 3  # of the encoder; each further one is another program to compile
SHARE_OF_MASKS = 0.05  # of all that the grid gives: about 150 of 3072


def measure_ours(suite: Suite, name: str, variant: Variant) -> None:
    """Everything about one of our networks in one variant, the most telling figures first."""
    model = suite.model(name, suite.scale.speed_size, variant)
    sheet = Sheet(suite=suite, name=name, precision=variant.precision, compile=variant.compile)
    batches = suite.scale.encode_batches
    _measure_encode_of(sheet, model, batches[:FIRST_BATCHES])
    measure_track(sheet, model)
    measure_all_masks(sheet, model)
    measure_prompts(sheet, model)
    _measure_encode_of(sheet, model, batches[FIRST_BATCHES:])


# --- encode


@torch.inference_mode()
def _measure_encode_of(sheet: Sheet, model: Sam2, batches: Sequence[int]) -> None:
    measure_encode(sheet, model.embed_images, batches)


def measure_encode(
    sheet: Sheet, encode: Callable[[Tensor], object], batches: Sequence[int]
) -> None:
    """Images/s by batch, of pixels that are on the device already."""
    for batch in batches:

        def work(row: Row, batch: int = batch) -> None:
            pixels = torch.randn(batch, 3, sheet.size, sheet.size, device=sheet.suite.device)
            timing = sheet.watch.time(lambda: encode(pixels))
            sheet.write(row, timing, per_call=batch, ideal_s=sheet.ideal_s("encode", batch))

        sheet.measure(sheet.row("encode", "images/s", batch=batch), work)


# --- pictures


def measure_prompts(sheet: Sheet, model: Sam2) -> None:
    """Prompts/s on a picture that was encoded before, up to masks of its size on the host."""
    size_hw = sheet.suite.scale.picture_hw
    segmenter = ImageSegmenter(model)
    embedded = segmenter.embed([picture(size_hw)])
    for count in PROMPT_COUNTS:

        def work(row: Row, count: int = count) -> None:
            asked = [point_prompts(count, size_hw)]
            timing = sheet.watch.time(lambda: segmenter.segment(embedded, asked))
            sheet.write(row, timing, per_call=count, ideal_s=sheet.ideal_s("prompts", count))

        sheet.measure(sheet.row("prompts", "prompts/s", batch=1, objects=count), work)


def measure_all_masks(sheet: Sheet, model: Sam2) -> None:
    """Pictures/s from pixels to run lengths."""
    for points in sheet.suite.scale.points_per_batch:

        def work(row: Row, points: int = points) -> None:
            config = replace(thresholds(sheet, model), points_per_batch=points)
            generator = MaskGenerator(model, config)
            time_all_masks(sheet, row, lambda image: generator.generate([image])[0])

        sheet.measure(sheet.row("all masks", "images/s", batch=points), work)


def thresholds(sheet: Sheet, model: Sam2) -> AutoMaskConfig:
    """Settings that let a realistic share of masks through, the same for all variants and sides."""
    known = sheet.suite.thresholds
    if sheet.name not in known:
        known[sheet.name] = some_pass(model, sheet.suite.scale.grid, SHARE_OF_MASKS)
    return known[sheet.name]


def time_all_masks(
    sheet: Sheet, row: Row, generate: Callable[[np.ndarray[Any, Any]], Sequence[object]]
) -> None:
    """Time a generator of either side on the picture, and count what it finds."""
    image = picture(sheet.suite.scale.picture_hw)
    timing = sheet.watch.time(lambda: generate(image))
    found = replace(row, objects=len(generate(image)), note=f"{sheet.suite.scale.grid}^2 points")
    sheet.write(found, timing, per_call=1, ideal_s=sheet.ideal_s("all masks"))


# --- clips


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds a frame before memory is full, and after."""

    start_s: float
    steady_s: float


def measure_track(sheet: Sheet, model: Sam2) -> None:
    """Frames/s with low-res logits left on the device, and with masks as run lengths."""
    side = (sheet.size, sheet.size)  # so that no frame is resized
    clip = drifting_clip(sheet.suite.scale.frames, side)
    tracker = VideoTracker(model)
    for objects in sheet.suite.scale.objects:
        for what, finish in (("track", None), ("track, run lengths", TrackedFrame.run_lengths)):

            def work(
                row: Row,
                asked: Sequence[FramePrompt] = clicked_objects(objects, side),
                finish: Callable[[TrackedFrame], object] | None = finish,
            ) -> None:
                frames = lambda: tracker.track(clip, asked)  # noqa: E731 each call starts anew
                time_track(sheet, row, frames, finish)

            sheet.measure(sheet.row(what, "frames/s", objects=objects), work)


def time_track(
    sheet: Sheet,
    row: Row,
    frames: Callable[[], Iterable[Any]],
    finish: Callable[[Any], object] | None = None,
) -> None:
    """Go through a clip once to compile and once to measure; two rows come out."""
    watch = sheet.watch
    first_s = watch.seconds(lambda: pace_of(sheet, frames(), finish))
    watch.reset_peak()
    pace = pace_of(sheet, frames(), finish)
    timing = Timing(pace.steady_s, first_s, watch.peak_mib())
    count = row.objects if isinstance(row.objects, int) else 1
    sheet.write(row, timing, per_call=1, ideal_s=sheet.ideal_s("track", count))
    note = f"the first {sheet.suite.scale.steady_from} frames, prompts included"
    start = replace(row, what=f"{row.what}, start", value=1 / pace.start_s, note=note)
    sheet.suite.ledger.write(start)


def pace_of(sheet: Sheet, frames: Iterable[Any], finish: Callable[[Any], object] | None) -> Pace:
    """Time a clip in two parts."""
    turn, total = sheet.suite.scale.steady_from, sheet.suite.scale.frames
    start = middle = sheet.watch.now()
    for number, frame in enumerate(frames, 1):
        if finish is not None:
            finish(frame)
        if number == turn:
            middle = sheet.watch.now()
    return Pace((middle - start) / turn, (sheet.watch.now() - middle) / (total - turn))
