"""Pictures and JSON of labels, from any store; whatever is wrong with one is BadLabels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from sam2_core.inference.preprocess import RgbArray

from ...errors import Sam2RayError
from ...readers.locate import read_unit
from ...readers.prompts.rle import Rle
from ...readers.store_file import read_at
from ...records import Unit
from ...stages.decode import PictureLimits, decode_picture
from ...storage import Options
from .labelled import BadLabels, Masks

LIMITS = PictureLimits()


def read_pixels(unit: Unit, options: Options, named_in: str = "") -> RgbArray:
    """The pixels of a picture as it is shown; labels that name their pictures say who named it."""
    try:
        data = read_unit(unit, options, LIMITS.max_bytes)
        return decode_picture(data, mode="exact", model_px=None, limits=LIMITS).pixels
    except (OSError, Sam2RayError) as error:
        refuse(f"{named_in}: {unit.source_uri}" if named_in else unit.source_uri, error)


def read_json(uri: str, options: Options) -> Mapping[str, Any]:
    """A file that holds one JSON object."""
    try:
        content = json.loads(read_at(uri, options))
    except (OSError, Sam2RayError, ValueError, RecursionError) as error:
        refuse(uri, error)
    if not isinstance(content, Mapping):
        raise BadLabels(f"{uri}: holds no JSON object")
    return content


def decoded(rles: Sequence[Rle], size_hw: tuple[int, int], name: str) -> Masks:
    """Masks of run lengths, all of one size: bool [N, H, W]."""
    from ops import decode_run_lengths, from_coco_strings

    if not rles:
        return np.zeros((0, *size_hw), bool)
    for rle in rles:
        if tuple(rle["size"]) != size_hw:
            raise BadLabels(
                f"{name}: a mask of {rle['size'][1]} x {rle['size'][0]} pixels in a picture of "
                f"{size_hw[1]} x {size_hw[0]}"
            )
    try:
        runs = from_coco_strings([rle["counts"] for rle in rles], *size_hw)
        return decode_run_lengths(runs).numpy()
    except (ValueError, TypeError) as error:
        refuse(name, error)


def refuse(name: str, error: Exception) -> NoReturn:
    """Say what is wrong with one picture or clip."""
    words = " ".join(str(error).split()) or type(error).__name__
    raise BadLabels(words if name in words else f"{name}: {words}") from error
