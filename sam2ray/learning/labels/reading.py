"""Pictures and JSON of labels, from any store; whatever is wrong with one is BadLabels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from sam2_core.inference.preprocess import RgbArray

from ...errors import Sam2RayError
from ...patience import STEADY
from ...readers.locate import read_unit
from ...readers.prompts.rle import Rle
from ...readers.store_file import read_at
from ...records import Unit
from ...stages.clip_files import ask
from ...stages.decode import PictureLimits, decode_picture
from ...storage import Options
from .labelled import BadLabels
from .mask_stack import RunLengthMasks, stack_of

LIMITS = PictureLimits()


def read_pixels(unit: Unit, options: Options, named_in: str = "") -> RgbArray:
    """The pixels of a picture as it is shown; labels that name their pictures say who named it."""
    try:
        data = ask(lambda: read_unit(unit, options, LIMITS.max_bytes), unit.source_uri, STEADY)
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


@dataclass(frozen=True, slots=True, eq=False)
class GoodMasks:
    """What of a picture's annotations can be read."""

    places: tuple[int, ...]  # of these annotations
    masks: RunLengthMasks
    left_out: tuple[str, ...]  # why the others cannot


def good_masks(
    annotations: Sequence[Any],
    rle_of_one: Callable[[Any], Rle],
    size_hw: tuple[int, int],
    name: str,
) -> GoodMasks:
    """The masks of annotations, broken ones left out; BadLabels if all are."""
    read = [_counts_or_fault(one, rle_of_one, size_hw) for one in annotations]
    counts = {place: one for place, one in enumerate(read) if isinstance(one, str)}
    left_out = tuple(
        f"{name}: annotation {_id_of(annotations[place], place)}: {_words(one)}"
        for place, one in enumerate(read)
        if not isinstance(one, str)
    )
    if left_out and not counts:
        raise BadLabels(f"{left_out[0]}; it has no better one")
    return GoodMasks((*counts,), stack_of([*counts.values()], size_hw), left_out)


@dataclass(frozen=True, slots=True, eq=False)
class GoodObjects:
    """What can be read of objects on some frames."""

    masks: tuple[RunLengthMasks, ...]  # of each frame, of the same objects
    left_out: tuple[str, ...]  # why the others cannot


def good_objects(
    frames: Mapping[str, Sequence[Any]],
    rle_of_one: Callable[[Any], Rle],
    size_hw: tuple[int, int],
    objects: Sequence[int],
) -> GoodObjects:
    """The masks of objects on each frame, by its name; None where one is not seen.

    An object that is broken on one of them is left out of all; BadLabels if all are.
    """
    read = [
        [None if one is None else _counts_or_fault(one, rle_of_one, size_hw) for one in of_frame]
        for of_frame in frames.values()
    ]
    faults = {
        place: f"{name}: object {objects[place]}: {_words(one)}"
        for name, of_frame in zip(frames, read, strict=True)
        for place, one in enumerate(of_frame)
        if isinstance(one, Exception)
    }
    kept = [place for place in range(len(objects)) if place not in faults]
    if faults and not kept:
        raise BadLabels(f"{next(iter(faults.values()))}; it has no better one")
    chosen = ([cast("str | None", of_frame[place]) for place in kept] for of_frame in read)
    return GoodObjects(tuple(stack_of(one, size_hw) for one in chosen), (*faults.values(),))


def _counts_or_fault(
    annotation: object, rle_of_one: Callable[[Any], Rle], size_hw: tuple[int, int]
) -> str | Exception:
    try:
        counts = _counts(rle_of_one(annotation), size_hw)
        stack_of([counts], size_hw)
        return counts
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return error
    except RecursionError:  # its text would be of no use, and its traceback is long
        return ValueError("lists in lists in lists, too deep to be read")


def _counts(rle: Rle, size_hw: tuple[int, int]) -> str:
    """The run lengths of a mask of its picture's size; ValueError if it has another."""
    if tuple(rle["size"]) != size_hw:
        raise ValueError(
            f"a mask of {rle['size'][1]} x {rle['size'][0]} pixels in a picture of "
            f"{size_hw[1]} x {size_hw[0]}"
        )
    return rle["counts"]


def _id_of(annotation: object, place: int) -> object:
    return annotation.get("id", place) if isinstance(annotation, Mapping) else place


def masks_of_all(rles: Sequence[Rle | None], size_hw: tuple[int, int], name: str) -> RunLengthMasks:
    """Masks of run lengths, None being one without a pixel; BadLabels if any is broken."""
    try:
        return stack_of([None if rle is None else _counts(rle, size_hw) for rle in rles], size_hw)
    except (ValueError, TypeError, OverflowError) as error:
        refuse(name, error)


def refuse(name: str, error: Exception) -> NoReturn:
    """Say what is wrong with one picture or clip."""
    words = _words(error)
    raise BadLabels(words if name in words else f"{name}: {words}") from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
