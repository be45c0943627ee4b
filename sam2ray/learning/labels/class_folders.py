"""A folder of pictures and one of label PNGs -> maps of classes: files of the same name but suffix.

A label's pixels are ids of classes, as indices of a palette or as grey of 8 or 16 bits; 255 is what
nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sam2_core.network.class_head import UNKNOWN

from ...errors import Sam2RayError, UsageError
from ...readers.places import media_kind, suffix_of
from ...readers.prompts.davis import BROKEN_PNG, open_png
from ...readers.store_file import read_at
from ...records import Unit
from ...storage import Options
from .class_names import ClassNames
from .folders import Found, files_below
from .labelled import BadLabels, ClassIds, LabelledClasses, require_masks
from .reading import read_pixels, refuse

_LABELS = ".png"
_ID_MODES = ("P", "L", "1", "I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True, slots=True, eq=False)
class ClassFolders:
    """Labels, and the pictures that they belong to."""

    labels: Found
    pictures_by_stem: Mapping[str, Sequence[str]] = field(repr=False)  # whole addresses
    folder: str  # of the pictures
    classes: ClassNames
    options: Options

    @classmethod
    def opened(
        cls, uri: str, pictures: str | None, classes: ClassNames, options: Options
    ) -> ClassFolders:
        """List both folders; pictures beside their labels are those with another suffix."""
        labels = files_below(uri, options, lambda name: suffix_of(name) == _LABELS, "label PNGs")
        others = files_below(
            uri if pictures is None else pictures,
            options,
            lambda name: (
                media_kind(name) == "image" and (pictures is not None or suffix_of(name) != _LABELS)
            ),
            "pictures beside its labels" if pictures is None else "pictures",
        )
        by_stem: dict[str, list[str]] = {}
        for name in others.names:
            by_stem.setdefault(_stem(name), []).append(others.uri_of(name))
        if not any(_stem(name) in by_stem for name in labels.names):
            raise UsageError(
                f"labels: no picture of {others.root} is called as a label of {labels.root} but "
                f"for the suffix: there are {others.names[0]} and {labels.names[0]}."
            )
        return cls(labels, by_stem, others.root, classes, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.labels.root

    @property
    def pictures(self) -> int:
        """A label each."""
        return len(self.labels.names)

    def picture_names(self) -> Sequence[str]:
        """Their labels."""
        return self.labels.names

    def picture(self, number: int) -> LabelledClasses:
        """One picture with the classes of its pixels."""
        name = self.labels.names[number]
        uri = self.labels.uri_of(name)
        places = self.pictures_by_stem.get(_stem(name))
        if places is None:
            raise BadLabels(f"{uri}: {self.folder} has no picture of this name")
        if len(places) > 1:
            raise BadLabels(f"{uri}: may be of {places[0]} or of {places[1]}: leave one")
        try:
            ids = read_class_ids(read_at(uri, self.options), len(self.classes.names))
        except (*BROKEN_PNG, Sam2RayError) as error:
            refuse(uri, error)
        pixels = read_pixels(Unit(places[0], "image"), self.options, named_in=uri)
        return LabelledClasses(pixels, require_masks(ids, (pixels.shape[0], pixels.shape[1]), uri))


def _stem(name: str) -> str:
    return name[: len(name) - len(suffix_of(name))]


def read_class_ids(content: bytes, classes: int) -> ClassIds:
    """The class of each pixel; ValueError where one has none."""
    image = open_png(content)
    if image.mode not in _ID_MODES:
        raise ValueError(
            f"its pixels are {image.mode}, not ids of classes: save it with a palette or as grey"
        )
    ids = np.asarray(image).astype(np.int32)
    strange = ids[((ids < 0) | (ids >= classes)) & (ids != UNKNOWN)]
    if len(strange):
        raise ValueError(
            f"it has a pixel of {strange.max()}, and the classes are 0 to {classes - 1} and "
            f"{UNKNOWN} for unknown"
        )
    return ids.astype(np.uint8)
