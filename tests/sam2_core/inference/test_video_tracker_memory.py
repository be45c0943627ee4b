"""Two thousand frames from an iterator: tracking keeps as little at the end as at the start."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from make_clip import moving_shapes
from small_models import lively_model

from sam2_core import FramePrompt, Prompt, VideoTracker

pytestmark = pytest.mark.slow

FRAMES, WARM_UP = 2000, 100
# Allocators keep what they were given and hand it out again in other pieces: a few MiB move
# without anything being kept. One memory kept a frame and object, of 2 KiB here, with its pointer,
# logits and Python objects, would add more than twice as much.
SLACK_BYTES = 8 << 20


def _pictures() -> Iterator[np.ndarray]:
    """A clip that swings back and forth: endless, of pictures that are new each time."""
    clip = moving_shapes(20, 48, 64, seed=3)
    for number in range(FRAMES):
        place = number % 38
        yield clip[place if place < 20 else 38 - place].copy()


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _count_tensors() -> tuple[int, int]:
    """All that are alive, and memories alone. Nothing found here may outlive the count."""
    gc.collect()
    # By type: isinstance would ask lazy modules for their class, and import them.
    kinds = [x.dtype for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return len(kinds), kinds.count(torch.bfloat16)


@pytest.mark.timeout(1200)
def test_two_thousand_frames_keep_no_more_than_a_hundred() -> None:
    prompts = [
        FramePrompt(0, 1, Prompt(points=[(30, 20)], labels=[1])),
        FramePrompt(0, 2, Prompt(box=(10, 8, 50, 40))),
    ]
    tracker = VideoTracker(lively_model(64))
    counts, memories, resident = {}, {}, {}
    for frame in tracker.track(_pictures(), prompts):
        if frame.frame in (WARM_UP, 500, 1000, 1500, FRAMES - 1):
            counts[frame.frame], memories[frame.frame] = _count_tensors()
            resident[frame.frame] = _resident_bytes()
    assert frame.frame == FRAMES - 1
    # Two objects: a prompted frame each, and a ring of six; a batch of a step may still be alive.
    assert max(memories.values()) <= 2 * (1 + 6) + 2, memories
    assert len(set(counts.values())) == 1, counts
    assert max(resident.values()) - resident[WARM_UP] <= SLACK_BYTES, resident
