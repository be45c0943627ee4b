"""Labels of any size -> rows of one size, for batches: seen in some way, objects drawn.

A row depends on the seed, the stage and its number alone: whoever makes it, it is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from sam2_core.learning.lessons import HALF_COVERED, ClipBatch, PictureBatch

from .labels.mask_stack import Masks, MaskStack, chosen_of
from .labels.opening import Mixture, Skipped
from .train_stage import Stage
from .views import Cover, View

Row = dict[str, Any]
_LEAST_PIXELS = 4  # of a target; with fewer there is nothing to click on


@dataclass(frozen=True, slots=True, eq=False)
class SampleMaker:
    """Makes the rows of a stage."""

    mixture: Mixture
    stage: Stage
    stage_number: int
    model_px: int

    @property
    def target_px(self) -> int:
        """Side of masks."""
        return self.model_px // self.stage.target_stride

    def picture(self, number: int) -> Row:
        """A row of a picture."""
        labelled, skipped = self.mixture.picture(self._place(number))
        rng = self._rng(number)
        view = View.drawn(rng, labelled.pixels.shape[:2], self.stage)
        if self.stage.lesson().dense_weight:
            every = view.of_masks(labelled.masks, self.target_px)
            ids = _painted(every >= HALF_COVERED)
            cover = every[_drawn(every, self.stage.objects, rng)]
        else:  # there may be hundreds of masks, and a few are drawn
            ids = np.zeros((self.target_px, self.target_px), np.int16)
            cover = self._some(view, labelled.masks, rng)
        return {
            "pixels": view.of_pixels(labelled.pixels, self.model_px),
            "ids": ids,
            "cover": _filled(cover, self.stage.objects),
            "objects": len(cover),
            "skipped": told(skipped),
        }

    def _some(self, view: View, masks: MaskStack, rng: np.random.Generator) -> Cover:
        """Some objects that are large enough as they are seen, in their order."""
        most, places = self.stage.objects, rng.permutation(len(masks))
        found: list[tuple[int, Cover]] = []
        for start in range(0, len(places), most):
            some = places[start : start + most]
            seen = view.of_masks(chosen_of(masks, some), self.target_px)
            able = (seen >= HALF_COVERED).sum((1, 2)) >= _LEAST_PIXELS
            found += [(int(place), seen[n]) for n, place in enumerate(some) if able[n]]
            if len(found) >= most:
                break
        chosen = [cover for _, cover in sorted(found[:most], key=itemgetter(0))]
        return np.stack(chosen) if chosen else np.zeros((0, *[self.target_px] * 2), np.uint8)

    def clip(self, number: int) -> Row:
        """A row of a clip; a short one stands still at its end."""
        frames = self.stage.frames
        labelled, skipped = self.mixture.clip(self._place(number), frames)
        rng = self._rng(number)
        view = View.drawn(rng, labelled.frames[0].shape[:2], self.stage)
        shown = [view.of_pixels(frame, self.model_px) for frame in labelled.frames]
        cover = self._followed(view, labelled.masks, rng)
        while len(shown) < frames:
            shown.append(shown[-1])
            cover = np.concatenate([cover, cover[:, -1:]], axis=1)
        return {
            "pixels": np.stack(shown),
            "cover": _filled(cover, self.stage.objects),
            "objects": len(cover),
            "skipped": told(skipped),
        }

    def _followed(self, view: View, masks: Sequence[MaskStack], rng: np.random.Generator) -> Cover:
        """Some objects on all frames; what is prompted first has to be there on the first."""
        first = view.of_masks(masks[0], self.target_px)
        places = _drawn(first, self.stage.objects, rng)
        later = (view.of_masks(chosen_of(one, places), self.target_px) for one in masks[1:])
        return np.stack([first[places], *later], axis=1)

    def _place(self, number: int) -> int:
        return place_of_row(self.stage_number, number)

    def _rng(self, number: int) -> np.random.Generator:
        return rng_of_row(self.mixture.seed, self.stage_number, number)


def place_of_row(stage_number: int, number: int) -> int:
    """Which labels a row is made of: stages do not see the same ones again."""
    return stage_number * 10**9 + number


def rng_of_row(seed: int, stage_number: int, number: int) -> np.random.Generator:
    """Whatever is drawn for a row."""
    return np.random.default_rng([seed, 5, stage_number, number])


def _drawn(seen_Nhw: Cover, most: int, rng: np.random.Generator) -> np.ndarray:
    """Some objects, by their places, of those that are large enough where they are seen."""
    areas = (seen_Nhw >= HALF_COVERED).sum((1, 2))
    able = np.flatnonzero(areas >= _LEAST_PIXELS)
    return np.sort(rng.permutation(able)[:most])


def _painted(masks_Nhw: Masks) -> np.ndarray:
    """Which mask each pixel shows: of several the smallest, as parts lie before wholes."""
    ids = np.zeros(masks_Nhw.shape[1:], np.int16)
    for place in np.argsort(-masks_Nhw.sum((1, 2)), kind="stable"):
        ids[masks_Nhw[place]] = place + 1
    return ids


def _filled(cover: Cover, most: int) -> Cover:
    """As many objects in each row."""
    full = np.zeros((most, *cover.shape[1:]), np.uint8)
    full[: len(cover)] = cover
    return full


def told(skipped: Sequence[Skipped]) -> list[str]:
    """What was skipped, as figures keep it."""
    return [f"{one.source}\t{one.reason}" for one in skipped]


def picture_batch(rows: Mapping[str, np.ndarray]) -> PictureBatch:
    """Rows of pictures as tensors."""
    cover, source = _cover(rows)
    return PictureBatch(
        torch.from_numpy(writable(rows["pixels"])),
        torch.from_numpy(writable(rows["ids"])),
        cover,
        source,
    )


def clip_batch(rows: Mapping[str, np.ndarray]) -> ClipBatch:
    """Rows of clips as tensors."""
    cover, source = _cover(rows)
    return ClipBatch(torch.from_numpy(writable(rows["pixels"])), cover, source)


def _cover(rows: Mapping[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    counts = [int(count) for count in rows["objects"]]
    pairs = zip(rows["cover"], counts, strict=True)
    cover = np.concatenate([one[:count] for one, count in pairs])
    source = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return torch.from_numpy(cover), source


def writable(array: np.ndarray) -> np.ndarray:
    """A copy: Arrow's memory is read-only, and torch warns of it."""
    return np.array(array)
