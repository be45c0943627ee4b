"""Maps of classes of any size -> rows of one size, for batches: seen in some way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sam2_core.learning.lessons import ClassBatch

from .labels.class_opening import ClassMixture
from .samples import Row, place_of_row, rng_of_row, told, writable
from .train_stage import Stage
from .views import View


@dataclass(frozen=True, slots=True, eq=False)
class ClassSampleMaker:
    """Makes the rows of a stage that learns classes."""

    mixture: ClassMixture
    stage: Stage
    stage_number: int
    model_px: int

    def picture(self, number: int) -> Row:
        """A row of a picture."""
        labelled, skipped = self.mixture.picture(place_of_row(self.stage_number, number))
        rng = rng_of_row(self.mixture.seed, self.stage_number, number)
        view = View.drawn(rng, labelled.pixels.shape[:2], self.stage)
        return {
            "pixels": view.of_pixels(labelled.pixels, self.model_px),
            "classes": view.of_ids(labelled.ids, self.model_px // self.stage.target_stride),
            "skipped": told(skipped),
        }


def class_batch(rows: Mapping[str, np.ndarray]) -> ClassBatch:
    """Rows as tensors."""
    return ClassBatch(
        torch.from_numpy(writable(rows["pixels"])), torch.from_numpy(writable(rows["classes"]))
    )
