"""Prompts in source pixels are checked, brought to model pixels, and packed by token count."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ops import downsample_mask_antialiased

from ..config import LOGIT_CLAMP, MASK_LOGIT_BIAS, MASK_LOGIT_SCALE, ModelConfig
from ..data import ArrayLike, PackedPrompts, Prompt
from ..errors import PromptError

_FIRST_CORNER, _SECOND_CORNER, _NOT_A_POINT = 2, 3, -1
_ON = (0, 1, 255)  # what the set pixels of a mask of integers may hold; 0 where none is set
_NAMED_AT_MOST = 4  # numbers in a message


@dataclass(frozen=True, slots=True, eq=False)
class CheckedPrompt:
    """A prompt in model pixels, without the token that ends every list of points."""

    coords_T2: Tensor
    labels_T: Tensor
    mask_HW: Tensor | None  # bool, source pixels
    logits_hw: Tensor | None

    @property
    def has_points(self) -> bool:
        """Whether there are points or a box."""
        return len(self.labels_T) > 0


@dataclass(frozen=True, slots=True, eq=False)
class PromptGroup:
    """Prompts that can be decoded together, and their places in the caller's list."""

    places: list[int]
    packed: PackedPrompts


def check_prompt(prompt: Prompt, size_hw: tuple[int, int], config: ModelConfig) -> CheckedPrompt:
    """Refuse what makes no sense for a picture of this size; scale the rest to model pixels."""
    points, labels = _points(prompt, size_hw)
    mask = None if prompt.mask is None else _mask(prompt.mask, size_hw)
    logits = None if prompt.low_res_logits is None else _logits(prompt.low_res_logits, config)
    if mask is not None and logits is not None:
        raise PromptError("mask and low_res_logits say the same thing twice: give one of them.")
    if prompt.box is not None:
        corners = _box(prompt.box, size_hw)
        points = torch.cat([corners, points])
        labels = torch.cat([torch.tensor([_FIRST_CORNER, _SECOND_CORNER]), labels])
    if not len(labels) and mask is None and logits is None:
        raise PromptError("A prompt needs points with labels, a box, a mask or low_res_logits.")
    return CheckedPrompt(to_model_pixels(points, size_hw, config.image_size), labels, mask, logits)


def to_model_pixels(points_T2: Tensor, size_hw: tuple[int, int], image_size: int) -> Tensor:
    """Scale x and y each by its own side; the aspect ratio is not kept."""
    height, width = size_hw
    return points_T2 / torch.tensor([width, height], dtype=torch.float32) * image_size


def pack_prompts(
    prompts: Sequence[CheckedPrompt],
    image_index: Sequence[int],
    config: ModelConfig,
    device: torch.device,
) -> list[PromptGroup]:
    """Group prompts of equal token count.

    Groups are exact: padding a list of points with further "not a point" tokens would change the
    answer, because real tokens attend to them.
    """
    by_shape: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        dense = prompt.mask_HW is not None or prompt.logits_hw is not None
        by_shape[len(prompt.labels_T), dense].append(place)
    return [
        PromptGroup(
            places,
            _pack([prompts[i] for i in places], [image_index[i] for i in places], config, device),
        )
        for places in by_shape.values()
    ]


def _pack(
    prompts: Sequence[CheckedPrompt],
    image_index: Sequence[int],
    config: ModelConfig,
    device: torch.device,
) -> PackedPrompts:
    coords = torch.stack([prompt.coords_T2 for prompt in prompts])
    labels = torch.stack([prompt.labels_T for prompt in prompts])
    if labels.shape[1]:  # every list of points ends with one that is none; masks alone have no list
        coords = torch.cat([coords, torch.zeros(len(prompts), 1, 2)], dim=1)
        labels = torch.cat([labels, torch.full((len(prompts), 1), _NOT_A_POINT)], dim=1)
    dense = [dense_logits(prompt, config) for prompt in prompts]
    maps = [logits for logits in dense if logits is not None]
    return PackedPrompts(
        coords.to(device),
        labels.to(device),
        torch.tensor(image_index, dtype=torch.long, device=device),
        torch.stack(maps).to(device) if maps else None,
    )


def dense_logits(prompt: CheckedPrompt, config: ModelConfig) -> Tensor | None:
    """A mask prompt for an image as low-res logits."""
    if prompt.mask_HW is None:
        return prompt.logits_hw
    logits = prompt.mask_HW[None, None].float() * MASK_LOGIT_SCALE + MASK_LOGIT_BIAS
    side = config.low_res_size
    return downsample_mask_antialiased(logits, (side, side))[0, 0]


