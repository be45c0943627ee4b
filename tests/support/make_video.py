"""Video files whose frames carry their numbers as bars, so that a wrong one shows."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
HEIGHT, WIDTH = 48, 128  # a bar of sixteen pixels a bit


def numbered(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture that says its number in white and black bars."""
    bits = (number >> np.arange(BITS)) & 1
    line = np.repeat(bits * 215 + 20, -(-width // BITS))[:width].astype(np.uint8)
    return np.broadcast_to(line[None, :, None], (height, width, 3)).copy()


def number_of(frame: np.ndarray) -> int:
    width = frame.shape[1]
    step = -(-width // BITS)
    bars = [frame[:, i * step : min((i + 1) * step, width)].mean() for i in range(BITS)]
    return sum((level > 127) << i for i, level in enumerate(bars))


def write_video(
    path: Path,
    count: int = 40,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (HEIGHT, WIDTH),
    pixels: str = "yuv420p",
    gop: int = 12,
    b_frames: int = 0,
    times: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if codec == "libx264":
            stream.options = {"crf": "20", "sc_threshold": "0", "bf": str(b_frames)}
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number, *size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn_video(path: Path, degrees: int) -> None:
    """Write a display matrix into the track header, as telephones do."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd")
    assert content[header + 4] == 0, "version 1 has longer fields"
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = (cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30)
    start = header + 4 + 4 + 20 + 8 + 8
    content[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
