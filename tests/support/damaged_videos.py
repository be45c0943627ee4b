"""Video files of every container with bytes lost, added or overwritten, their frames numbered."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from make_video import numbered

FRAMES = 30
SIZE = (96, 128)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is written."""

    suffix: str
    codec: str
    pixels: str = "yuv420p"
    b_frames: int = 0
    sound: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    muxer: str | None = None  # None: by the suffix


FRAGMENTS = (("movflags", "frag_keyframe+empty_moov+default_base_moof"),)
RECIPES = {
    "mp4": Recipe("mp4", "libx264", b_frames=2, options=(("movflags", "faststart"),)),
    "mp4 fragments": Recipe("mp4", "libx264", b_frames=2, sound="aac", options=FRAGMENTS),
    "mov mjpeg": Recipe("mov", "mjpeg", "yuvj420p", options=(("movflags", "faststart"),)),
    "mkv": Recipe("mkv", "libx264", b_frames=2, sound="aac"),
    "mkv live": Recipe("mkv", "mpeg4", options=(("live", "1"),)),
    "webm": Recipe("webm", "libvpx"),
    "avi": Recipe("avi", "mpeg4", b_frames=2, sound="mp3"),
    "avi mjpeg": Recipe("avi", "mjpeg", "yuvj420p"),
    "ts": Recipe("ts", "libx264", b_frames=2, sound="aac"),
    "m2ts": Recipe("m2ts", "mpeg2video", options=(("mpegts_m2ts_mode", "1"),)),
    "mpg": Recipe("mpg", "mpeg2video", b_frames=2, sound="mp2"),
    "flv": Recipe("flv", "libx264", b_frames=2, sound="aac"),
    "ogv": Recipe("ogv", "libvpx"),
}


def write(path: Path, recipe: Recipe, frames: int = FRAMES, size: tuple[int, int] = SIZE) -> Path:
    """A file of numbered frames, the lower half of each noisy so that packets have some size."""
    rng = np.random.default_rng(0)
    options = dict(recipe.options)
    with av.open(str(path), "w", format=recipe.muxer, options=options) as container:
        picture: Any = container.add_stream(recipe.codec, rate=25)
        picture.height, picture.width = size
        picture.pix_fmt, picture.gop_size = recipe.pixels, 10
        picture.codec_context.max_b_frames = recipe.b_frames
        if recipe.codec == "libx264":
            picture.options = {"sc_threshold": "0", "bf": str(recipe.b_frames)}
        elif recipe.codec.startswith("libvpx"):
            picture.options = {"deadline": "realtime", "cpu-used": "8"}
        sound: Any = None
        if recipe.sound is not None:
            sound = container.add_stream(recipe.sound, rate=48_000, layout="mono")
        blocks = _noise(sound, recipe.sound)
        for number in range(frames):
            pixels = numbered(number, *size).astype(int)
            lower = pixels[size[0] // 2 :]
            lower += rng.integers(-20, 20, (*lower.shape[:2], 1))
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
            if sound:
                container.mux(sound.encode(next(blocks)))
        container.mux(picture.encode())
        if sound:
            container.mux(sound.encode())
    return path


def _noise(stream: Any, codec: str | None) -> Iterator[av.AudioFrame]:
    rng = np.random.default_rng(0)
    format_ = "s16" if codec == "mp2" else "fltp"
    number = 0
    while True:
        size = stream.codec_context.frame_size or 1152
        samples = rng.random((1, size)) * 0.2
        values = (samples * 2**15).astype(np.int16) if format_ == "s16" else samples
        block = av.AudioFrame.from_ndarray(
            values if format_ == "s16" else values.astype(np.float32), format_, "mono"
        )
        block.sample_rate, block.time_base = 48_000, Fraction(1, 48_000)
        block.pts = number * size
        yield block
        number += 1


def damaged(content: bytes, how: str, part: float, count: int = 2000) -> bytes:
    """A file of which some bytes in the middle are not what they were."""
    at = int(len(content) * part)
    noise = random.Random(1).randbytes(count)
    between = {"lost": b"", "added": noise + content[at : at + count], "overwritten": noise}
    between |= {"blank": bytes(count)}
    return content[:at] + between[how] + content[at + count :]
