"""Modes of pictures: all masks, what prompts ask for, embeddings.

A mode looks first, with the model, and what it has seen becomes rows later, perhaps while the model
looks at other pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch

from sam2_core import ImageSegmenter, MaskGenerator, Picture, Segmentation

from ..errors import UnitFailed
from ..readers.prompts import UnitPrompt, parse_prompts
from ..records import EMBEDDING_SCHEMA, MASK_SCHEMA, ErrorClass
from ..sinks.result_files import EMBEDDINGS, MASKS
from .mask_rows import RowPlace, rows_of_found, rows_of_runs


@dataclass(frozen=True, slots=True, eq=False)
class PictureItem:
    """One picture of a batch, and what is asked about it."""

    place: RowPlace
    picture: Picture
    size_hw: tuple[int, int]
    prompts: str | Sequence[UnitPrompt] | None  # as a unit keeps them, or those of one frame


ToRows = Callable[[], pa.Table]
"""Writes down what was seen of one picture; it needs no model."""


class PictureMode(Protocol):
    """Turns pictures into rows; a batch of one that cannot be done raises."""

    @property
    def folder(self) -> str:
        """Which table the rows belong to."""
        ...

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """What is seen of each picture, in order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class AllMasks:
    """Everything that can be found in a picture, nothing asked."""

    generator: MaskGenerator
    folder: str = MASKS

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """All masks of each picture."""
        found = self.generator.find([item.picture for item in items])
        return [
            partial(rows_of_found, item.place, masks, item.size_hw)
            for item, masks in zip(items, found, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class PromptedMasks:
    """What the prompts of a picture point at: the best of each prompt's masks, or all of them."""

    segmenter: ImageSegmenter
    multimask: bool
    keep_best: bool
    folder: str = MASKS

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """Masks of each picture's prompts."""
        asked = [prompts_of(item) for item in items]
        busy = [place for place, of_item in enumerate(asked) if of_item]  # the others cost nothing
        seen: list[ToRows] = [MASK_SCHEMA.empty_table for _ in items]
        answers = self.segmenter.segment(
            [items[place].picture for place in busy],
            [[one.frame_prompt.prompt for one in asked[place]] for place in busy],
            multimask=self.multimask,
        )
        for place, answer in zip(busy, answers, strict=True):
            seen[place] = self._seen(items[place], asked[place], answer)
        return seen

    def _seen(self, item: PictureItem, asked: Sequence[UnitPrompt], answer: Segmentation) -> ToRows:
        count, masks = answer.predicted_iou.shape
        chosen = torch.arange(count * masks)
        if self.keep_best and count:
            chosen = torch.arange(count) * masks + answer.predicted_iou.argmax(dim=1)
        owners = [asked[place] for place in (chosen // max(1, masks)).tolist()]
        return partial(
            rows_of_runs,
            item.place,
            answer.run_lengths(chosen).to("cpu"),
            item.size_hw,
            object_id=[one.frame_prompt.object_id for one in owners],
            predicted_iou=answer.predicted_iou.flatten()[chosen].tolist(),
            object_score=answer.object_score[chosen // max(1, masks)].tolist(),
            label=[one.label for one in owners],
            prompt_id=[one.prompt_id for one in owners],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """What the encoder sees in a picture, for other heads: coarse features, channels last."""

    segmenter: ImageSegmenter
    folder: str = EMBEDDINGS

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """Features of each picture."""
        coarse = self.segmenter.embed([item.picture for item in items]).embedding.coarse_BPC
        side = round(coarse.shape[1] ** 0.5)
        shape = [side, side, coarse.shape[2]]
        values = coarse.to("cpu", torch.float16).flatten(1).numpy()
        return [
            partial(embedding_table, item.place, item.size_hw, row, shape)
            for item, row in zip(items, values, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class NoPictures:
    """A mode that takes videos alone."""

    mode: str
    folder: str = MASKS

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:  # noqa: ARG002 whatever they are
        """Refuse each of them."""
        raise UnitFailed(
            ErrorClass.UNSUPPORTED,
            f"a picture, and mode {self.mode} follows objects through videos: use mode auto or "
            "prompt for it",
        )


def embedding_table(
    place: RowPlace, size_hw: tuple[int, int], values: np.ndarray, shape: Sequence[int]
) -> pa.Table:
    """The one row of a picture or frame."""
    columns = {
        "unit_id": [place.unit_id],
        "source_uri": [place.source_uri],
        "frame_index": [place.frame_index],
        "timestamp_s": [place.timestamp_s],
        "height": [size_hw[0]],
        "width": [size_hw[1]],
        "embedding": pa.ListArray.from_arrays([0, len(values)], pa.array(values)),
        "shape": [list(shape)],
    }
    return pa.table(columns, schema=EMBEDDING_SCHEMA)


def prompts_of(item: PictureItem) -> list[UnitPrompt]:
    """What is asked about a picture."""
    if not isinstance(item.prompts, str):
        return list(item.prompts or ())
    asked = parse_prompts(item.prompts, item.size_hw)
    for number, one in enumerate(asked):
        if one.frame_prompt.frame:
            raise UnitFailed(
                ErrorClass.BAD_PROMPT,
                f"Prompt {number} is of frame {one.frame_prompt.frame}, and this is a picture, "
                "whose only frame is 0",
            )
    return asked
