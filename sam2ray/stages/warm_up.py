"""A first batch of made-up pictures: programs compile before an actor has any unit in hand.

Else the first units would wait for it, and the watchdog would take them for stuck ones.
"""

from __future__ import annotations

import numpy as np
import torch

from sam2_core import (
    ClassHead,
    ClassSegmenter,
    FramePrompt,
    ImageSegmenter,
    MaskGenerator,
    Prompt,
    Sam2,
    VideoTracker,
)

from ..config import JobConfig

_FRAMES = 3  # with no memory, with one, and with two of them


def warm_up(config: JobConfig, model: Sam2, head: ClassHead | None = None) -> None:
    """Do once what the job does with its units; where memory runs out, real batches are halved."""
    try:
        _look_at_noise(config, model, head)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()


def _look_at_noise(config: JobConfig, model: Sam2, head: ClassHead | None) -> None:
    side = model.config.image_size
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    pictures, prompt = [noise] * config.resources.batch_size, _in_the_middle(side)
    segmenter = ImageSegmenter(model)
    if config.mode == "embed":
        segmenter.embed(pictures)
    if head is not None:
        ClassSegmenter(model, head, batch=len(pictures)).segment(pictures)
    if config.mode == "prompt":
        prompts = [[prompt] for _ in pictures]
        segmenter.segment(pictures, prompts, multimask=config.prompts.multimask)
    if config.mode in ("auto", "auto_track"):
        MaskGenerator(model, config.masks.auto_mask_config(model.config)).find(pictures)
    if config.mode in ("track", "auto_track"):
        tracker = VideoTracker(model, config.tracking.tracking_config())
        for _ in tracker.track([noise] * _FRAMES, [FramePrompt(0, 1, prompt)]):
            pass


def _in_the_middle(side: int) -> Prompt:
    return Prompt(box=(side / 4, side / 4, side * 3 / 4, side * 3 / 4))
