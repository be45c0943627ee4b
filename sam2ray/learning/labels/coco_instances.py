"""COCO instances -> pictures with masks: polygons and run lengths, crowds left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...storage import Options
from .coco_files import CocoFile
from .labelled import LabelledImage
from .one_sided import OfPictures


@dataclass(frozen=True, slots=True, eq=False)
class CocoLabels(OfPictures):
    """The pictures of a file that have annotations."""

    file: CocoFile

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> CocoLabels:
        """Read the file; pictures lie beside it, or in the folder that is named."""
        return cls(CocoFile.opened(uri, pictures, options))

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.file.uri

    @property
    def pictures(self) -> int:
        """Images with annotations."""
        return len(self.file.images)

    def picture_names(self) -> Sequence[str]:
        """Their files."""
        return self.file.names()

    def picture(self, number: int) -> LabelledImage:
        """One image; an annotation of it that is broken is left out.

        The first one tells of annotations that belong to none, too: somebody has to.
        """
        found = self.file.annotated(number)
        strays = () if number else self.file.strays
        return LabelledImage(found.pixels, found.masks, (*strays, *found.left_out))
