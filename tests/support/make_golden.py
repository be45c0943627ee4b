"""The reference package -> tests/data/golden.npz: its answers to small questions, kept for good.

Run it where sam2==1.1.0 is installed: python tests/support/make_golden.py
Weights come from recipe.py and pixels from make_clip.py, so that both sides can make them anywhere.
The questions stand here too; whoever only asks them again needs no reference package.

Answers are named model/case/what. Logits are strided samples. A map of signs says where a mask is
certainly set (1), certainly not set (-1), or so close to zero that kernels may disagree (0).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agreement import TOLERANCE
from make_clip import moving_shapes, textured_picture
from torch import Tensor

from sam2_core import FramePrompt, ModelConfig, Prompt
from sam2_core.config import LOGIT_CLAMP, RELEASED

Golden = dict[str, np.ndarray]

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden.npz"
MAX_BYTES = 400 * 1024
MAX_DRIFT = 1e-4  # of the reference from itself, when only its kernels change
MIN_PRESENCE = 0.5  # share of tracked frames on which an object is in the picture
MASK_COUNTS = range(20, 61)
SCORE_MARGIN = 5e-3  # how clearly an object is present or absent
THRESHOLD_MARGIN = 2e-4  # no score lies this close to a threshold that decides about its mask

# --- questions

HEIGHT, WIDTH, FRAMES = 60, 92, 8
LEVELS = ("fine", "middle", "coarse")
FEATURE_SAMPLES, LOGIT_STRIDE = 800, 3
# Kinds of answer: multimask, and the stability fallback.
ANSWERS = {"three": (True, True), "single": (False, True), "plain single": (False, False)}
ALL_MASKS: dict[str, dict[str, Any]] = {
    "plain": {"pred_iou_thresh": 0.9, "stability_score_thresh": 0.8},
    # Few masks end inside a crop; a high threshold makes them small.
    "crops": {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.05, "mask_threshold": 4.0}
    | {"crop_n_layers": 1, "crop_n_points_downscale_factor": 1},
}
TRACKS = ("point", "box", "mask", "two objects")

_BOX = (18.0, 10.0, 70.0, 52.0)


@dataclass(frozen=True, slots=True)
class GoldenModel:
    """A network, and what it is asked."""

    config: ModelConfig
    object_lift: float = 0.3
    about_pictures: bool = True
    all_masks: tuple[str, ...] = ()
    tracks: tuple[str, ...] = ("two objects",)


_NANO = replace(RELEASED["nano"], image_size=128, max_memories=7)
_NANO_2_0 = replace(_NANO, name="nano_2.0", version="2.0", image_size=96)
_TINY = replace(RELEASED["sam2.1_hiera_tiny"], image_size=64)

MODELS = {
    "nano": GoldenModel(_NANO, all_masks=tuple(ALL_MASKS), tracks=TRACKS),
    "nano, often absent": GoldenModel(_NANO, object_lift=-0.39, about_pictures=False),
    "nano 2.0": GoldenModel(_NANO_2_0, object_lift=0.2),
    "tiny": GoldenModel(_TINY),
}


def picture(scale: int = 1) -> np.ndarray:
    """The picture that everything is asked about."""
    return textured_picture(scale * HEIGHT, scale * WIDTH, seed=1)


def clip() -> list[np.ndarray]:
    """The frames that everything is tracked through."""
    return moving_shapes(FRAMES, HEIGHT, WIDTH, seed=3)


def image_prompts(config: ModelConfig) -> dict[str, Prompt]:
    """What is asked about the picture."""
    logits = _wavy_logits(config.low_res_size)
    point: dict[str, Any] = {"points": [(40.0, 30.0)], "labels": [1]}
    return {
        "point": Prompt(**point),
        "box": Prompt(box=_BOX),
        "box and points": Prompt(box=_BOX, points=[(40.0, 30.0), (80.0, 55.0)], labels=[1, 0]),
        "logits": Prompt(low_res_logits=logits),
        "logits and point": Prompt(**point, low_res_logits=logits),
    }


def _wavy_logits(side: int) -> np.ndarray:
    ys, xs = np.mgrid[0:side, 0:side] / side
    return (6 * np.sin(7 * xs + 2 * ys) * np.cos(5 * ys) + 1).astype(np.float32)


def all_masks_settings(case: str) -> dict[str, Any]:
    """Settings of the generator of all masks, by names that both sides know."""
    # Random masks all span the picture: nothing may be dropped for its box.
    alike = {"points_per_side": 8, "box_nms_thresh": 1.0, "stability_score_offset": 0.2}
    return {**alike, **ALL_MASKS[case]}


def all_masks_picture(case: str) -> np.ndarray:
    """The picture whose masks are all wanted; crops need one that is larger than their margins."""
    return picture(scale=2 if case == "crops" else 1)


def clip_prompts() -> dict[str, list[FramePrompt]]:
    """What is tracked through the clip."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[15:45, 20:60] = True
    box = Prompt(box=_BOX)
    return {
        "point": [FramePrompt(0, 1, Prompt(points=[(40, 30)], labels=[1]))],
        "box": [FramePrompt(0, 1, box)],
        "mask": [FramePrompt(0, 1, Prompt(mask=mask))],
        "two objects": [
            FramePrompt(1, 7, Prompt(points=[(60, 20), (10, 50)], labels=[1, 0])),
            FramePrompt(4, 3, box),
        ],
    }


