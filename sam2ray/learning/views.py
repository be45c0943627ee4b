"""Ways to see labelled pictures: cut, mirrored, turned, resized, and in another light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, radians, sin
from typing import Any

import numpy as np
import torch
from PIL import Image

from sam2_core.inference.preprocess import RgbArray
from sam2_core.network.class_head import UNKNOWN

from .labels.mask_stack import Masks, MaskStack
from .train_stage import Stage

Cover = np.ndarray[Any, np.dtype[np.uint8]]
"""How much of each pixel a mask covers, of 255."""

_MASKS_AT_ONCE = 8  # that are pixels of the source's size
_BEYOND = (124, 116, 104)  # about what normalises to nothing
_MIDDLE = 127.5  # stays as it is, whatever the contrast
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Light:
    """What happens to all colours alike; of a clip, on all frames."""

    brightness: float
    contrast: float
    saturation: float  # 0: grey

    @classmethod
    def drawn(cls, rng: np.random.Generator, stage: Stage) -> Light | None:
        """Some light that the stage allows; nothing is drawn for stages that allow none."""
        if not stage.colour and not stage.grey:
            return None
        bright, contrast, saturation = rng.uniform(1 - stage.colour, 1 + stage.colour, 3).tolist()
        return cls(bright, contrast, 0.0 if rng.random() < stage.grey else saturation)

    def on(self, pixels: RgbArray) -> RgbArray:
        """Pixels in this light."""
        kept = np.eye(3, dtype=np.float32) * np.float32(self.saturation)
        mixed = kept + np.float32(1 - self.saturation) * _LUMA
        scale = np.float32(self.brightness * self.contrast)
        lit = pixels.astype(np.float32) @ (mixed.T * scale)
        lit += np.float32(_MIDDLE * (1 - self.contrast))
        return lit.round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class View:
    """What of a picture is seen: a part, perhaps mirrored and turned, in some light."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool
    turned: float = 0.0  # degrees, against the clock
    light: Light | None = None  # that it is seen in; None: its own

    @classmethod
    def drawn(cls, rng: np.random.Generator, size_hw: Sequence[int], stage: Stage) -> View:
        """A part that the stage allows."""
        share = rng.uniform(stage.crop, 1) if stage.crop < 1 else 1.0
        height, width = (max(1, round(side * share)) for side in size_hw)
        top = int(rng.integers(size_hw[0] - height + 1))
        left = int(rng.integers(size_hw[1] - width + 1))
        mirrored = bool(stage.flip and rng.random() < 0.5)
        turned = float(rng.uniform(-stage.turn, stage.turn)) if stage.turn else 0.0
        return cls(top, left, height, width, mirrored, turned, Light.drawn(rng, stage))

    def of_pixels(self, pixels: RgbArray, side: int) -> RgbArray:
        """What is seen of a picture."""
        part = np.ascontiguousarray(self._part(pixels))
        if part.shape[:2] != (side, side):
            image = Image.fromarray(part)
            part = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
        part = part if self.light is None else self.light.on(part)
        return self._turned(part, Image.Resampling.BILINEAR, _BEYOND)

    def of_masks(self, masks_NHW: MaskStack, side: int) -> Cover:
        """What is seen of masks: how much of each pixel they cover."""
        seen_Nhw = np.zeros((len(masks_NHW), side, side), np.uint8)
        for start in range(0, len(masks_NHW), _MASKS_AT_ONCE):
            some = slice(start, start + _MASKS_AT_ONCE)
            seen_Nhw[some] = self._shrunk(masks_NHW[some], side)
        for mask in seen_Nhw if self.turned else ():
            mask[:] = self._turned(mask, Image.Resampling.BILINEAR, 0)
        return seen_Nhw

    def _shrunk(self, masks_NHW: Masks, side: int) -> Cover:
        part = np.moveaxis(self._part(np.moveaxis(masks_NHW, 0, 2)), 2, 0)
        if part.shape[1:] == (side, side):
            return part.astype(np.uint8) * np.uint8(255)
        size = (side, side)
        shrunk = torch.nn.functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(part))[:, None].float(), size, mode="area"
        )
        return shrunk[:, 0].mul(255).round().byte().numpy()

    def of_ids(self, ids_HW: np.ndarray, side: int) -> np.ndarray:
        """Ids of classes: each pixel has that of the one in its middle."""
        part = np.ascontiguousarray(self._part(ids_HW))
        if part.shape != (side, side):
            image = Image.fromarray(part)
            part = np.asarray(image.resize((side, side), Image.Resampling.NEAREST))
        return self._turned(part, Image.Resampling.NEAREST, UNKNOWN)

    def _part(self, array: np.ndarray) -> np.ndarray:
        part = array[self.top : self.top + self.height, self.left : self.left + self.width]
        return part[:, ::-1] if self.mirrored else part

    def _turned(
        self, array: np.ndarray, how: Image.Resampling, beyond: int | tuple[int, int, int]
    ) -> np.ndarray:
        """What was resized as if it had been turned before, about its middle; the rest is filled.

        A square that was a wide part is turned in the part's own proportions.
        """
        if not self.turned:
            return array
        angle, side, ratio = radians(self.turned), len(array), self.height / self.width
        # Rows of a matrix: which place each place of the answer is taken from; the middle stays.
        rows = (cos(angle), -sin(angle) * ratio), (sin(angle) / ratio, cos(angle))
        exact = [(round(a, 15), round(b, 15)) for a, b in rows]  # of quarter turns, too
        matrix = [number for a, b in exact for number in (a, b, (1 - a - b) * side / 2)]
        image = Image.fromarray(array)
        turned = image.transform(image.size, Image.Transform.AFFINE, matrix, how, fillcolor=beyond)
        return np.asarray(turned)
