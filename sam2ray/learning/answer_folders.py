"""Masks that somebody has written beside labels -> their J and F, as SA-V's evaluator counts them.

Both are folders of clips: PNGs whose pixels are objects, as DAVIS has them, or a folder of black
and white ones for each object, as SA-V has them. The first and last frame of each do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from sam2_core.learning.measures import ClipScore, ClipScorer, mean_score

from ..errors import Sam2RayError, UsageError
from ..readers.places import base_name, suffix_of
from ..readers.prompts.davis import BROKEN_PNG, VOID, as_objects, is_in_white, raw_ids
from ..readers.store_file import read_at
from ..storage import Options
from .labels.folders import Found, files_below
from .labels.labelled import BadLabels
from .labels.mask_stack import Masks
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
    targets = _read([own.uri_of(name) for name in names], options)[1:-1]
    answers = _read([theirs.uri_of(name) for name in judged], options)
    for name, target, answer in zip(judged, targets, answers, strict=True):
        if target.shape != answer.shape:
            raise BadLabels(
                f"{theirs.uri_of(name)}: is {answer.shape[1]} x {answer.shape[0]} pixels, and its "
                f"label {target.shape[1]} x {target.shape[0]}"
            )
    seen = sorted({int(n) for ids in targets for n in np.unique(ids)} - {0, VOID})
    clip, _, last = folder.rpartition("/")
    if clip and last.isdecimal():  # CLIP/000/: an object's own folder
        if len(seen) > 1:
            raise BadLabels(f"{own.uri_of(folder)}: a folder of one object shows {len(seen)}")
        if seen:
            yield ScoredObject(clip, int(last), _score(answers, targets, lambda ids: ids > 0))
        return
    for number in seen:
        score = _score(answers, targets, lambda ids, number=number: ids == number)
        yield ScoredObject(folder or base_name(own.root), number, score)


def _score(
    answers: Sequence[Ids], targets: Sequence[Ids], is_on: Callable[[Ids], Masks]
) -> ClipScore:
    scorer = ClipScorer()
    for answer, target in zip(answers, targets, strict=True):
        found, true = (torch.from_numpy(is_on(ids))[None] for ids in (answer, target))
        scorer.add(found, true)
    return scorer.score()


def _read(uris: Sequence[str], options: Options) -> list[Ids]:
    """The objects of a clip's pixels; what white is there, all its frames say together."""
    raw = [_raw(uri, options) for uri in uris]
    in_white = is_in_white(raw)
    return [as_objects(ids, in_white=in_white) for ids in raw]


def _raw(uri: str, options: Options) -> Ids:
    try:
        return raw_ids(read_at(uri, options))
    except (*BROKEN_PNG, Sam2RayError) as error:
        refuse(uri, error)


def _is_png(name: str) -> bool:
    return suffix_of(name) == ".png"


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