# --- the form of answers


def sample_features(level_BCHW: Tensor) -> np.ndarray:
    """A strided sample of one level of features."""
    flat = level_BCHW.flatten()
    return flat[:: len(flat) // FEATURE_SAMPLES].numpy()


def sample_logits(logits: Tensor) -> np.ndarray:
    """Every third logit of each map, row by row; what stands for absence sets no scale."""
    return logits.flatten(-2)[..., ::LOGIT_STRIDE].clamp(-LOGIT_CLAMP, LOGIT_CLAMP).numpy()


def signs(logits: Tensor) -> np.ndarray:
    """Where masks are certainly set, certainly not set, or too close to zero to tell."""
    margin = TOLERANCE * logits.abs().max().clamp(1, LOGIT_CLAMP)
    return torch.where(logits.abs() > margin, logits.sign(), 0).to(torch.int8).numpy()


def as_text(strings: list[str]) -> np.ndarray:
    """Strings as the bytes of their lines."""
    return np.frombuffer("\n".join(strings).encode(), dtype=np.uint8)


def as_strings(text: np.ndarray) -> list[str]:
    """Undo as_text."""
    return text.tobytes().decode().split("\n")


def committed() -> Golden:
    """What the reference said when the file was made."""
    with np.load(GOLDEN) as arrays:
        return {key: arrays[key] for key in arrays.files}


# --- the reference's answers


def reference_answers(name: str) -> Golden:
    """Everything the reference says about one model."""
    from oracle import twins

    asked = MODELS[name]
    _, images = twins(asked.config, object_lift=asked.object_lift)
    _, video = twins(asked.config, video=True, object_lift=asked.object_lift)
    video.fill_hole_area = 0  # the reference skips filling where its CUDA extension is missing
    answers: Golden = {}
    if asked.about_pictures:
        answers |= {**_features(images), **_segmentations(images, asked.config)}
    for case in asked.all_masks:
        answers |= _all_masks(images, case, all_masks_settings(case))
    for case in asked.tracks:
        answers |= _track(video, case)
    return {f"{name}/{key}": value for key, value in answers.items()}


def _features(reference: Any) -> Golden:
    from oracle import image_predictor

    pixels = image_predictor(reference)._transforms(picture())[None]
    with torch.inference_mode():
        levels = reference.forward_image(pixels)["backbone_fpn"]
    return {
        f"features/{level}": sample_features(features)
        for level, features in zip(LEVELS, levels, strict=True)
    }


def _segmentations(reference: Any, config: ModelConfig) -> Golden:
    from oracle import image_predictor

    predictor = image_predictor(reference)
    predictor.set_image(picture())
    answers: Golden = {}
    for answer, (multimask, fallback) in ANSWERS.items():
        reference.sam_mask_decoder.dynamic_multimask_via_stability = fallback
        for case, prompt in image_prompts(config).items():
            logits, iou, low_res = predictor.predict(
                **_as_asked(prompt), multimask_output=multimask, return_logits=True
            )
            key = f"{answer}/{case}"
            answers[f"{key}/predicted_iou"] = iou
            answers[f"{key}/low_res_logits"] = sample_logits(torch.from_numpy(low_res))
            answers[f"{key}/signs"] = signs(torch.from_numpy(logits))
    reference.sam_mask_decoder.dynamic_multimask_via_stability = True
    return answers


def _as_asked(prompt: Prompt) -> dict[str, Any]:
    """A prompt in the words of the reference's image predictor."""
    points, logits = prompt.points, prompt.low_res_logits
    return {
        "point_coords": np.array(points) if len(points) else None,
        "point_labels": np.array(prompt.labels) if len(points) else None,
        "box": None if prompt.box is None else np.array(prompt.box),
        "mask_input": None if logits is None else np.asarray(logits)[None],
    }


def _all_masks(reference: Any, case: str, settings: Mapping[str, Any]) -> Golden:
    from oracle import mask_generator

    generator = mask_generator(reference, output_mode="coco_rle", **settings)
    masks = generator.generate(all_masks_picture(case))
    fields = ("predicted_iou", "stability_score", "bbox", "crop_box", "area")
    key = f"all masks/{case}"
    return {
        f"{key}/counts": as_text([mask["segmentation"]["counts"] for mask in masks]),
        f"{key}/point": np.array([mask["point_coords"][0] for mask in masks]),
        **{f"{key}/{field}": np.array([mask[field] for mask in masks]) for field in fields},
    }


def _track(reference: Any, case: str) -> Golden:
    from reference_video import prompt, propagate, start, write_frames

    asked = clip_prompts()[case]
    with tempfile.TemporaryDirectory() as folder:
        state = start(reference, write_frames(clip(), Path(folder) / "clip"))
        for item in asked:
            prompt(reference, state, item)
        logits = propagate(reference, state)
    outputs = [_outputs_by_frame(state, index) for index in range(len(state["obj_ids"]))]

    def stacked(field: str) -> Tensor:
        return torch.stack([torch.stack([of[f][field][0, 0] for of in outputs]) for f in logits])

    key = f"track/{case}"
    return {
        f"{key}/frames": np.array(list(logits)),
        f"{key}/object_score": stacked("object_score_logits").numpy(),
        f"{key}/low_res_logits": sample_logits(stacked("pred_masks")),
        f"{key}/signs": np.stack([signs(of_frame) for of_frame in logits.values()]),
    }


def _outputs_by_frame(state: dict[str, Any], index: int) -> dict[int, dict[str, Tensor]]:
    outputs = state["output_dict_per_obj"][index]
    return {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}


# --- what makes answers worth keeping


def make() -> Golden:
    """Ask the reference everything."""
    from oracle import quiet

    with quiet():
        answers = [reference_answers(name) for name in MODELS]
    every = {key: value for of_model in answers for key, value in of_model.items()}
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in every.items()}


