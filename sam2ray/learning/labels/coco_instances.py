"""COCO instances -> pictures with masks: polygons and run lengths, crowds left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ...errors import UsageError
from ...readers.places import absolute, resolve
from ...readers.prompts.rle import Rle, rle_of, rle_of_polygons, size_of
from ...records import Unit
from ...storage import Options
from .labelled import BadLabels, LabelledImage, LabelledVideo, WholeClip, require_masks
from .reading import decoded, read_json, read_pixels, refuse


@dataclass(frozen=True, slots=True, eq=False)
class CocoLabels:
    """The pictures of a file that have annotations."""

    uri: str
    options: Options
    folder: str
    images: Sequence[Mapping[str, Any]]
    annotations: Mapping[str, list[Any]] = field(repr=False)  # by image id

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> CocoLabels:
        """Read the file; pictures lie beside it, or in the folder that is named."""
        uri = absolute(uri)
        try:
            content = read_json(uri, options)
        except BadLabels as error:
            raise UsageError(f"labels: {error}.") from error
        images, annotations = content.get("images"), content.get("annotations")
        if not isinstance(images, list) or not isinstance(annotations, list):
            raise UsageError(f"{uri} is no COCO file: it needs `images` and `annotations`.")
        by_image: dict[str, list[Any]] = {}
        for annotation in annotations:
            if isinstance(annotation, Mapping) and not annotation.get("iscrowd"):
                by_image.setdefault(str(annotation.get("image_id")), []).append(annotation)
        labelled = [
            image
            for image in images
            if isinstance(image, Mapping) and str(image.get("id")) in by_image
        ]
        if not labelled:
            raise UsageError(f"{uri}: none of its {len(images):,} images has an annotation.")
        folder = absolute(pictures) if pictures else uri.rpartition("/")[0]
        return cls(uri, options, folder, labelled, by_image)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.uri

    @property
    def pictures(self) -> int:
        """Images with annotations."""
        return len(self.images)

    @property
    def clips(self) -> int:
        """A COCO file has none."""
        return 0

    def picture(self, number: int) -> LabelledImage:
        """One image; any annotation of it that is broken spoils it."""
        image = self.images[number]
        file = image.get("file_name")
        if not isinstance(file, str) or not file:
            raise BadLabels(f"{self.uri}: image {image.get('id')!r} has no file_name")
        name = f"{self.uri}: {file}"
        try:
            rles = [self._rle(image, one) for one in self.annotations[str(image.get("id"))]]
            place = resolve(file, self.folder)
        except (ValueError, TypeError, KeyError) as error:
            refuse(name, error)
        pixels = read_pixels(Unit(place, "image"), self.options, named_in=self.uri)
        size = (pixels.shape[0], pixels.shape[1])
        return LabelledImage(pixels, require_masks(decoded(rles, size, name), size, name))

    def clip(self, number: int, frames: int, start: float) -> LabelledVideo:
        """There is none."""
        raise BadLabels(f"{self.uri}: a COCO file has no clips ({number}, {frames}, {start})")

    def whole_clip(self, number: int) -> AbstractContextManager[WholeClip]:
        """There is none."""
        raise BadLabels(f"{self.name}: has no clips ({number})")

    def _rle(self, image: Mapping[str, Any], annotation: Mapping[str, Any]) -> Rle:
        segmentation = annotation.get("segmentation")
        if isinstance(segmentation, Mapping):
            return rle_of(segmentation)
        if not segmentation:
            raise ValueError(f"annotation {annotation.get('id')!r} has no segmentation")
        return rle_of_polygons(segmentation, size_of([image.get("height"), image.get("width")]))
