"""SA-V's annotations of a video -> for each masklet, its first mask as a prompt.

`masklet` is a list of annotated frames, each a list with one RLE an object. Every fourth frame of
the video is annotated (6 of 24 a second).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from ...storage import Options
from ..places import base_name
from ..store_file import read_at
from .fields import PromptFields, bad_prompt, prompt_fields
from .matching import NamedPrompts
from .rle import rle_of

MANUAL = "_manual.json"
AUTO = "_auto.json"

_MOST_FRAMES = 2**40
_STRIDE = 4


def sav_prompts(uri: str, options: Options) -> NamedPrompts:
    """The prompts of one video."""
    name = base_name(uri).removesuffix(MANUAL).removesuffix(AUTO).removesuffix(".json")
    try:
        content = json.loads(read_at(uri, options))
        if not isinstance(content, Mapping) or not {"masklet", "masklet_id"} <= set(content):
            raise ValueError("it is no file of SA-V's masklets (masklet, masklet_id)")
        named = str(content.get("video_id") or name)
        return NamedPrompts(named, tuple(_first_masks(content)), by_stem=True)
    except (ValueError, TypeError, RecursionError) as error:
        return NamedPrompts(name, (bad_prompt(uri, error),), by_stem=True)


def _first_masks(content: Mapping[str, object]) -> Iterator[PromptFields]:
    frames, ids = content["masklet"], content["masklet_id"]
    if not isinstance(frames, Sequence) or not isinstance(ids, Sequence):
        raise TypeError("masklet and masklet_id are lists")
    stride = annotated_stride(len(frames), content.get("video_frame_count"))
    for place, object_id in enumerate(ids):
        for number, masks in enumerate(frames):
            rle = rle_of(masks[place]) if place < len(masks) and masks[place] else None
            if rle is not None and not _is_empty(rle["counts"], *rle["size"]):
                raw = {
                    "frame": number * stride,
                    "object_id": object_id,
                    "mask": rle,
                    "prompt_id": str(object_id),
                }
                fields = prompt_fields(raw, normalized=False)
                assert fields is not None
                yield fields
                break


def annotated_stride(annotated: int, video_frames: object) -> int:
    """How many frames of the video lie between two annotated ones."""
    if not isinstance(video_frames, int | float) or annotated == video_frames:
        return 1 if annotated == video_frames else _STRIDE
    if not 0 < video_frames < _MOST_FRAMES:
        raise ValueError(f"video_frame_count is {str(video_frames)[:20]}, no number of frames")
    if -(-int(video_frames) // _STRIDE) != annotated:
        raise ValueError(
            f"{annotated} annotated frames do not fit a video of {video_frames:g}: one in "
            f"{_STRIDE} is annotated, or all of them"
        )
    return _STRIDE


def _is_empty(counts: str, height: int, width: int) -> bool:
    from ops import from_coco_strings  # loads torch

    return len(from_coco_strings([counts], height, width).counts) <= 1
