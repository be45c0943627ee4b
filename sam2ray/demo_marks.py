"""The masks of a demo -> how near they come to the truth, which is known of a made world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ops import decode_run_lengths, from_coco_strings
from sam2_core.learning.measures import region_similarity

from .dataset import Dataset
from .demo_archive import CLICKS, FIRST_FRAME, FRAMES, DemoFolder, frame_name
from .readers.places import base_name
from .records import MASK_SCHEMA

_COLUMNS = ("source_uri", "frame_index", "object_id", "prompt_id", "height", "width", "rle_counts")
assert set(_COLUMNS) <= set(MASK_SCHEMA.names)


@dataclass(frozen=True, slots=True)
class PictureMarks:
    """The IoU of masks with what they were asked for."""

    iou: float
    prompts: int

    @property
    def words(self) -> str:
        """For people."""
        return f"mean IoU {self.iou:.2f} with the truth, of {self.prompts} clicks"


@dataclass(frozen=True, slots=True)
class ClipMarks:
    """How well objects were followed, behind the frame on which they were pointed at."""

    iou: float
    objects: int

    @property
    def words(self) -> str:
        """For people."""
        frames = f"the {FRAMES - 1} frames behind the first"
        return f"mean IoU {self.iou:.2f} with the truth, of {self.objects} objects on {frames}"


def mark_prompted(folder: DemoFolder, data: Dataset) -> PictureMarks:
    """Compare the mask of each click with the thing that was clicked at; none counts 0."""
    found = {
        (base_name(row["source_uri"]), row["prompt_id"]): _mask(row)
        for row in data.masks(_COLUMNS).read_all().to_pylist()
    }
    ious: list[float] = []
    for prompt in folder.prompts(CLICKS):
        name, thing = prompt["file"], prompt["prompt_id"]
        truth = torch.from_numpy(folder.true_ids(name.rpartition(".")[0]) == int(thing))
        mask = found.get((name, thing))
        ious.append(0.0 if mask is None else region_similarity(mask[None], truth[None]).item())
    return PictureMarks(sum(ious) / len(ious), len(ious))


def mark_tracked(folder: DemoFolder, data: Dataset) -> ClipMarks:
    """Compare each object with the truth on all frames but the first, whose boxes were given.

    Where an object is hidden, or away, no mask is the right one, and counts 1: as in DAVIS' J.
    """
    ids = np.stack([folder.true_ids(frame_name(number)) for number in range(FRAMES)])
    found = {
        (row["object_id"], row["frame_index"]): _mask(row)
        for row in data.masks(_COLUMNS).read_all().to_pylist()
    }
    nothing = torch.zeros(ids.shape[1:], dtype=torch.bool)
    ious: list[float] = []
    for prompt in folder.prompts(FIRST_FRAME):
        thing = int(prompt["object_id"])
        answers = [found.get((thing, frame), nothing) for frame in range(1, FRAMES)]
        truth = torch.from_numpy(ids[1:] == thing)
        ious.append(region_similarity(torch.stack(answers), truth).mean().item())
    return ClipMarks(sum(ious) / len(ious), len(ious))


def _mask(row: dict[str, object]) -> torch.Tensor:
    height, width = int(str(row["height"])), int(str(row["width"]))
    runs = from_coco_strings([str(row["rle_counts"])], height, width)
    return decode_run_lengths(runs)[0]
