"""Video files that are broken in known ways, and what is to be said of each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from damaged_videos import RECIPES, damaged, write
from make_archive import jpeg
from make_video import write_video

FRAMES = 30


def write_sound(path: Path, codec: str = "aac") -> Path:
    """Half a second of silence, and nothing to see."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000)
        for number in range(8):
            samples = np.zeros((1, 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, number * 1024
            frame.time_base = Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _cut(path: Path, part: float, flags: str | None = "faststart") -> None:
    """A clip of whose pictures only the first part is there."""
    options = {"movflags": flags} if flags else None
    content = write_video(path, FRAMES, container_options=options).read_bytes()
    start = max(0, content.find(b"mdat"))
    path.write_bytes(content[: start + int((len(content) - start) * part)])


def _lose_bytes(path: Path, recipe: str) -> None:
    """A file that lacks some bytes in its middle."""
    content = write(path, RECIPES[recipe], FRAMES, (48, 128)).read_bytes()
    path.write_bytes(damaged(content, "lost", 0.8))


def _without_index(path: Path) -> None:
    content = write_video(path, FRAMES).read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])


def _ended_by_force(path: Path) -> None:
    """A recording whose writer had no time for the index, nor for the length of its pictures."""
    _without_index(path)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") - 4
    content[start : start + 4] = bytes(4)
    path.write_bytes(content)


def _without_frames(path: Path) -> None:
    """A whole file with a video stream that no packet belongs to, beside some sound."""
    options = {"movflags": "frag_keyframe+empty_moov"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height, video.width, video.pix_fmt = 48, 128, "yuv420p"
        sound = container.add_stream("aac", rate=16_000)
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 16_000, number * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode())


def overwrite_frame(path: Path, number: int) -> None:
    """Write nonsense over the packet of one frame, in the order of decoding."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        position, size = packets[number].pos, packets[number].size
    content = bytearray(path.read_bytes())
    content[position : position + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(content)


def begin_late(path: Path, first: int = 5) -> None:
    """A recording that begins between two key frames."""
    source = write_video(path.with_suffix(".mp4"), FRAMES)
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None and number >= first:
                packet.stream = stream
                new.mux(packet)
    source.unlink()


def _broken_from_the_start(path: Path) -> None:
    write_video(path, FRAMES, gop=FRAMES)
    for number in range(FRAMES):
        overwrite_frame(path, number)


def _unknown_codec(path: Path) -> None:
    content = write_video(path, FRAMES).read_bytes()
    path.write_bytes(content.replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))


def _noise_behind_the_head(path: Path) -> None:
    head = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom")
    moov = struct.pack(">I4s", 408, b"moov") + np.random.default_rng(0).bytes(400)
    path.write_bytes(head + moov)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.mp4": (_bytes(b""), "truncated"),
    "text.mp4": (_bytes(b"This is not the video that you are looking for.\n"), "unsupported"),
    "page.mp4": (_bytes(b"<!DOCTYPE html><html><body>404</body></html>"), "unsupported"),
    "picture.mp4": (_bytes(jpeg()), "unsupported"),
    "playlist.mp4": (_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), "unsupported"),
    "list.mp4": (_bytes(b"ffconcat version 1.0\nfile /etc/passwd\n"), "unsupported"),
    "sound.mp4": (write_sound, "no_video_stream"),
    "sound.mkv": (write_sound, "no_video_stream"),
    "no frames.mp4": (_without_frames, "zero_frames"),
    "no frames.mkv": (_without_frames, "zero_frames"),
    "no index.mp4": (_without_index, "truncated"),
    "ended by force.mp4": (_ended_by_force, "truncated"),
    "no whole frame.mp4": (lambda path: _cut(path, 0.05), "truncated"),
    "all frames broken.mp4": (_broken_from_the_start, "corrupt"),
    "unknown codec.mp4": (_unknown_codec, "unsupported"),
    "noise.mp4": (_noise_behind_the_head, "corrupt"),
}
"""Of these no frame can be had: how they are written, and the ErrorClass."""

BROKEN_OFF: dict[str, Callable[[Path], object]] = {
    "cut.mp4": lambda path: _cut(path, 0.6),
    "fragments.mp4": lambda path: _cut(path, 0.6, "frag_keyframe+empty_moov"),
    "cut.mkv": lambda path: _cut(path, 0.6, None),
    "one broken frame.mp4": lambda path: overwrite_frame(write_video(path, FRAMES), 20),
    "late.ts": begin_late,
    "bytes lost.avi": lambda path: _lose_bytes(path, "avi"),
    "bytes lost.mkv": lambda path: _lose_bytes(path, "mkv"),
    "bytes lost.ts": lambda path: _lose_bytes(path, "ts"),
}
"""Of these the first frames are as they should be."""