def complaints(golden: Golden, with_other_kernels: Golden) -> list[str]:
    """Why these answers prove too little; empty if they are good."""
    found = _drift_complaints(golden, with_other_kernels) + _presence_complaints(golden)
    for key, value in golden.items():
        if key.endswith("/point") and len(value) not in MASK_COUNTS:
            found.append(f"{key}: {len(value)} masks, wanted {MASK_COUNTS}")
    if not _fallback_varies(golden):
        found.append("The stability fallback always, or never, replaces the single mask.")
    if all(len(np.unique(value, axis=0)) == 1 for value in _of_kind(golden, "crop_box")):
        found.append("No mask comes from a crop.")
    return found


def _of_kind(golden: Golden, kind: str) -> list[np.ndarray]:
    return [value for key, value in golden.items() if key.endswith(f"/{kind}")]


def _presence_complaints(golden: Golden) -> list[str]:
    found = []
    for key, value in golden.items():
        if not key.endswith("/object_score"):
            continue
        if (value > 0).mean() < MIN_PRESENCE:
            found.append(f"{key}: objects are present on only {(value > 0).mean():.0%} of frames")
        if np.abs(value).min() < SCORE_MARGIN:
            found.append(f"{key}: a score of {np.abs(value).min():.4f} may be either sign")
    if all((value > 0).all() for value in _of_kind(golden, "object_score")):
        found.append("No object is ever absent.")
    return found


