"""A COCO file of instances -> its pictures, each with its annotations and their masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sam2_core.inference.preprocess import RgbArray

from ...errors import UsageError
from ...readers.places import absolute, resolve
from ...readers.prompts.rle import Rle, rle_of, rle_of_polygons, size_of
from ...records import Unit
from ...storage import Options
from .labelled import BadLabels
from .mask_stack import RunLengthMasks
from .reading import good_masks, read_json, read_pixels, refuse

Annotation = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Annotated:
    """A picture, what is said of it that can be read, and the mask of each of those sayings."""

    name: str
    pixels: RgbArray
    annotations: Sequence[Annotation]
    masks: RunLengthMasks  # in the order of the annotations
    left_out: tuple[str, ...]  # why others cannot be read


@dataclass(frozen=True, slots=True, eq=False)
class CocoFile:
    """The pictures of a file, by default those that have annotations."""

    uri: str
    options: Options
    folder: str
    images: Sequence[Mapping[str, Any]]
    annotations: Mapping[str, list[Annotation]] = field(repr=False)  # by image id
    categories: Mapping[str, str]  # names by their ids

    @classmethod
    def opened(
        cls,
        uri: str,
        pictures: str | None,
        options: Options,
        *,
        crowds: bool = False,
        bare: bool = False,
    ) -> CocoFile:
        """Read the file; pictures lie beside it, or in the folder that is named.

        Crowds are masks of many objects at once, which are of use only where objects do not count;
        bare pictures have no annotation, and are of use only where that says something.
        """
        uri = absolute(uri)
        try:
            content = read_json(uri, options)
        except BadLabels as error:
            raise UsageError(f"labels: {error}.") from error
        images, annotations = content.get("images"), content.get("annotations")
        if not isinstance(images, list) or not isinstance(annotations, list):
            raise UsageError(f"{uri} is no COCO file: it needs `images` and `annotations`.")
        by_image: dict[str, list[Annotation]] = {}
        for annotation in annotations:
            if isinstance(annotation, Mapping) and (crowds or not annotation.get("iscrowd")):
                by_image.setdefault(str(annotation.get("image_id")), []).append(annotation)
        known = [image for image in images if isinstance(image, Mapping)]
        labelled = [image for image in known if str(image.get("id")) in by_image]
        if not labelled:
            raise UsageError(f"{uri}: none of its {len(images):,} images has an annotation.")
        labelled = known if bare else labelled
        folder = absolute(pictures) if pictures else uri.rpartition("/")[0]
        return cls(uri, options, folder, labelled, by_image, _categories(content))

    def names(self) -> list[str]:
        """Of the pictures' files."""
        return [str(image.get("file_name")) for image in self.images]

    def annotated(self, number: int) -> Annotated:
        """One image without its broken annotations; BadLabels if it has no good one."""
        image = self.images[number]
        file = image.get("file_name")
        if not isinstance(file, str) or not file:
            raise BadLabels(f"{self.uri}: image {image.get('id')!r} has no file_name")
        name = f"{self.uri}: {file}"
        annotations = self.annotations.get(str(image.get("id")), ())
        try:
            place = resolve(file, self.folder)
        except (ValueError, RuntimeError) as error:  # of a home that nobody has: ~x.jpg
            refuse(name, error)
        pixels = read_pixels(Unit(place, "image"), self.options, named_in=self.uri)
        size = (pixels.shape[0], pixels.shape[1])
        good = good_masks(annotations, lambda one: _rle(image, one), size, name)
        kept = [annotations[place] for place in good.places]
        return Annotated(name, pixels, kept, good.masks, good.left_out)


def _categories(content: Mapping[str, Any]) -> dict[str, str]:
    listed = content.get("categories")
    return {
        str(one.get("id")): str(one.get("name"))
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, Mapping)
    }


def _rle(image: Mapping[str, Any], annotation: Annotation) -> Rle:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping):
        return rle_of(segmentation)
    if not segmentation:
        raise ValueError("it has no segmentation")
    return rle_of_polygons(segmentation, size_of([image.get("height"), image.get("width")]))
