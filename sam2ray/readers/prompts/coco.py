"""A COCO file of annotations -> prompts under the file names of its images.

The whole file is in memory while it is read, as JSON has no other way: some 8 times its size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...errors import UsageError
from ...storage import Options
from ..cells import as_text
from ..store_file import read_at
from .columns import Part, corners
from .fields import PromptFields, bad_prompt, four_numbers, prompt_fields
from .matching import NamedPrompts
from .rle import Rle, rle_of, rle_of_polygons, size_of

Entry = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Image:
    name: str
    size: object  # (height, width), if the file says so


def coco_prompts(uri: str, use: Sequence[Part], options: Options) -> Iterator[NamedPrompts]:
    """Each image's annotations, in their order."""
    content = _load(uri, options)
    images = _images(content["images"], uri)
    categories = {
        _key(category.get("id")): category.get("name")
        for category in content.get("categories") or ()
        if isinstance(category, Mapping)
    }
    by_image: dict[str, list[PromptFields]] = {}
    for number, annotation in enumerate(content["annotations"]):
        place = f"{uri}: annotation {number}"
        if not isinstance(annotation, Mapping) or _key(annotation.get("image_id")) not in images:
            raise UsageError(f"{place} belongs to no image of the file: {annotation!r:.120}.")
        prompt = _prompt(annotation, images, categories, use, place)
        if prompt is not None:
            by_image.setdefault(_key(annotation["image_id"]), []).append(prompt)
    for key, prompts in by_image.items():
        yield NamedPrompts(images[key].name, tuple(prompts))


def _load(uri: str, options: Options) -> Mapping[str, list[object]]:
    try:
        content = json.loads(read_at(uri, options))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{uri} is no JSON ({error}).") from error
    lists = ("images", "annotations")
    if not isinstance(content, Mapping) or not all(isinstance(content.get(n), list) for n in lists):
        raise UsageError(
            f"{uri} is no COCO file: it needs `images` and `annotations`, two lists. If these are "
            "SA-V's masklets, say prompts.format=sav."
        )
    return content


def _images(entries: Sequence[object], uri: str) -> dict[str, _Image]:
    images = {}
    for number, entry in enumerate(entries):
        name = entry.get("file_name") if isinstance(entry, Mapping) else None
        if not isinstance(entry, Mapping) or not isinstance(name, str) or not name:
            raise UsageError(f"{uri}: image {number} has no file_name: {entry!r:.120}.")
        size = [entry.get("height"), entry.get("width")]
        images[_key(entry.get("id"))] = _Image(name, size)
    return images


def _prompt(
    annotation: Entry,
    images: Mapping[str, _Image],
    categories: Mapping[str, object],
    use: Sequence[Part],
    place: str,
) -> PromptFields | None:
    raw: dict[str, object] = {
        "label": as_text(categories.get(_key(annotation.get("category_id")))),
        "prompt_id": as_text(annotation.get("id")),
    }
    try:
        if "box" in use and annotation.get("bbox"):
            raw["box"] = corners(four_numbers(annotation["bbox"], "bbox"), "xywh")
        if "mask" in use and annotation.get("segmentation"):
            image = images[_key(annotation["image_id"])]
            raw["mask"] = _mask(annotation["segmentation"], image)
        return prompt_fields(raw, normalized=False)
    except ValueError as error:
        return bad_prompt(place, error)


def _mask(segmentation: object, image: _Image) -> Rle:
    if isinstance(segmentation, Mapping):
        return rle_of(segmentation)
    return rle_of_polygons(segmentation, size_of(image.size))


def _key(identifier: object) -> str:
    """An id as text: some tools write numbers in one place and strings in another."""
    return str(identifier)