def _drift_complaints(golden: Golden, other: Golden) -> list[str]:
    drifts = {key: drift_of(value, other[key]) for key, value in golden.items()}
    return [f"{key} drifts by {by:.1e}" for key, by in drifts.items() if by > MAX_DRIFT]


def drift_of(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference relative to max(1, range); of texts and signs 1 or 0."""
    if ours.shape != theirs.shape:
        return 1.0
    if ours.dtype != np.float32:
        return float(_contradict(ours, theirs))
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    return float(np.abs(ours - theirs).max(initial=0)) / scale


def _contradict(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether signs differ where both are certain, or anything else at all."""
    certain = (ours != 0) & (theirs != 0) if ours.dtype == np.int8 else True
    return bool(((ours != theirs) & certain).any())


def _fallback_varies(golden: Golden) -> bool:
    replaced = [
        not np.array_equal(value, golden[key.replace("/single/", "/plain single/")])
        for key, value in golden.items()
        if "/single/" in key and key.endswith("/predicted_iou")
    ]
    return any(replaced) and not all(replaced)


def threshold_complaints() -> list[str]:
    """Which settings for all masks have a score close to a threshold: a mask might flip."""
    from oracle import twins

    found = []
    for name, asked in MODELS.items():
        for case in asked.all_masks:
            _, reference = twins(asked.config, object_lift=asked.object_lift)
            settings = all_masks_settings(case)
            counts = [
                len(_all_masks(reference, case, _moved(settings, by))[f"all masks/{case}/point"])
                for by in (-THRESHOLD_MARGIN, 0, THRESHOLD_MARGIN)
            ]
            if len(set(counts)) > 1:
                found.append(f"{name}, {case}: {counts} masks around the thresholds")
    return found


def _moved(settings: Mapping[str, Any], by: float) -> dict[str, Any]:
    moving = ("pred_iou_thresh", "stability_score_thresh")
    return {key: value + by if key in moving else value for key, value in settings.items()}


@contextmanager
def other_kernels() -> Iterator[None]:
    """Let the reference compute the same with other kernels: no mkldnn, plain attention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
        yield


def main() -> None:
    """Make the file, or say why not."""
    torch.set_num_threads(1)
    golden = make()
    with other_kernels():
        drifted = make()
    found = [*complaints(golden, drifted), *threshold_complaints()]
    if found:
        sys.exit("Not kept:\n" + "\n".join(found))
    np.savez_compressed(GOLDEN, **golden)
    size = GOLDEN.stat().st_size
    drift, key = max((drift_of(value, drifted[key]), key) for key, value in golden.items())
    print(f"{GOLDEN}: {len(golden)} arrays, {size / 1024:.0f} KiB, drift {drift:.1e} ({key})")


if __name__ == "__main__":
    main()
