"""What finding all masks is steered by, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import numpy as np
from torch import Tensor

from ops import (
    RunLengths,
    decode_run_lengths,
    from_coco_strings,
    point_grids_by_layer,
    select_runs,
    to_coco_strings,
)

from ..config import ModelConfig
from ..data import ArrayLike
from ..errors import ConfigError
from .settings import require_kinds, require_setting

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
_OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


class CocoRle(TypedDict):
    """A mask as pycocotools reads it."""

    size: list[int]  # height, width
    counts: str


class UncompressedRle(TypedDict):
    """A mask as plain run lengths, column by column, starting with unset pixels."""

    size: list[int]
    counts: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoMaskConfig:
    """How to find all masks: the names and defaults of the reference's generator."""

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Iterable[ArrayLike] | None = None  # one a layer, points in 0..1
    min_mask_region_area: int = 0  # holes and specks, at 0, of up to this many low-res pixels
    output_mode: OutputMode = "binary_mask"  # the form of Mask.segmentation
    use_m2m: bool = False  # refine each mask once with itself as a prompt
    multimask_output: bool = True
    stability_fallback: bool = True  # where one mask is asked for; see ImageSegmenter

    def __post_init__(self) -> None:
        require_kinds(self)
        self._refuse_both_or_neither()
        for name in ("points_per_batch", "crop_n_points_downscale_factor"):
            require_setting(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("crop_n_layers", "min_mask_region_area"):
            require_setting(self, name, getattr(self, name) >= 0, "at least 0")
        shares = ("pred_iou_thresh", "stability_score_thresh", "crop_overlap_ratio")
        for name in (*shares, "box_nms_thresh", "crop_nms_thresh"):
            require_setting(self, name, 0 <= getattr(self, name) <= 1, "within 0..1")
        for name in ("mask_threshold", "stability_score_offset"):
            require_setting(self, name, math.isfinite(getattr(self, name)), "finite")
        is_known = self.output_mode in _OUTPUT_MODES
        require_setting(self, "output_mode", is_known, f"one of {', '.join(_OUTPUT_MODES)}")
        self._refuse_empty_layers()
        if self.point_grids is not None:
            object.__setattr__(self, "point_grids", _listed_grids(self.point_grids))
            self._count_grids()

    def _refuse_both_or_neither(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ConfigError(
                "Give exactly one of points_per_side and point_grids; to use grids of your own, "
                "set points_per_side=None."
            )

    def _refuse_empty_layers(self) -> None:
        side = self.points_per_side
        if side is None:
            return
        require_setting(self, "points_per_side", side >= 1, "at least 1")
        factor, layer = int(self.crop_n_points_downscale_factor), int(self.crop_n_layers)
        if side < factor**layer:
            raise ConfigError(
                f"points_per_side={side} divided by crop_n_points_downscale_factor={factor} for "
                f"each of crop_n_layers={layer} leaves the last of them without a point: give "
                "more points, a smaller factor or fewer layers."
            )

    def _count_grids(self) -> None:
        given = len(self.grids())
        if given != self.crop_n_layers + 1:
            raise ConfigError(
                f"{given} point_grids for crop_n_layers={self.crop_n_layers}: give one for the "
                f"whole picture and one a layer, {self.crop_n_layers + 1} in all."
            )

    @staticmethod
    def for_model(config: ModelConfig, **settings: Any) -> AutoMaskConfig:  # noqa: ANN401 - fields
        """The defaults that suit a model's weights, changed by `settings`.

        Grids of points need no points_per_side=None here.
        """
        if not isinstance(config, ModelConfig):
            raise ConfigError(
                f"for_model takes a ModelConfig, not a {type(config).__name__}: write model.config."
            )
        defaults = {
            "points_per_side": config.points_per_side,
            "pred_iou_thresh": config.pred_iou_thresh,
            "stability_score_thresh": config.stability_score_thresh,
        }
        known = {name: value for name, value in defaults.items() if value is not None}
        if settings.get("point_grids") is not None:
            known["points_per_side"] = None
        return replace(AutoMaskConfig(), **{**known, **settings})

    def grids(self) -> list[np.ndarray[Any, Any]]:
        """The points of each layer, in 0..1."""
        if self.point_grids is not None:
            return [np.asarray(grid, dtype=np.float64) for grid in self.point_grids]
        assert self.points_per_side is not None
        return point_grids_by_layer(
            self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor
        )


def _listed_grids(grids: Iterable[ArrayLike]) -> tuple[ArrayLike, ...]:
    """Grids as tuples of points, so that configs can be compared."""
    if not isinstance(grids, Iterable):
        raise ConfigError(
            f"point_grids is a {type(grids).__name__}: give a list of arrays [points, 2], one for "
            "the whole picture and one a layer of crops."
        )
    return tuple(_listed_points(layer, grid) for layer, grid in enumerate(grids))


def _listed_points(layer: int, grid: ArrayLike) -> tuple[tuple[float, float], ...]:
    wanted = f"point_grids[{layer}] must be [points, 2] with x and y in 0..1"
    try:
        array = np.asarray(grid)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{wanted}; its rows are of unequal length.") from error
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{wanted}; it holds no plain numbers.")
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise ConfigError(f"{wanted}; it has shape {array.shape}.")
    outside = array[~((array >= 0) & (array <= 1))]
    if len(outside):
        raise ConfigError(f"{wanted}; it holds {outside[0].item()!r}.")
    return tuple(map(tuple, array.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class FoundMasks:
    """All masks of one picture as columns on the host, before anything is said of each."""

    runs: RunLengths
    areas_N: Tensor
    boxes_xywh_N4: Tensor
    predicted_iou_N: Tensor
    stability_N: Tensor
    points_N2: Tensor
    crops_xywh_N4: Tensor
    output_mode: OutputMode

    def __len__(self) -> int:
        return len(self.runs)

    def rows(self, chosen: Tensor) -> FoundMasks:
        """Some of the masks."""
        return FoundMasks(
            select_runs(self.runs, chosen),
            self.areas_N[chosen],
            self.boxes_xywh_N4[chosen],
            self.predicted_iou_N[chosen],
            self.stability_N[chosen],
            self.points_N2[chosen],
            self.crops_xywh_N4[chosen],
            self.output_mode,
        )

    def records(self) -> list[Mask]:
        """A record of each mask."""
        return [
            Mask(
                {"size": [self.runs.height, self.runs.width], "counts": counts},
                (box[0], box[1], box[2], box[3]),
                area,
                predicted_iou,
                stability,
                (point[0], point[1]),
                (crop[0], crop[1], crop[2], crop[3]),
                self.output_mode,
            )
            for counts, box, area, predicted_iou, stability, point, crop in zip(
                to_coco_strings(self.runs),
                self.boxes_xywh_N4.tolist(),
                self.areas_N.tolist(),
                self.predicted_iou_N.tolist(),
                self.stability_N.tolist(),
                self.points_N2.tolist(),
                self.crops_xywh_N4.tolist(),
                strict=True,
            )
        ]


@dataclass(frozen=True, slots=True)
class Mask:
    """One found mask, in pixels of its picture."""

    rle: CocoRle
    bbox_xywh: tuple[float, float, float, float]  # as the reference has it: width is xmax - xmin
    area: int
    predicted_iou: float
    stability_score: float
    point: tuple[float, float]
    crop_xywh: tuple[float, float, float, float]
    output_mode: OutputMode = "binary_mask"

    @property
    def segmentation(self) -> np.ndarray[Any, np.dtype[np.bool_]] | UncompressedRle | CocoRle:
        """The mask in the form that AutoMaskConfig.output_mode names."""
        if self.output_mode == "coco_rle":
            return self.rle
        runs = self.run_lengths()
        if self.output_mode == "uncompressed_rle":
            return {"size": list(self.rle["size"]), "counts": runs.counts.tolist()}
        return decode_run_lengths(runs)[0].numpy()

    def run_lengths(self) -> RunLengths:
        """The mask as run lengths."""
        height, width = self.rle["size"]
        return from_coco_strings([self.rle["counts"]], height, width)

    def decode(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The mask as a boolean array [H, W]."""
        return decode_run_lengths(self.run_lengths())[0].numpy()
