"""Masks that somebody has written beside labels -> their J and F, as SA-V's evaluator counts them.

Both are folders of clips: PNGs whose pixels are objects, as DAVIS has them, or a folder of black
and white ones for each object, as SA-V has them. The first and last frame of each do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
import torch

from sam2_core.learning.measures import ClipScore, ClipScorer, mean_score

from ..errors import Sam2RayError, UsageError
from ..readers.places import base_name, suffix_of
from ..readers.prompts.davis import BROKEN_PNG, VOID, as_objects, raw_ids
from ..readers.store_file import read_at
from ..storage import Options
from .labels.folders import Found, files_below
from .labels.labelled import BadLabels
from .labels.reading import refuse

Ids = np.ndarray[Any, np.dtype[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class ScoredObject:
    """One object of a clip."""

    clip: str
    object_id: int
    score: ClipScore


@dataclass(frozen=True, slots=True)
class AnswerMarks:
    """What all answers got."""

    objects: tuple[ScoredObject, ...]
    skipped: tuple[str, ...]  # clips, and why

    def figures(self) -> dict[str, float | int]:
        """Means over objects."""
        mean = mean_score(one.score for one in self.objects)
        clips = len({one.clip for one in self.objects})
        counts = {"clips": clips, "tracked_objects": len(self.objects)}
        marks = {"j": mean.j, "f": mean.f, "j_and_f": mean.j_and_f}
        return {**counts, **marks, "skipped": len(self.skipped)}

    def as_json(self) -> dict[str, object]:
        """Figures, and those of each object."""
        each = [
            {"clip": one.clip, "object_id": one.object_id, "j": one.score.j, "f": one.score.f}
            for one in self.objects
        ]
        return {**self.figures(), "objects": each, "skipped_because": self.skipped[:100]}


def score_answers(labels: str, answers: str, options: Options) -> AnswerMarks:
    """Judge every object that is seen on a frame that counts; what cannot be read is skipped."""
    own, theirs = (files_below(uri, options, _is_png, "PNGs") for uri in (labels, answers))
    there = set(theirs.names)
    scored: list[ScoredObject] = []
    skipped: list[str] = []
    for folder, names in groupby(own.names, _folder):
        every = [*names]
        try:
            if missing := [name for name in every[1:-1] if name not in there]:
                raise BadLabels(f"{theirs.uri_of(missing[0])}: is missing")
            scored += _scored(folder, every, own, theirs, options)
        except BadLabels as error:
            skipped.append(str(error))
    if not scored:
        why = f" ({skipped[0]})" if skipped else ""
        raise UsageError(f"{labels}: no object is seen on any frame that counts{why}.")
    return AnswerMarks(tuple(scored), tuple(skipped))


def _scored(
    folder: str, names: Sequence[str], own: Found, theirs: Found, options: Options
) -> Iterator[ScoredObject]:
    judged = names[1:-1]
    # The ends, which show the objects best, tell what labels mean by white.
    targets = _Pngs.looked_through([own.uri_of(name) for name in names], options)
    answers = _Pngs.looked_through([theirs.uri_of(name) for name in judged], options)
    seen = targets.objects_on(slice(1, -1))
    clip, _, last = folder.rpartition("/")
    is_of_one = bool(clip) and last.isdecimal()  # CLIP/000/: an object's own folder
    if is_of_one and len(seen) > 1:
        raise BadLabels(f"{own.uri_of(folder)}: a folder of one object shows {len(seen)}")
    scorers = {number: ClipScorer() for number in seen}
    for place in range(len(judged)):
        target, answer = targets.read(place + 1), answers.read(place)
        if target.shape != answer.shape:
            raise BadLabels(
                f"{answers.uris[place]}: is {answer.shape[1]} x {answer.shape[0]} pixels, and its "
                f"label {target.shape[1]} x {target.shape[0]}"
            )
        for number, scorer in scorers.items():
            pair = (ids > 0 if is_of_one else ids == number for ids in (answer, target))
            scorer.add(*(torch.from_numpy(mask)[None] for mask in pair))
    for number, scorer in scorers.items():
        if is_of_one:
            yield ScoredObject(clip, int(last), scorer.score())
        else:
            yield ScoredObject(folder or base_name(own.root), number, scorer.score())


@dataclass(frozen=True, slots=True)
class _Pngs:
    """The frames of a clip, each read when it is needed; what white is, all say together."""

    uris: Sequence[str]
    options: Options
    shown: Sequence[frozenset[int]]  # the values of each frame
    in_white: bool

    @classmethod
    def looked_through(cls, uris: Sequence[str], options: Options) -> _Pngs:
        """Look at every frame once, and keep none."""
        shown = [frozenset(np.unique(_raw(uri, options)).tolist()) for uri in uris]
        in_white = all(values <= {0, VOID} for values in shown)
        return cls(uris, options, shown, in_white)

    def objects_on(self, frames: slice) -> list[int]:
        """Which are seen."""
        values = {*chain.from_iterable(self.shown[frames])}
        if self.in_white:
            return [1] if VOID in values else []
        return sorted(values - {0, VOID})

    def read(self, place: int) -> Ids:
        """The object of each pixel of a frame."""
        return as_objects(_raw(self.uris[place], self.options), in_white=self.in_white)


def _raw(uri: str, options: Options) -> Ids:
    try:
        return raw_ids(read_at(uri, options))
    except (*BROKEN_PNG, Sam2RayError) as error:
        refuse(uri, error)


def _is_png(name: str) -> bool:
    return suffix_of(name) == ".png"


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
