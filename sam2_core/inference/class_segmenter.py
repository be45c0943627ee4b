"""Say of each pixel what it shows, with a head of classes and no prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ops import RunLengths, concatenate_runs, encode_run_lengths, upsample_classes

from ..errors import ConfigError
from ..network.class_head import ClassHead
from ..network.sam2 import Sam2
from .preprocess import Picture, SizedPicture, all_as_sized, images_to_pixels, size_hw_of
from .settings import is_integer, require_model, require_value

_ENCODE_BATCH = 8


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ClassMap:
    """What each pixel of one picture shows, on the CPU."""

    ids: Tensor  # uint8 [H, W], positions in `classes`
    classes: tuple[str, ...]
    areas: Tensor  # int64 [C], in pixels
    confidence: Tensor  # float32 [C]: mean probability over the pixels of a class, NaN without any

    def __repr__(self) -> str:
        seen = ", ".join(self.classes[number] for number in self.present)
        return f"ClassMap({self.ids.shape[0]} x {self.ids.shape[1]}: {seen})"

    @property
    def present(self) -> list[int]:
        """Ids of the classes that have a pixel."""
        return self.areas.nonzero().flatten().tolist()

    def mask(self, name: str) -> Tensor:
        """The pixels of a class: bool [H, W]."""
        if name not in self.classes:
            raise ConfigError(f"No class is called {name!r}: {', '.join(self.classes)}.")
        return self.ids == self.classes.index(name)

    def run_lengths(self, ids: Sequence[int]) -> RunLengths:
        """The pixels of at least one class as run lengths, a class at a time."""
        return concatenate_runs([encode_run_lengths((self.ids == one)[None]) for one in ids])


class ClassSegmenter:
    """Turn pictures into maps of classes; `batch` pictures are encoded at once."""

    def __init__(self, model: Sam2, head: ClassHead, *, batch: int = _ENCODE_BATCH) -> None:
        require_model(model)
        if not isinstance(head, ClassHead):
            kind = type(head).__name__
            raise ConfigError(f"head is a {kind}: load_class_head(PATH, model) makes one.")
        require_fit(head, model)
        require_value("batch", batch, is_integer(batch) and batch >= 1, "an integer, at least 1")
        self.model = model
        self.head = head
        self.batch = batch

    def segment(self, images: Iterable[Picture]) -> list[ClassMap]:
        """A map of each picture, at its own size."""
        pictures = all_as_sized(images)
        maps: list[ClassMap] = []
        for start in range(0, len(pictures), self.batch):
            maps += self._label(pictures[start : start + self.batch])
        return maps

    @torch.inference_mode()
    def _label(self, pictures: Sequence[SizedPicture]) -> list[ClassMap]:
        model = self.model
        pixels = images_to_pixels(pictures, model.config.image_size, model.device)
        logits_BChw = self.head(model.embed_images(pixels))
        return [
            self._map(logits, size_hw_of(picture))
            for logits, picture in zip(logits_BChw, pictures, strict=True)
        ]

    @torch.inference_mode(mode=False)  # what is handed out may be changed later
    def _map(self, logits_Chw: Tensor, size_hw: tuple[int, int]) -> ClassMap:
        found = upsample_classes(logits_Chw, size_hw)
        classes = self.head.config.classes
        return ClassMap(found.ids_HW.cpu(), classes, found.areas_C.cpu(), found.chances_C.cpu())


def require_fit(head: ClassHead, model: Sam2) -> None:
    """Refuse a head of another model or size; whose weights it learned on is asked on loading."""
    own, theirs = model.config, head.config
    if (theirs.model, theirs.image_size) != (own.name, own.image_size):
        raise ConfigError(
            f"This head belongs to {theirs.model} at {theirs.image_size} px, and the model is "
            f"{own.name} at {own.image_size} px."
        )
