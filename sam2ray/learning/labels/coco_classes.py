"""COCO annotations -> maps of classes, by their categories; later ones lie over earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from ...storage import Options
from .class_names import ClassNames
from .coco_files import CocoFile
from .labelled import BadLabels, LabelledClasses


@dataclass(frozen=True, slots=True, eq=False)
class CocoClasses:
    """The pictures of a file, crowds among their annotations; those without any are ground.

    A category is the class of its name, or of what `categories` says of its name or id; in a file
    that names no categories, ids are those of classes. What is of another category is ground.
    """

    file: CocoFile
    classes: ClassNames

    @classmethod
    def opened(
        cls, uri: str, pictures: str | None, classes: ClassNames, options: Options
    ) -> CocoClasses:
        """Read the file; that it knows none of the classes is an error."""
        classes.require_categories(uri)
        bare = classes.ground is not None
        file = CocoFile.opened(uri, pictures, options, crowds=True, bare=bare)
        if bare and file.strays:  # their pictures would teach that nothing is there
            raise UsageError(
                f"labels: {file.strays[0]}. Pixels without an annotation are ground here: leave "
                "them out of the file, or write ids alike."
            )
        source = cls(file, classes)
        if all(source._class_of(category) is None for category in source.file.used):
            known = ", ".join(sorted(source.file.categories.values())) or "no names"
            raise UsageError(
                f"labels: {uri}: none of its categories ({known:.200}) is a class of the head "
                f"({', '.join(classes.names):.200}): say which is which in `categories` of these "
                "labels."
            )
        return source

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.file.uri

    @property
    def pictures(self) -> int:
        """Images; where nothing is ground, those with annotations."""
        return len(self.file.images)

    def picture_names(self) -> Sequence[str]:
        """Their files."""
        return self.file.names()

    def picture(self, number: int) -> LabelledClasses:
        """One image; any annotation of it that is broken spoils it: a hole would be ground."""
        found = self.file.annotated(number)
        if found.left_out:
            raise BadLabels(found.left_out[0])
        ids = np.full(found.pixels.shape[:2], self.classes.ground_id, np.uint8)
        for annotation, mask in zip(found.annotations, found.masks, strict=True):
            class_id = self._class_of(str(annotation.get("category_id")))
            ids[mask] = self.classes.ground_id if class_id is None else class_id
        return LabelledClasses(found.pixels, ids)

    def _class_of(self, category: str) -> int | None:
        names = self.file.categories
        if not names and category not in self.classes.categories:
            is_id = category.isdigit() and int(category) < len(self.classes.names)
            return int(category) if is_id else None
        return self.classes.id_of([category, names[category]] if category in names else [category])
