"""Whether a GPU says what the CPU says: every op, and the network in every precision and mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import ops
from jobs.benchmarks.gpu_rows import NONE, Row
from jobs.benchmarks.gpu_world import Suite, Variant, drifting_clip, picture, point_prompts
from sam2_core import (
    AutoMaskConfig,
    FramePrompt,
    ImageSegmenter,
    Mask,
    MaskGenerator,
    Prompt,
    Sam2,
    TrackedFrame,
    VideoTracker,
)

FP32_TOLERANCE = 1e-3  # relative to max(1, range)
MIN_IOU = 0.99
OP_TOLERANCE = 1e-4
FRAMES = 12
CHECKED = (
    Variant("fp32"),
    Variant("bf16"),
    Variant("fp16"),
    Variant("bf16", "full"),
    Variant("fp32", "full"),
    Variant("fp32", "encoder"),
    Variant("bf16", "encoder"),
    Variant("fp16", "full"),
    Variant("fp16", "encoder"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a network says about the same questions, all on the CPU."""

    features: tuple[Tensor, ...]
    logits: Tensor
    predicted_iou: Tensor
    masks: Tensor
    found: list[Mask]
    frames: list[TrackedFrame]


class Gap(NamedTuple):
    """One measure of how far two answers are apart."""

    what: str
    value: float
    unit: str
    passes: bool | None  # None: there is no gate


# --- the network


def truth(suite: Suite) -> tuple[Answers, AutoMaskConfig]:
    """Eager fp32 on the CPU, and the thresholds that let some of its masks through."""
    model = suite.model_on(
        torch.device("cpu"), suite.scale.checked_model, suite.scale.check_size, Variant("fp32")
    )
    config = some_pass(model, 8, share=0.2)
    return answer(model, suite, config), config


