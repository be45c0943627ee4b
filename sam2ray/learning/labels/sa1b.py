"""SA-1B's layout -> pictures with masks: sa_1.jpg beside sa_1.json, which holds its run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...readers.places import absolute, resolve
from ...readers.prompts.rle import Rle, rle_of
from ...records import Unit
from ...storage import Options
from .folders import Found, files_below
from .labelled import BadLabels, LabelledImage
from .one_sided import OfPictures
from .reading import good_masks, read_json, read_pixels, refuse


@dataclass(frozen=True, slots=True)
class Sa1bLabels(OfPictures):
    """A folder of pictures with a JSON each."""

    found: Found  # the JSON files
    folder: str | None  # of the pictures; None: beside their JSON
    options: Options

    @classmethod
    def opened(cls, uri: str, pictures: str | None, options: Options) -> Sa1bLabels:
        """List the folder."""
        found = files_below(uri, options, lambda name: name.endswith(".json"), "JSON files")
        return cls(found, absolute(pictures) if pictures else None, options)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.found.root

    @property
    def pictures(self) -> int:
        """A file each."""
        return len(self.found.names)

    def picture_names(self) -> Sequence[str]:
        """Their JSON files."""
        return self.found.names

    def picture(self, number: int) -> LabelledImage:
        """One picture with all its masks that can be read."""
        uri = self.found.uri_of(self.found.names[number])
        content = read_json(uri, self.options)
        image, annotations = content.get("image"), content.get("annotations")
        if not isinstance(image, Mapping) or not isinstance(annotations, list):
            raise BadLabels(f"{uri}: is no file of SA-1B (image, annotations)")
        file = image.get("file_name")
        if not isinstance(file, str) or not file:
            raise BadLabels(f"{uri}: its image has no file_name")
        try:
            place = resolve(file, self.folder or uri.rpartition("/")[0])
        except (ValueError, RuntimeError) as error:  # of a home that nobody has: ~x.jpg
            refuse(uri, error)
        pixels = read_pixels(Unit(place, "image"), self.options)
        good = good_masks(annotations, _rle, (pixels.shape[0], pixels.shape[1]), uri)
        return LabelledImage(pixels, good.masks, good.left_out)


def _rle(annotation: object) -> Rle:
    segmentation = annotation.get("segmentation") if isinstance(annotation, Mapping) else None
    if not segmentation:
        raise ValueError("it has no segmentation")
    return rle_of(segmentation)
