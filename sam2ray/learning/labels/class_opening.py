"""What a config says of labels -> sources of class maps, and which of them is asked next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import UsageError
from ...readers.places import suffix_of
from ...storage import Options
from ..train_config import CLASS_KINDS, Head, LabelKind, Labels
from .class_folders import ClassFolders
from .class_names import ClassNames
from .coco_classes import CocoClasses
from .labelled import ClassSource, LabelledClasses
from .made_classes import WorldClasses
from .opening import Able, Skipped, draw
from .splits import Split, SplitClasses


def open_classes(labels: Labels, head: Head, options: Options, model_px: int) -> ClassSource:
    """One source; that it is empty or missing is said at once."""
    names = ClassNames(head.classes, head.ground, labels.categories)
    if labels.kind == "world":
        return WorldClasses.opened(labels.seed, model_px, labels.held_out, names)
    if labels.kind not in CLASS_KINDS:
        raise UsageError(
            f"labels: kind={labels.kind} says nothing of classes: {', '.join(CLASS_KINDS)} do."
        )
    assert labels.uri is not None, "the config demands it"
    opened = ClassFolders.opened if labels.kind == "classes" else CocoClasses.opened
    source = opened(labels.uri, labels.pictures, names, options)
    if labels.hold_out_every is None:
        return source
    return SplitClasses.of(source, Split(labels.hold_out_every, labels.held_out))


def kind_of_classes(uri: str) -> LabelKind:
    """What lies there, as its name tells."""
    if uri == "world":
        return "world"
    return "coco" if suffix_of(uri) == ".json" else "classes"


@dataclass(frozen=True, slots=True, eq=False)
class ClassMixture:
    """Sources, and how often each is drawn; what a number gives is always the same."""

    sources: Sequence[ClassSource]
    shares: Sequence[float]
    seed: int

    def picture(self, number: int) -> tuple[LabelledClasses, list[Skipped]]:
        """A picture, and what was skipped on the way to it."""
        rng = np.random.default_rng([self.seed, 6, number])
        able = [
            Able(source, share, source.pictures)
            for source, share in zip(self.sources, self.shares, strict=True)
        ]
        return draw(able, number, rng, lambda source, n, _: source.picture(n))