def _points(prompt: Prompt, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    points, labels = _pairs(prompt.points), _marks(prompt.labels)
    if len(points) != len(labels):
        raise PromptError(
            f"{len(points)} points but {len(labels)} labels: give every point a label, 1 on the "
            "object or 0 off it."
        )
    for x, y in points.tolist():
        _refuse_outside(x, y, size_hw, f"point ({x:g}, {y:g})")
    return points, labels


def _pairs(points: ArrayLike | None) -> Tensor:
    """Points as float32 [N, 2], of which there may be none."""
    array = _array(() if points is None else points, "points")
    if array.ndim and not len(array):
        return torch.zeros(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise PromptError(f"points are a list of (x, y) pairs, [(x, y), ...], not {_shape(array)}.")
    return _finite(array, "points")


def _marks(labels: ArrayLike | None) -> Tensor:
    """Labels as int64 [N], of which there may be none."""
    array = _array(() if labels is None else labels, "labels")
    if array.ndim and not len(array):
        return torch.zeros(0, dtype=torch.long)
    if array.ndim != 1:
        raise PromptError(f"labels are a flat list, one for each point, not {_shape(array)}.")
    marks = _finite(array, "labels")
    if not bool(((marks == 0) | (marks == 1)).all()):
        raise PromptError(f"labels are 1 (on the object) or 0 (off it), not {marks.tolist()}.")
    return marks.long()


def _box(box: ArrayLike, size_hw: tuple[int, int]) -> Tensor:
    corners = _finite(_array(box, "box"), "box")
    if corners.numel() != 4:
        raise PromptError(f"A box is (x0, y0, x1, y1), four numbers, not {corners.numel()}.")
    x0, y0, x1, y1 = corners.flatten().tolist()
    text = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    for x, y in ((x0, y0), (x1, y1)):
        _refuse_outside(x, y, size_hw, text)
    if x1 <= x0 or y1 <= y0:
        raise PromptError(
            f"{text} is empty: it is (x0, y0, x1, y1), the second corner right of and below the "
            "first. If yours is x, y, width, height, add the sizes."
        )
    return corners.reshape(2, 2)


def _mask(mask: ArrayLike, size_hw: tuple[int, int]) -> Tensor:
    array = _array(mask, "mask")
    if tuple(array.shape) != size_hw:
        raise PromptError(
            f"The mask has shape {tuple(array.shape)}, its picture (height, width) = {size_hw}."
        )
    if array.dtype.kind == "f" and not ((array == 0) | (array == 1)).all():
        raise PromptError("A mask is true or false; pass logits as low_res_logits.")
    if array.dtype.kind in "iu":
        _refuse_ids(array)
    return torch.from_numpy(np.array(array, dtype=bool, order="C"))


def _refuse_ids(array: np.ndarray[Any, Any]) -> None:
    """Refuse integers that may be ids of several objects: they would become one mask."""
    on = array.max()
    if on in _ON and ((array == 0) | (array == on)).all():
        return
    found = np.unique(array).tolist()
    some = ", ".join(map(str, found[:_NAMED_AT_MOST])) + (", ..." * (len(found) > _NAMED_AT_MOST))
    raise PromptError(
        f"A mask is true or false, 0 and 1, or 0 and 255; this one holds {some}. If these are ids "
        f"of objects, write mask == {next(filter(None, found))}, and a Prompt for each id."
    )


def _logits(logits: ArrayLike, config: ModelConfig) -> Tensor:
    array = _finite(_array(logits, "low_res_logits"), "low_res_logits")
    side = config.low_res_size
    if array.shape[-2:] != (side, side) or array.numel() != side * side:
        raise PromptError(
            f"low_res_logits has shape {tuple(array.shape)}; {config.name} at {config.image_size} "
            f"px works with ({side}, {side}), one mask: pick one of an earlier answer's."
        )
    return array.reshape(side, side).clamp(-LOGIT_CLAMP, LOGIT_CLAMP)


def _array(values: ArrayLike, what: str) -> np.ndarray[Any, Any]:
    """Plain numbers of any kind and shape, as they were given."""
    try:
        array = np.asarray(_on_host(values) if isinstance(values, Tensor) else values)
    except Exception as error:
        # Whatever can be read as an array may fail at it in its own way.
        reason = str(error).partition("\n")[0]
        raise PromptError(f"{what} must be numbers in rows of equal length ({reason}).") from error
    if array.dtype.kind not in "biuf":
        raise PromptError(f"{what} must be numbers in rows of equal length, not {_kind(array)}.")
    return array


def _on_host(values: Tensor) -> np.ndarray[Any, Any]:
    plain = values.detach().to_dense().cpu()
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def _kind(array: np.ndarray[Any, Any]) -> str:
    kinds = {"c": "complex numbers", "U": "text", "S": "bytes"}
    if array.dtype.kind == "O":
        return f"objects ({', '.join(sorted({type(value).__name__ for value in array.flat}))})"
    return kinds.get(array.dtype.kind, str(array.dtype))


def _finite(array: np.ndarray[Any, Any], what: str) -> Tensor:
    """The numbers as a float32 tensor of its own."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        numbers = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    if not bool(numbers.isfinite().all()):
        raise PromptError(f"{what} holds NaN or infinity: {_short(numbers)}.")
    return numbers


def _shape(array: np.ndarray[Any, Any]) -> str:
    return f"an array of shape {array.shape}" if array.ndim else "a single number"


def _short(array: Tensor) -> str:
    return str(array.tolist()) if array.numel() <= 8 else f"{array.numel()} values"


def _refuse_outside(x: float, y: float, size_hw: tuple[int, int], text: str) -> None:
    height, width = size_hw
    if not (0 <= x <= width and 0 <= y <= height) or math.isnan(x + y):
        raise PromptError(
            f"{text} lies outside its picture of {width} x {height} pixels (width x height). "
            "Coordinates are pixels of the picture as shown; scale normalised ones first."
        )
