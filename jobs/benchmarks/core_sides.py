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

from ops import RunLengths
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
    task = order["what"], order["side"]
    work = PREPARE[task](order)
    before = _resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    peak = _resident_mib("VmHWM") - before
    answer = COMPARABLE.get(task, _packed)(result)  # not a part of what was measured
    np.savez_compressed(Path(order["folder"]) / f"{order['side']}.npz", **cast("Any", answer))
    note = f"{len(answer['masks'])} masks" if "masks" in answer else ""
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "note": note}))


Work = Callable[[], Any]
Answer = dict[str, np.ndarray]  # "masks", eight pixels a byte, or "features"


def _packed(masks: Any) -> Answer:  # noqa: ANN401 an array, a tensor or a list of either
    return {"masks": np.array([np.packbits(np.asarray(mask)) for mask in masks])}


def _features(coarse: torch.Tensor) -> Answer:
    """The level that prompts and memory look at, with the embedding that stands for no memory."""
    return {"features": coarse[0].float().cpu().numpy()}


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

    def work() -> torch.Tensor:
        predictor.set_image(picture)
        return predictor.get_image_embedding()

    return work


def _encode_ours(order: dict) -> Work:
    segmenter, picture = ImageSegmenter(_ours(order)), _picture(order)

    def work() -> torch.Tensor:
        embedding = segmenter.embed([picture]).embedding
        lacks_memory = embedding.coarse_BPC + segmenter.model.no_memory.detach()
        return dataclasses.replace(embedding, coarse_BPC=lacks_memory).coarse_map()

    return work


def _encode_transformers(order: dict) -> Work:
    side, picture = _transformers(order), _picture(order)
    return lambda: side.encode(picture)[-1]


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
    return lambda: mask_to_rle_pytorch(masks)


def _unpacked_reference(runs: list[dict]) -> Answer:
    amg = import_module("sam2.utils.amg")
    return _packed(amg.rle_to_mask(one) for one in runs)


def _runs_ours(order: dict) -> Work:
    from ops import encode_run_lengths

    masks = _blobs(order)
    return lambda: encode_run_lengths(masks)


def _unpacked_ours(runs: RunLengths) -> Answer:
    """By pycocotools from our strings: our own decoder would undo what our encoder did wrong."""
    from pycocotools import mask as pycoco

    from ops import to_coco_strings

    size = [runs.height, runs.width]
    return _packed(
        pycoco.decode(cast("Any", {"size": size, "counts": counts.encode()}))
        for counts in to_coco_strings(runs)
    )


def _unruns_reference(order: dict) -> Work:
    amg = import_module("sam2.utils.amg")  # not there where types are checked

    runs = amg.mask_to_rle_pytorch(_blobs(order))
    return lambda: [amg.rle_to_mask(one) for one in runs]


def _unruns_ours(order: dict) -> Work:
    from ops import decode_run_lengths, encode_run_lengths

    runs = encode_run_lengths(_blobs(order))
    return lambda: decode_run_lengths(runs)


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


# What is not masks when it has been measured becomes what can be compared; the rest is packed.
COMPARABLE: dict[tuple[str, str], Callable[[Any], Answer]] = {
    ("encode", "reference"): _features,
    ("encode", "transformers"): _features,
    ("encode", "ours"): _features,
    ("rle encode", "reference"): _unpacked_reference,
    ("rle encode", "ours"): _unpacked_ours,
}


if __name__ == "__main__":
    main()
