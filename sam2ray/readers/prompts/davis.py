"""Folders of palette pictures, as DAVIS has them -> each object of a clip's first picture.

A clip's folder is named like its frames' folder. The palette's index is the object: 0 is ground,
255 is void. Only the first picture counts, as the mask of the frame that is named like it.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
from PIL import Image

from ...storage import Options, Store, open_store
from ..files import entries_of
from ..frames import folder_of, frames_in_order
from ..places import base_name, suffix_of
from ..slices import Slice
from ..store_file import store_errors
from .fields import FRAME_NAME, PromptFields, bad_prompt, prompt_fields
from .matching import NamedPrompts
from .rle import rle_of_bitmap

VOID = 255
BROKEN_PNG = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error),
    Image.DecompressionBombError,
)


def davis_prompts(piece: Slice, options: Options) -> Iterator[NamedPrompts]:
    """The prompts of each folder of a slice."""
    store = open_store(piece.uri, options)
    for folder, files in groupby(entries_of(store, piece), folder_of):
        pictures = [entry for entry in frames_in_order(files) if suffix_of(entry.name) == ".png"]
        if pictures:
            name = folder or base_name(store.uri)
            prompts = _first_masks(store, pictures[0].name)
            yield NamedPrompts(name, tuple(prompts), by_stem=True)


def _first_masks(store: Store, name: str) -> Sequence[PromptFields]:
    uri = store.uri_of(name)
    with store_errors(uri):
        content = store.read(name)
    try:
        ids_HW = read_ids(content)
    except BROKEN_PNG as error:
        return [bad_prompt(uri, error)]
    found = []
    for object_id in np.unique(ids_HW).tolist():
        if object_id not in (0, VOID):
            raw = {"object_id": object_id, "mask": rle_of_bitmap(ids_HW == object_id)}
            fields = prompt_fields(raw, normalized=False)
            assert fields is not None
            found.append({**fields, FRAME_NAME: base_name(name).rpartition(".")[0]})
    return found


def open_png(content: bytes) -> Image.Image:
    """A PNG whose pixels are ids; ValueError where its header claims more than anybody draws."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content), formats=("PNG",))
        except Image.DecompressionBombWarning as warning:
            raise ValueError(str(warning)) from warning


def read_ids(content: bytes) -> np.ndarray:
    """The object of each pixel of a palette picture that is looked at alone."""
    ids = raw_ids(content)
    return as_objects(ids, in_white=is_in_white([ids]))


def raw_ids(content: bytes) -> np.ndarray:
    """What each pixel of a palette picture is, as the file has it."""
    image = open_png(content)
    if image.mode not in ("P", "L", "1"):
        raise ValueError(f"its pixels are {image.mode}, not indices of a palette")
    return np.asarray(image.convert("L") if image.mode == "1" else image)


def is_in_white(frames: Iterable[np.ndarray]) -> bool:
    """Whether all of a clip shows one object, white on black, as DAVIS 2016 has it.

    A frame of several objects may show none of them and be void in parts, so one frame does not
    tell.
    """
    return all(set(np.unique(ids).tolist()) <= {0, VOID} for ids in frames)


def as_objects(ids: np.ndarray, *, in_white: bool) -> np.ndarray:
    """The object of each pixel, where white may be the only one."""
    return (ids == VOID).astype(np.uint8) if in_white else ids
