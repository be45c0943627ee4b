"""Runs the reference's video predictor on frames and prompts written in our words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from oracle import quiet
from PIL import Image

from sam2_core.data import FramePrompt


def write_frames(frames: Sequence[np.ndarray], folder: Path) -> Path:
    """Store frames as the folder of JPEG names that the reference reads, without loss."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        # PNG content behind a .jpg name: Pillow goes by content, and both sides see equal pixels.
        Image.fromarray(frame).save(folder / f"{number:05d}.jpg", format="PNG")
    return folder


def start(reference: Any, folder: Path) -> dict[str, Any]:
    """A fresh inference state."""
    with quiet():
        return reference.init_state(str(folder))


def prompt(
    reference: Any, state: dict[str, Any], item: FramePrompt, **settings: Any
) -> torch.Tensor:
    """Give the reference a prompt; returns the logits of all objects at source size."""
    asked = item.prompt
    with quiet():
        if asked.mask is not None:
            mask = torch.as_tensor(asked.mask)
            _, _, logits = reference.add_new_mask(state, item.frame, item.object_id, mask)
        else:
            points = np.array(asked.points, dtype=np.float32) if len(asked.points) else None
            labels = np.array(asked.labels) if len(asked.labels) else None
            _, _, logits = reference.add_new_points_or_box(
                state, item.frame, item.object_id, points, labels, box=asked.box, **settings
            )
    return logits[:, 0].clone()


def propagate(reference: Any, state: dict[str, Any], **settings: Any) -> dict[int, torch.Tensor]:
    """Logits at source size by frame."""
    with quiet():
        return {
            frame: logits[:, 0].clone()
            for frame, _, logits in reference.propagate_in_video(state, **settings)
        }


def object_scores(state: dict[str, Any], index: int) -> dict[int, float]:
    """Object scores by frame of the index-th object."""
    outputs = state["output_dict_per_obj"][index]
    return {
        frame: output["object_score_logits"].item()
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs")
        for frame, output in outputs[kind].items()
    }