def answer(model: Sam2, suite: Suite, config: AutoMaskConfig) -> Answers:
    """Ask a network everything."""
    height, width = suite.scale.picture_hw
    size_hw = (height // 2, width // 2)
    image = picture(size_hw)
    pixels = torch.randn(
        2, 3, *[model.config.image_size] * 2, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        embedding = model.embed_images(pixels.to(model.device))
    levels = (embedding.coarse_BPC, embedding.middle_BPQC, embedding.fine_BPQC)
    (segmentation,) = ImageSegmenter(model).segment([image], [point_prompts(9, size_hw)])
    clip = drifting_clip(FRAMES, size_hw)
    return Answers(
        tuple(level.float().cpu() for level in levels),
        segmentation.low_res_logits,
        segmentation.predicted_iou,
        segmentation.masks,
        MaskGenerator(model, config).generate([image])[0],
        list(VideoTracker(model).track(clip, _two_objects(size_hw))),
    )


def _two_objects(size_hw: tuple[int, int]) -> list[FramePrompt]:
    height, width = size_hw
    click = Prompt(points=[(0.4 * width, 0.5 * height)], labels=[1])
    box = Prompt(box=(0.2 * width, 0.2 * height, 0.8 * width, 0.7 * height))
    return [FramePrompt(0, 1, click), FramePrompt(4, 2, box)]


def some_pass(model: Sam2, grid: int, share: float) -> AutoMaskConfig:
    """Thresholds that let about this share of the masks of random weights through."""
    every = AutoMaskConfig(
        points_per_side=min(grid, 8),
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
    )
    size = model.config.image_size
    masks = MaskGenerator(model, every).generate([picture((size // 2, size // 2))])[0]
    iou = torch.tensor([mask.predicted_iou for mask in masks])
    good = iou.quantile(1 - share**0.5).item()
    stability = torch.tensor([mask.stability_score for mask in masks])[iou > good].nan_to_num()
    return AutoMaskConfig(
        points_per_side=grid,
        pred_iou_thresh=good,
        stability_score_thresh=stability.quantile(1 - share**0.5).item(),
        box_nms_thresh=1.0,  # masks of random weights all span the picture
    )


def check_variant(suite: Suite, variant: Variant, right: Answers, config: AutoMaskConfig) -> None:
    """Compare one variant on the device with the truth."""
    name, size = suite.scale.checked_model, suite.scale.check_size
    found = answer(suite.model(name, size, variant), suite, config)
    for gap in gaps(found, right, exact=variant.precision == "fp32"):
        suite.ledger.write(
            Row(
                what=f"check: {gap.what}",
                model=name,
                image_size=size,
                precision=variant.precision,
                compile=variant.compile,
                value=gap.value,
                unit=gap.unit,
                check=NONE if gap.passes is None else ("pass" if gap.passes else "fail"),
            )
        )


def gaps(found: Answers, right: Answers, *, exact: bool) -> Iterator[Gap]:
    """How far two answers are apart; `exact` gates the numbers, and not the masks alone."""

    def number(what: str, error: float) -> Gap:
        return Gap(what, error, "relative", error <= FP32_TOLERANCE if exact else None)

    def overlap(what: str, iou: float) -> Gap:
        return Gap(what, iou, "mean IoU", iou >= MIN_IOU)

    pairs = zip(found.features, right.features, strict=True)
    yield number("features", max(relative_error(a, b) for a, b in pairs))
    yield number("prompted logits", relative_error(found.logits, right.logits))
    yield number("predicted IoU", relative_error(found.predicted_iou, right.predicted_iou))
    yield overlap("prompted masks", mean_iou(found.masks, right.masks))
    pairing = pair_up(found.found, right.found)
    yield overlap("all masks", pairing.iou)
    yield Gap(f"of {len(right.found)} masks unpaired", pairing.unpaired, "masks", None)
    miscounted = abs(len(found.found) - len(right.found))
    yield Gap("count of all masks", miscounted, "mismatch", None)
    frames = list(zip(found.frames, right.frames, strict=True))
    ious = [mean_iou(a.masks, b.masks) for a, b in frames]
    yield overlap("tracked masks", sum(ious) / len(ious))
    scores = max(relative_error(a.object_score, b.object_score) for a, b in frames)
    yield number("object score", scores)


def relative_error(found: Tensor, right: Tensor) -> float:
    """The largest difference relative to max(1, range); infinite for NaN and for other shapes."""
    if found.shape != right.shape or not bool(found.isfinite().all()):
        return float("inf")
    scale = max(1.0, right.abs().max().item())
    return (found.double() - right.double()).abs().max().item() / scale


def mean_iou(found: Tensor, right: Tensor) -> float:
    """Mean IoU of pairs of masks [..., H, W]; two empty masks agree."""
    both = (found & right).flatten(-2).sum(-1).double()
    either = (found | right).flatten(-2).sum(-1).double()
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean().item()


class Pairing(NamedTuple):
    """Masks of two lists that are each other's nearest, and how near."""

    iou: float
    unpaired: int  # of either list


def pair_up(found: list[Mask], right: list[Mask]) -> Pairing:
    """Match masks that are each other's best; one close to a threshold may be in one list only."""
    if not right or not found:
        return Pairing(float(len(found) == len(right)), len(found) + len(right))
    ious = ops.run_iou(_runs(right), _runs(found))
    nearest = ious.argmax(dim=1)
    mutual = ious.argmax(dim=0)[nearest] == torch.arange(len(right))
    paired = ious.amax(dim=1)[mutual]
    return Pairing(paired.mean().item(), len(right) + len(found) - 2 * len(paired))


def _runs(masks: list[Mask]) -> ops.RunLengths:
    height, width = masks[0].rle["size"]
    return ops.from_coco_strings([mask.rle["counts"] for mask in masks], height, width)


# --- the ops

Op = Callable[[Tensor], list[Tensor]]


def check_ops(suite: Suite) -> None:
    """Run every op on the device and on the CPU."""
    height, width = suite.scale.picture_hw
    generator = torch.Generator().manual_seed(0)
    blobs = torch.randn(24, 1, 12, 16, generator=generator)
    low_res = torch.nn.functional.interpolate(blobs, (96, 96), mode="bicubic")[:, 0].contiguous()
    low_res += 0.2 * torch.randn(low_res.shape, generator=generator)
    for name, op in _ops((height, width)).items():
        suite.ledger.write(_check_op(name, op, low_res, suite.device))


def _check_op(name: str, op: Op, logits: Tensor, device: torch.device) -> Row:
    right = op(logits)
    try:
        found = [tensor.cpu() for tensor in op(logits.to(device))]
    except Exception as error:  # noqa: BLE001 one op that a device refuses must not hide the others
        return Row(what=f"op: {name}", check="fail", note=f"{type(error).__name__}: {error}"[:200])
    error = max(_op_error(a, b) for a, b in zip(found, right, strict=True))
    check = "pass" if error <= OP_TOLERANCE else "fail"
    return Row(what=f"op: {name}", value=error, unit="error", check=check)


def _op_error(found: Tensor, right: Tensor) -> float:
    """Relative error of numbers, share of wrong bits, 0 or infinity for integers."""
    if found.shape != right.shape or found.dtype != right.dtype:
        return float("inf")
    if not right.numel():
        return 0.0
    if right.dtype == torch.bool:
        return (found != right).double().mean().item()
    if right.dtype.is_floating_point:
        return relative_error(found, right)
    return 0.0 if torch.equal(found, right) else float("inf")


def _ops(size_hw: tuple[int, int]) -> dict[str, Op]:
    """Ops as functions of low-res logits.

    Those whose results jump take masks that are cut on the CPU's own pixels: there one rounding
    must not look like a fault.
    """

    def masks(logits: Tensor) -> Tensor:
        return ops.upsample_masks(logits.cpu(), size_hw).to(logits.device)

    def runs(logits: Tensor) -> ops.RunLengths:
        return ops.encode_run_lengths(masks(logits))

    def boxes(logits: Tensor) -> Tensor:
        return ops.mask_boxes_xyxy(masks(logits))

    def measures(logits: Tensor) -> list[Tensor]:
        measured = ops.measure_upsampled(logits, size_hw, 0.0, 1.0)
        return [measured.stability]

    def union(logits: Tensor) -> list[Tensor]:
        groups = torch.arange(len(logits), device=logits.device) % 5
        joined = ops.run_union(runs(logits), groups)
        return [joined.counts, joined.offsets]

    def selected(logits: Tensor) -> list[Tensor]:
        chosen = torch.tensor([3, 0, 3, 7], device=logits.device)
        some = ops.select_runs(runs(logits), chosen)
        return [some.counts, some.offsets]

    def kept(logits: Tensor) -> list[Tensor]:
        groups = torch.arange(len(logits), device=logits.device) % 2
        return [ops.suppress(boxes(logits) // 4, logits.mean((1, 2)), 0.8, groups)]

    def near_edge(logits: Tensor) -> list[Tensor]:
        return [ops.touches_crop_edge(boxes(logits), (5, 30, 60, 80), size_hw)]

    def strings(logits: Tensor) -> list[Tensor]:
        text = "\n".join(ops.to_coco_strings(runs(logits)))
        return [torch.tensor(list(text.encode()))]

    def image(logits: Tensor) -> Tensor:
        return ops.upsample_logits(logits[None, :3], size_hw)[0]

    return {
        "upsample masks": lambda x: [ops.upsample_masks(x, size_hw)],
        "upsample logits": lambda x: [ops.upsample_logits(x[:, None], size_hw)],
        "measure upsampled": measures,
        "stability": lambda x: [ops.stability_scores(x, 0.0, 0.1)],
        "resize image": lambda x: [ops.resize_image_antialiased(image(x), 64)],
        "shrink mask": lambda x: [
            ops.downsample_mask_antialiased(masks(x).float()[:, None], (24, 24))
        ],
        "encode run lengths": lambda x: [runs(x).counts, runs(x).offsets],
        "decode run lengths": lambda x: [ops.decode_run_lengths(runs(x))],
        "COCO strings": strings,
        "areas of runs": lambda x: [ops.run_areas(runs(x))],
        "boxes of runs": lambda x: [ops.run_boxes_xyxy(runs(x))],
        "IoU of runs": lambda x: [ops.run_iou(runs(x), runs(x))],
        "union of runs": union,
        "selected runs": selected,
        "boxes of masks": lambda x: [boxes(x)],
        "boxes near crop edges": near_edge,
        "component areas": lambda x: [ops.component_areas(x > 0)],
        "fill holes": lambda x: [ops.fill_small_holes(x, 8)],
        "drop specks": lambda x: [ops.drop_small_specks(x, 8)],
        "clean up": lambda x: [ops.clean_up_logits(x, 20, 20)],
        "suppress boxes": kept,
    }
