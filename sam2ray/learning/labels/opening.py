"""What a config says of labels -> sources, and which of them is asked next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np

from ...errors import UsageError
from ...readers.places import absolute, suffix_of
from ...readers.prompts.sav import AUTO, MANUAL
from ...storage import Options, open_store
from ..train_config import LabelKind, Labels
from .coco_instances import CocoLabels
from .davis_folders import DavisLabels
from .labelled import BadLabels, LabelledImage, LabelledVideo, LabelSource, NamedLabels
from .large_enough import LargeEnough
from .made_world import WorldLabels
from .own_outputs import OwnLabels
from .sa1b import Sa1bLabels
from .sav_folders import SavFolders, is_object_png
from .sav_masklets import SavLabels
from .splits import Split, SplitLabels
from .stills import WithStills

Item = TypeVar("Item")
What = Literal["pictures", "clips"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Source = TypeVar("Source", bound=_Named)

_TRIES, _PATIENCE_S = 1000, 300.0  # of one sample, before labels are given up


def open_labels(labels: Labels, options: Options, model_px: int) -> LabelSource:
    """One source; that it is empty or missing is said at once."""
    if labels.kind == "world":
        return WorldLabels(labels.seed, model_px, labels.held_out, labels.min_area)
    opened = _opened(labels, options)
    side: LabelSource = opened
    if labels.hold_out_every is not None:
        side = SplitLabels.of(opened, Split(labels.hold_out_every, labels.held_out))
    return WithStills(LargeEnough(side, labels.min_area))


def _opened(labels: Labels, options: Options) -> NamedLabels:
    assert labels.uri is not None, "the config demands it"
    if labels.kind == "masks":
        return OwnLabels.opened(labels.uri, labels.min_score, options)
    if labels.kind == "classes":
        raise UsageError(
            f"labels: {labels.uri}: maps of classes are learned in stages that learn classes, and "
            "are no masks of objects."
        )
    assert labels.kind != "world", "it has no place"
    opened = {
        "coco": CocoLabels.opened,
        "sa1b": Sa1bLabels.opened,
        "sav": _opened_sav,
        "davis": DavisLabels.opened,
    }[labels.kind]
    return opened(labels.uri, labels.pictures, options)


def _opened_sav(uri: str, pictures: str | None, options: Options) -> NamedLabels:
    """Videos with a JSON each, or the folders that others are judged by."""
    names = (entry.name for entry in open_store(absolute(uri), options).list())
    of_folders = next((is_object_png(n) for n in names if _is_of_sav(n)), False)
    return (SavFolders if of_folders else SavLabels).opened(uri, pictures, options)


def _is_of_sav(name: str) -> bool:
    return name.endswith((MANUAL, AUTO)) or is_object_png(name)


def kind_of(uri: str, options: Options) -> LabelKind:
    """What lies there, as its names tell."""
    if uri == "world":
        return "world"
    if suffix_of(uri) == ".json":
        return "coco"
    store = open_store(absolute(uri), options)
    for entry in store.list():
        name = entry.name
        if name.startswith("_sam2ray/"):
            return "masks"
        if _is_of_sav(name):
            return "sav"
        if "Annotations" in name.split("/")[:-1]:
            return "davis"
        if suffix_of(name) == ".json":
            return "sa1b"
    raise UsageError(
        f"{uri}: holds no labels that are known by their names: say --kind, and see --help."
    )


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that could not be learned from."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Sources, and how often each is drawn; what a number gives is always the same."""

    sources: Sequence[LabelSource]
    shares: Sequence[float]
    seed: int

    def picture(self, number: int) -> tuple[LabelledImage, list[Skipped]]:
        """A picture, and what was skipped on the way to it, or of it."""
        (name, found), skipped = self._drawn(
            "pictures", number, lambda source, n, _: (source.name, source.picture(n))
        )
        return found, [*skipped, *(Skipped(name, reason) for reason in found.left_out)]

    def clip(self, number: int, frames: int) -> tuple[LabelledVideo, list[Skipped]]:
        """A clip, and what was skipped on the way to it, or of it."""
        (name, found), skipped = self._drawn(
            "clips", number, lambda source, n, start: (source.name, source.clip(n, frames, start))
        )
        return found, [*skipped, *(Skipped(name, reason) for reason in found.left_out)]

    def require(self, what: What) -> None:
        """Refuse sources none of which has any."""
        if not any(_count(source, what) != 0 for source in self.sources):
            names = ", ".join(source.name for source in self.sources)
            raise UsageError(f"labels: {names} have no {what}, and a stage learns from them.")

    def _drawn(
        self, what: What, number: int, take: Callable[[LabelSource, int, float], Item]
    ) -> tuple[Item, list[Skipped]]:
        rng = np.random.default_rng([self.seed, 3 if what == "pictures" else 4, number])
        able = [
            Able(source, share, _count(source, what))
            for source, share in zip(self.sources, self.shares, strict=True)
            if _count(source, what) != 0
        ]
        return draw(able, number, rng, take)


@dataclass(frozen=True, slots=True, eq=False)
class Able(Generic[Source]):
    """A source that has some of what is wanted."""

    source: Source
    share: float
    count: int | None  # None: without end


def draw(
    able: Sequence[Able[Source]],
    number: int,
    rng: np.random.Generator,
    take: Callable[[Source, int, float], Item],
) -> tuple[Item, list[Skipped]]:
    """Take something of one of the sources; of what is bad, something else."""
    chances = np.array([one.share for one in able])
    skipped: list[Skipped] = []
    deadline = time.monotonic() + _PATIENCE_S
    for attempt in range(_TRIES):
        if time.monotonic() > deadline:
            break
        drawn = able[int(rng.choice(len(able), p=chances / chances.sum()))]
        count = drawn.count
        chosen = int(rng.integers(count)) if count is not None else number + attempt * 10**12
        start = float(rng.random())
        try:
            return take(drawn.source, chosen, start), skipped
        except BadLabels as error:
            why = Skipped(drawn.source.name, str(error))
            if why not in skipped:
                skipped.append(why)
    reasons = "; ".join(one.reason for one in skipped[:3])
    raise UsageError(
        f"labels: nothing that is drawn can be learned from, for {len(skipped):,} reasons, such "
        f"as: {reasons}."
    )


def _count(source: LabelSource, what: What) -> int | None:
    return source.pictures if what == "pictures" else source.clips
