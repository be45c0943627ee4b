"""A COCO file of instances -> its pictures, each with its annotations and their masks.

Annotations stay as they are written until their picture is asked for: each process keeps them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from sam2_core.inference.preprocess import RgbArray

from ...errors import Sam2RayError, UsageError
from ...readers.places import absolute, resolve
from ...readers.prompts.rle import Rle, rle_of, rle_of_polygons, size_of
from ...readers.store_file import read_at
from ...records import Unit
from ...storage import Options
from ...tables import amount
from .labelled import BadLabels
from .long_json import Member, members
from .mask_stack import RunLengthMasks
from .reading import good_masks, read_pixels, refuse

Annotation = Mapping[str, Any]
_LONG = "annotations"


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
    annotations: Mapping[str, bytes] = field(repr=False)  # a JSON list by image id
    used: frozenset[str]  # ids of categories of annotations
    categories: Mapping[str, str]  # names by their ids
    strays: tuple[str, ...]  # what is said of annotations that belong to no picture

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
        read = _Read.of(uri, options, crowds=crowds)
        known = [image for image in read.images if isinstance(image, Mapping)]
        labelled = [image for image in known if str(image.get("id")) in read.by_image]
        if not labelled:
            raise UsageError(f"{uri}: none of its {len(read.images):,} images has an annotation.")
        folder = absolute(pictures) if pictures else uri.rpartition("/")[0]
        listed = {str(image.get("id")) for image in known}
        strays = tuple(f"{uri}: {words}" for words in read.drop_strays(listed))
        written = {image: b"[" + b",".join(some) + b"]" for image, some in read.by_image.items()}
        images = known if bare else labelled
        used = frozenset(read.used)
        return cls(uri, options, folder, images, written, used, read.categories, strays)

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
        try:
            annotations = json.loads(self.annotations.get(str(image.get("id")), b"[]"))
            place = resolve(file, self.folder)
        except (ValueError, RuntimeError) as error:  # of a home that nobody has, or lists in lists
            refuse(name, error)
        pixels = read_pixels(Unit(place, "image"), self.options, named_in=self.uri)
        size = (pixels.shape[0], pixels.shape[1])
        good = good_masks(annotations, lambda one: _rle(image, one), size, name)
        kept = [annotations[place] for place in good.places]
        return Annotated(name, pixels, kept, good.masks, good.left_out)


@dataclass(slots=True, eq=False)
class _Read:
    """What a file says."""

    by_image: dict[str, list[bytes]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    images: Sequence[Any] = ()
    categories: Mapping[str, str] = field(default_factory=dict)
    no_objects: int = 0

    @classmethod
    def of(cls, uri: str, options: Options, *, crowds: bool) -> _Read:
        """Read it; UsageError if it is no such file."""
        read, lists = cls(), set[str]()
        try:
            for one in members(read_at(uri, options), _LONG):
                if one.is_item:
                    read._note(one, crowds=crowds)
                elif isinstance(one.value, list):
                    lists.add(one.name)
                    read._take(one)
        except (OSError, Sam2RayError, ValueError, RecursionError) as error:
            words = str(error)
            raise UsageError(f"labels: {'' if uri in words else f'{uri}: '}{words}.") from error
        if not {"images", _LONG} <= lists:
            raise UsageError(f"{uri} is no COCO file: it needs `images` and `annotations`.")
        return read

    def _take(self, one: Member) -> None:
        if one.name == "images":
            self.images = one.value
        elif one.name == "categories":
            self.categories = _names_by_id(one.value)

    def _note(self, one: Member, *, crowds: bool) -> None:
        annotation = one.value
        if not isinstance(annotation, Mapping):
            self.no_objects += 1
        elif crowds or not annotation.get("iscrowd"):
            of_image = self.by_image.setdefault(str(annotation.get("image_id")), [])
            of_image.append(one.text.encode())
            self.used.add(str(annotation.get("category_id")))

    def drop_strays(self, known: Set[str]) -> list[str]:
        """Forget annotations that belong to no image, and say of which there were any."""
        told: list[str] = []
        unknown = [image for image in self.by_image if image not in known]
        if unknown:
            count = sum(len(self.by_image.pop(image)) for image in unknown)
            told.append(
                f"{amount(count, 'annotation')} of images that it does not list, such as image_id "
                f"{unknown[0]!r:.80}; ids count as they are written"
            )
        if self.no_objects:
            told.append(f"{amount(self.no_objects, 'annotation')} that are no JSON objects")
        return told


def _names_by_id(listed: Sequence[Any]) -> dict[str, str]:
    named = (one for one in listed if isinstance(one, Mapping))
    return {str(one.get("id")): str(one.get("name")) for one in named}


def _rle(image: Mapping[str, Any], annotation: Annotation) -> Rle:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping):
        return rle_of(segmentation)
    if not segmentation:
        raise ValueError("it has no segmentation")
    return rle_of_polygons(segmentation, size_of([image.get("height"), image.get("width")]))
