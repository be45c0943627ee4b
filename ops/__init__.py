"""Turns mask tensors into run lengths, boxes, components and back; knows no model and no Ray."""

from .boxes import mask_boxes_xyxy, touches_crop_edge, xywh_to_xyxy, xyxy_to_xywh
from .class_maps import PixelClasses, upsample_classes
from .coco_strings import from_coco_strings, to_coco_strings
from .components import clean_up_logits, component_areas, drop_small_specks, fill_small_holes
from .grids import CropBox, crop_boxes, point_grid, point_grids_by_layer
from .resize import (
    downsample_mask_antialiased,
    resize_frame_bicubic,
    resize_image_antialiased,
    upsample_logits,
)
from .run_algebra import run_areas, run_boxes_xyxy, run_iou, run_union
from .run_lengths import (
    RunLengths,
    concatenate_runs,
    decode_run_lengths,
    encode_run_lengths,
    select_runs,
)
from .stability import stability_scores
from .suppression import suppress
from .upsampling import (
    UpsampledMeasures,
    measure_upsampled,
    upsample_masks,
    upsampled_run_lengths,
)

__all__ = [
    "CropBox",
    "PixelClasses",
    "RunLengths",
    "UpsampledMeasures",
    "clean_up_logits",
    "component_areas",
    "concatenate_runs",
    "crop_boxes",
    "decode_run_lengths",
    "downsample_mask_antialiased",
    "drop_small_specks",
    "encode_run_lengths",
    "fill_small_holes",
    "from_coco_strings",
    "mask_boxes_xyxy",
    "measure_upsampled",
    "point_grid",
    "point_grids_by_layer",
    "resize_frame_bicubic",
    "resize_image_antialiased",
    "run_areas",
    "run_boxes_xyxy",
    "run_iou",
    "run_union",
    "select_runs",
    "stability_scores",
    "suppress",
    "to_coco_strings",
    "touches_crop_edge",
    "upsample_classes",
    "upsample_logits",
    "upsample_masks",
    "upsampled_run_lengths",
    "xywh_to_xyxy",
    "xyxy_to_xywh",
]
