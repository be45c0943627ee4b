"""Prompts of every kind for the small clips of tests, at places where their shapes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sam2_core import FramePrompt, Prompt


@dataclass(frozen=True)
class PromptFactory:
    """Makes prompts for clips of one size."""

    height: int
    width: int
    point_xy: tuple[float, float]
    box_xyxy: tuple[int, int, int, int]
    mask_xyxy: tuple[int, int, int, int]

    def point(
        self,
        frame: int,
        object_id: int = 1,
        x: float | None = None,
        y: float | None = None,
        on: int = 1,
    ) -> FramePrompt:
        place = (self.point_xy[0] if x is None else x, self.point_xy[1] if y is None else y)
        return FramePrompt(frame, object_id, Prompt(points=[place], labels=[on]))

    def box(self, frame: int, object_id: int = 2) -> FramePrompt:
        return FramePrompt(frame, object_id, Prompt(box=self.box_xyxy))

    def mask(self, frame: int, object_id: int = 3) -> FramePrompt:
        x0, y0, x1, y1 = self.mask_xyxy
        mask = np.zeros((self.height, self.width), dtype=bool)
        mask[y0:y1, x0:x1] = True
        return FramePrompt(frame, object_id, Prompt(mask=mask))


SMALL = PromptFactory(40, 56, (26, 17), (9, 7, 39, 31), (13, 9, 35, 27))
LARGER = PromptFactory(90, 130, (60, 40), (20, 15, 90, 70), (30, 20, 80, 60))
