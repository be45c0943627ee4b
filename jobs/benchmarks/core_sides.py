"""One measurement of one side in a process of its own; core.py calls it with an order as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np
import torch
from PIL import Image

from sam2_core import (
    RELEASED,
    AutoMaskConfig,
    FramePrompt,
    ImageSegmenter,
    MaskGenerator,
    ModelConfig,
    Prompt,
    Sam2,
    VideoTracker,
)

FRAMES = 8


def main() -> None:
    """Run one order and print its figures as JSON."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    prepare = PREPARE[order["what"], order["side"]]
    work = prepare(order)
    before = _resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    start = time.perf_counter()
    masks = work()
    seconds = time.perf_counter() - start
    peak = _resident_mib("VmHWM") - before
    note = ""
    if masks is not None:
        packed = np.packbits(np.asarray(masks).reshape(len(masks), -1), axis=-1)
        np.savez_compressed(Path(order["folder"]) / f"{order['side']}.npz", masks=packed)
        note = f"{len(masks)} masks"
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "note": note}))


Work = Callable[[], Any]


def _resident_mib(which: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {which}")


def _picture(order: dict) -> np.ndarray:
    return np.array(Image.open(order["picture"]).convert("RGB"))


def _weights(order: dict, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Random weights under their official names, the same for all sides.

    For all masks they are wired so that clicks find things of their own, and so that about as many
    pass each of the default filters as with trained weights: where all masks are one mask, most of
    the work that is measured would never be done.
    """
    from recipe import lively_state

    return _wired_state(order) if order["what"] == "masks" else lively_state(shapes)


def _wired_state(order: dict) -> dict[str, torch.Tensor]:
    from sam2_core import export_checkpoint
    from sam2_core.untrained import wire

    torch.manual_seed(1)
    model = Sam2(_config(order)).eval()
    wire(model)
    last = cast("torch.nn.Linear", model.mask_decoder.iou_head.layers[-1])
    last.weight.data.mul_(4)
    last.bias.data.add_(1.5)
    return export_checkpoint(model)["model"]


def _config(order: dict) -> ModelConfig:
    return dataclasses.replace(RELEASED[order["model"]], image_size=order["image_size"])


def _ours(order: dict) -> Sam2:
    from oracle import loaded

    from sam2_core.checkpoint_names import OFFICIAL, OURS, rename

    config = _config(order)
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in Sam2(config).state_dict().items()}
    names = rename(shapes, OURS, OFFICIAL)
    return loaded(config, _weights(order, {names[key]: shape for key, shape in shapes.items()}))


def _reference(order: dict, *, video: bool = False) -> Any:  # noqa: ANN401 not ours
    from oracle import reference_model

    model = reference_model(_config(order), video=video)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    model.load_state_dict(_weights(order, shapes))
    return model


def _transformers(order: dict) -> Any:  # noqa: ANN401 not ours
    from hugging import hugging_model

    return hugging_model(_ours(order), order["image_size"])


# --- encode one picture


def _encode_reference(order: dict) -> Work:
    from oracle import image_predictor

    predictor, picture = image_predictor(_reference(order)), _picture(order)
    return lambda: predictor.set_image(picture)


def _encode_ours(order: dict) -> Work:
    segmenter, picture = ImageSegmenter(_ours(order)), _picture(order)

    def work() -> None:
        segmenter.embed([picture])

    return work


def _encode_transformers(order: dict) -> Work:
    side, picture = _transformers(order), _picture(order)

    def work() -> None:
        side.encode(picture)

    return work


# --- answer prompts on an encoded picture


def _points(order: dict, picture: np.ndarray) -> np.ndarray:
    side = round(order["count"] ** 0.5)
    line = (np.arange(side) + 0.5) / side
    ys, xs = np.meshgrid(line, line, indexing="ij")
    height, width = picture.shape[:2]
    return np.stack([xs.ravel() * width, ys.ravel() * height], axis=1).astype(np.float32)


def _prompts_reference(order: dict) -> Work:
    from oracle import image_predictor

    predictor, picture = image_predictor(_reference(order)), _picture(order)
    predictor.set_image(picture)
    points = _points(order, picture)[:, None]
    labels = np.ones((len(points), 1), dtype=np.int32)

    def work() -> np.ndarray:
        masks, _, _ = predictor.predict(points, labels)
        return masks.reshape(-1, *masks.shape[-2:]).astype(bool)

    return work


def _prompts_ours(order: dict) -> Work:
    segmenter, picture = ImageSegmenter(_ours(order)), _picture(order)
    embedded = segmenter.embed([picture])
    prompts = [Prompt(points=[point], labels=[1]) for point in _points(order, picture)]
    return lambda: segmenter.segment(embedded, [prompts])[0].masks.flatten(0, 1).numpy()


def _prompts_transformers(order: dict) -> Work:
    side, picture = _transformers(order), _picture(order)
    embedded = side.encode(picture)
    points = _points(order, picture)
    return lambda: side.segment(embedded, points, picture.shape[:2])


# --- all masks


def _masks_reference(order: dict) -> Work:
    from oracle import mask_generator

    generator, picture = mask_generator(_reference(order)), _picture(order)
    return lambda: np.array([record["segmentation"] for record in generator.generate(picture)])


def _masks_ours(order: dict) -> Work:
    generator, picture = MaskGenerator(_ours(order), AutoMaskConfig()), _picture(order)
    return lambda: np.array([mask.decode() for mask in generator.generate([picture])[0]])


# --- track


def _clip(order: dict) -> list[np.ndarray]:
    """The picture, drifting by a few pixels a frame."""
    picture = Image.fromarray(_picture(order)).resize((960, 640))
    return [np.array(picture.crop((i * 4, i * 2, i * 4 + 854, i * 2 + 480))) for i in range(FRAMES)]


def _frame_prompts(order: dict, frames: list[np.ndarray]) -> list[FramePrompt]:
    points = _points({**order, "count": (int((order["count"] - 1) ** 0.5) + 1) ** 2}, frames[0])
    return [
        FramePrompt(0, number, Prompt(points=[tuple(map(float, point))], labels=[1]))
        for number, point in enumerate(points[: order["count"]])
    ]


def _track_reference(order: dict) -> Work:
    from reference_video import prompt, propagate, start, write_frames

    model, frames = _reference(order, video=True), _clip(order)
    folder = write_frames(frames, Path(order["folder"]) / "clip")
    prompts = _frame_prompts(order, frames)

    def work() -> np.ndarray:
        state = start(model, folder)
        for item in prompts:
            prompt(model, state, item)
        found = propagate(model, state)
        return torch.cat([found[frame] > 0 for frame in sorted(found)]).numpy()

    return work


def _track_ours(order: dict) -> Work:
    from reference_video import write_frames

    from sam2_core import TrackingConfig

    tracker, frames = VideoTracker(_ours(order), TrackingConfig(fill_hole_area=0)), _clip(order)
    folder = write_frames(frames, Path(order["folder"]) / "clip")
    prompts = _frame_prompts(order, frames)
    return lambda: torch.cat([f.masks for f in tracker.track(folder, prompts)]).numpy()


# --- run lengths


def _blobs(order: dict) -> torch.Tensor:
    """Masks with wavy outlines, as found masks have them: bool [N, 720, 1280]."""
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(order["count"], 1, 9, 16, generator=generator)
    return torch.cat(
        [
            torch.nn.functional.interpolate(part, (720, 1280), mode="bicubic")[:, 0] > 0.7
            for part in low.split(50)
        ]
    )


def _runs_reference(order: dict) -> Work:
    mask_to_rle_pytorch = import_module("sam2.utils.amg").mask_to_rle_pytorch

    masks = _blobs(order)

    def work() -> None:
        mask_to_rle_pytorch(masks)

    return work


def _runs_ours(order: dict) -> Work:
    from ops import encode_run_lengths

    masks = _blobs(order)

    def work() -> None:
        encode_run_lengths(masks)

    return work


_KEPT: list[Any] = []  # what was decoded, so that memory counts alike on both sides


def _unruns_reference(order: dict) -> Work:
    amg = import_module("sam2.utils.amg")  # not there where types are checked

    runs = amg.mask_to_rle_pytorch(_blobs(order))

    def work() -> None:
        _KEPT.extend(amg.rle_to_mask(one) for one in runs)

    return work


def _unruns_ours(order: dict) -> Work:
    from ops import decode_run_lengths, encode_run_lengths

    runs = encode_run_lengths(_blobs(order))

    def work() -> None:
        _KEPT.append(decode_run_lengths(runs))

    return work


PREPARE: dict[tuple[str, str], Callable[[dict], Work]] = {
    ("encode", "reference"): _encode_reference,
    ("encode", "transformers"): _encode_transformers,
    ("encode", "ours"): _encode_ours,
    ("prompts", "reference"): _prompts_reference,
    ("prompts", "transformers"): _prompts_transformers,
    ("prompts", "ours"): _prompts_ours,
    ("masks", "reference"): _masks_reference,
    ("masks", "ours"): _masks_ours,
    ("track", "reference"): _track_reference,
    ("track", "ours"): _track_ours,
    ("rle encode", "reference"): _runs_reference,
    ("rle encode", "ours"): _runs_ours,
    ("rle decode", "reference"): _unruns_reference,
    ("rle decode", "ours"): _unruns_ours,
}


if __name__ == "__main__":
    main()
