"""How far decode.mode=rounded and scaled are from exact: what the model sees, and its masks.

    python jobs/benchmarks/decode_modes.py PHOTO.jpg ...

There are no trained weights here: masks are those of `nano` at its 256 px, whose weights are random
and wired so that a click finds what is near it. Their edges follow clicks more than pictures, so
that the IoU says that nothing breaks, and not how much a trained model would mind. The differences
of the input need no model, and are measured at 1024 px as well.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import numpy as np
import torch

from ops import resize_image_antialiased
from sam2_core import ImageSegmenter, Prompt, ResizedPicture, load_sam2
from sam2ray.stages.decode import DecodedPicture, DecodeMode, PictureLimits, decode_picture

SIDES_PX, NANO_PX, CLICKS_A_SIDE = (1024, 256), 256, 6
MODES: tuple[DecodeMode, ...] = ("rounded", "scaled")
Pixels = np.ndarray[Any, Any]


def main(photos: list[str]) -> None:
    """Compare each photo's modes, and say how far they are apart."""
    segmenter = ImageSegmenter(load_sam2("nano"))
    print("photo, side in px, mode, PSNR in dB, largest difference of 255, mean and least IoU")
    for photo in photos:
        data = Path(photo).read_bytes()
        for side in SIDES_PX:
            exact = _decoded(data, "exact", side)
            for mode in MODES:
                other = _decoded(data, mode, side)
                words = _apart(_seen(exact, side), _seen(other, side))
                if side == NANO_PX:
                    overlaps = _overlaps(_masks(segmenter, exact), _masks(segmenter, other))
                    words += f", {overlaps.mean():.4f}, {overlaps.min():.4f}"
                print(f"{Path(photo).name}, {side}, {mode}, {words}", flush=True)


def _apart(ours: Pixels, others: Pixels) -> str:
    differences = 255 * np.abs(ours - others)
    error = float(np.sqrt(np.mean(differences**2)))
    if not error:
        return "the same, 0"
    return f"{20 * np.log10(255 / error):.1f}, {differences.max():.1f}"


def _decoded(data: bytes, mode: DecodeMode, side: int) -> DecodedPicture:
    return decode_picture(data, mode=mode, model_px=side, limits=PictureLimits())


def _seen(picture: DecodedPicture, side: int) -> Pixels:
    """What the model sees, in 0..1; where a picture travels whole, the actor resizes it exactly."""
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)
    as_shares = pixels.float() if pixels.is_floating_point() else pixels.float().div(255)
    return (as_shares if picture.resized else resize_image_antialiased(as_shares, side)).numpy()


def _masks(segmenter: ImageSegmenter, picture: DecodedPicture) -> Pixels:
    """Three masks of each click of a grid."""
    height, width = picture.size_hw
    steps = (np.arange(CLICKS_A_SIDE) + 0.5) / CLICKS_A_SIDE
    clicks = [Prompt(points=[(x * width, y * height)], labels=[1]) for y in steps for x in steps]
    seen = ResizedPicture(
        np.ascontiguousarray(_seen(picture, NANO_PX).transpose(1, 2, 0)), (height, width)
    )
    (found,) = segmenter.segment([seen], [clicks])
    return np.asarray(found.masks)


def _overlaps(ours: Pixels, others: Pixels) -> Pixels:
    both = (ours & others).sum((-2, -1))
    either = (ours | others).sum((-2, -1))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.set_grad_enabled(False)
    main(sys.argv[1:])
