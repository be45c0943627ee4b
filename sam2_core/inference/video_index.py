"""Open a video file and tell its frames apart: when each is shown, and whether the file is whole.

Packets are read, not decoded; video_file.py turns frames into pictures.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import FrameSourceError
from .containers.breaks import find_break
from .containers.broken_bytes import unheard
from .containers.packets import PacketGate, rule_of

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# Only in these do frames keep their times after a seek; in others, AVI for one, the numbers that a
# decoder gives depend on where it began, and a wrong picture would pass for the right one.
_SOUGHT_IN = ("mov", "matroska")
_TRUE_TIMES = (*_SOUGHT_IN, "gif")  # of a GIF each picture builds on those before

_PACKETS_A_REPORT = 256
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES_WITH_FRAMES = (b"mdat", b"moof")
_VP8_IS_SHOWN = 0x10
_NO_TIMES = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """The frames of a file in the order in which they are shown; times in units of the stream."""

    times: Sequence[int]  # of each frame; without true times just its number
    key_times: Sequence[int]
    has_true_times: bool  # else a packet need not become a frame: their number is an estimate
    loss: str | None = None  # what is known to be missing behind the last frame
    ends_at: int | None = None  # the byte of the first packet that is not as it should be
    frames_per_s: float | None = None  # on average
    unit_s: float | None = None  # of times; None where these are numbers
    shown_at: Sequence[int] | None = None  # what packets say where times are but numbers

    def seconds(self, frame: int) -> float | None:
        """When a frame is shown, from the start of the video."""
        if self.unit_s is not None:
            return (self.times[frame] - self.times[0]) * self.unit_s
        return frame / self.frames_per_s if self.frames_per_s else None

    @property
    def seeks(self) -> bool:
        """Whether decoding may begin anywhere but at the start."""
        return self.has_true_times and len(self.key_times) > 1

    def number_at(self, time: int | None) -> int | None:
        """The frame that is shown at a time; None if none begins then."""
        if time is None:
            return None
        number = bisect_left(self.times, time)
        return number if number < len(self.times) and self.times[number] == time else None

    def is_behind(self, packet: av.Packet) -> bool:
        """Whether a packet lies behind what is broken, or is that itself."""
        return self.ends_at is not None and (packet.pos or 0) >= self.ends_at


def open_video(path: Path) -> InputContainer:
    """Open a file that holds a video stream."""
    try:
        container = open_container(path)
    except decoding_errors() as error:
        raise FrameSourceError(f"{path}: not a video that can be read ({error}).") from error
    lack = _lack(container)
    if lack:
        container.close()
        raise FrameSourceError(f"{path}: {lack}.")
    return container


def open_container(path: Path) -> InputContainer:
    """Open any file that FFmpeg knows, with its log turned off: all files here are opened so.

    Where PyAV hands the log to Python, as torchvision has it do, each line of a decoder's threads
    waits for the interpreter's lock; a decoder that is closed holds it and waits for its threads.
    """
    import av
    import av.logging

    if av.logging.get_level() is not None:
        av.logging.set_level(None)
    return av.open(str(path))


def _lack(container: InputContainer) -> str | None:
    if not container.streams.video:
        return "holds no video stream"
    if container.streams.video[0].codec_context is None:  # pyright: ignore[reportUnnecessaryComparison]
        return "no decoder is known for its video stream"
    return None


def decoding_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises on a file that is damaged."""
    from av.error import FFmpegError

    return (FFmpegError, OSError, ValueError)


def read_index(path: Path, on_progress: Callable[[], None] = unheard) -> VideoIndex:
    """Go through the packets of the first video stream, up to the first that is broken.

    All of a long file is read for that: `on_progress` is called again and again, and what it
    raises ends the reading.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        tally = _Tally(hides_frames=codec.name == "vp8", announced=stream.frames)
        keeps_times = container.format.name.startswith(_TRUE_TIMES)
        is_sought_in = container.format.name.startswith(_SOUGHT_IN)
        rate = float(stream.average_rate) if stream.average_rate else None
        unit_s = float(stream.time_base) if stream.time_base else None
        gate = PacketGate(
            find_break(path, stream.id, on_progress),
            rule_of(codec.name, codec.extradata),
            numbers_by_time=keeps_times,
        )
        try:
            for packet in gate.passing(container.demux(stream)):
                tally.add(packet)
                if tally.packets % _PACKETS_A_REPORT == 0:
                    on_progress()
        except decoding_errors() as error:
            raise FrameSourceError(f"{path}: cannot be read ({error}).") from error
    tally.fault, tally.ends_at = gate.fault, gate.ends_at
    times = tally.true_times()
    if keeps_times and times is not None:
        index = replace(_index_by_time(path, tally, times), frames_per_s=rate, unit_s=unit_s)
        return index if is_sought_in else replace(index, key_times=index.times[:1])
    count = tally.shown if times is None else bisect_right(times, tally.safe_until())
    by_number = VideoIndex(
        range(count),
        (0,),
        has_true_times=False,
        frames_per_s=rate,
        ends_at=tally.ends_at,
        shown_at=times,
    )
    if tally.fault is not None:
        by_number = replace(by_number, loss=_words_of_loss(tally.fault, count, tally.announced))
    return _refuse_empty(path, by_number)


@dataclass(slots=True)
class _Tally:
    """What packets say, one after the other, in the order of decoding."""

    hides_frames: bool
    announced: int  # packets that the container's header counts; 0: it does not say
    packets: int = 0
    shown: int = 0
    times: array[int] = field(default_factory=lambda: array("q"))
    key_times: array[int] = field(default_factory=lambda: array("q"))
    start: int | None = None  # the time of the first packet, if decoding can begin there
    next_decoding: int | None = None  # no packet that follows is shown earlier
    torn: int | None = None  # the time of the last packet, if only part of it is there
    fault: str | None = None  # why packets behind the last one do not count
    ends_at: int | None = None  # and where these begin

    def add(self, packet: av.Packet) -> None:
        time = packet.pts
        if not self.packets and packet.is_keyframe:
            self.start = time
        self.packets += 1
        self.torn = time if packet.is_corrupt else None
        if packet.dts is not None:
            self.next_decoding = packet.dts + (0 if packet.is_corrupt else packet.duration or 0)
        if packet.is_discard or (self.hides_frames and not _is_shown(packet)):
            return
        self.shown += 1
        if time is not None:
            self.times.append(time)
            if packet.is_keyframe:
                self.key_times.append(time)

    def true_times(self) -> array[int] | None:
        """When frames are shown, in order; None if some share a time or have none."""
        if len(self.times) < self.shown:
            return None
        times = np.sort(np.frombuffer(self.times, np.int64)) if self.times else _NO_TIMES
        return None if (np.diff(times) == 0).any() else array("q", times.tobytes())

    def safe_until(self) -> float:
        """Up to when no frame is missing."""
        if self.fault is None or self.next_decoding is None:
            return inf
        return self.next_decoding


def _is_shown(packet: av.Packet) -> bool:
    """Whether a packet of VP8 becomes a frame; some are for reference only."""
    return bool(memoryview(packet)[0] & _VP8_IS_SHOWN)


def _index_by_time(path: Path, tally: _Tally, times: array[int]) -> VideoIndex:
    size, announced_size = path.stat().st_size, announced_bytes(path)
    whole_packets = tally.packets - (tally.torn is not None)
    is_cut = size < announced_size and not 0 < tally.announced <= whole_packets
    if is_cut or tally.fault:
        # Packets come in the order of decoding: of what is shown later some, but not all are there.
        latest = tally.next_decoding
        times = times[:1] if latest is None else times[: bisect_right(times, latest)]
    if (is_cut or tally.fault) and tally.torn is not None and tally.torn in times:
        times.remove(tally.torn)
    if times and (tally.start is None or tally.start > times[0]):
        times = times[bisect_left(times, _first_decoded(path)) :]
    fault = tally.fault
    if fault is None and is_cut:
        fault = f"the file is cut off after {size} of {announced_size} bytes"
    loss = None if fault is None else _words_of_loss(fault, len(times), tally.announced)
    keys = array("q", sorted(tally.key_times)) or times[:1]
    index = VideoIndex(times, keys, has_true_times=True, loss=loss, ends_at=tally.ends_at)
    return _refuse_empty(path, index)


def _words_of_loss(fault: str, frames: int, announced: int) -> str:
    of_all = f" of {announced}" if announced else ""
    return f"{fault}, and {frames}{of_all} frames can be read. Fetch it again to have what follows."


def _refuse_empty(path: Path, index: VideoIndex) -> VideoIndex:
    if not len(index.times):
        raise FrameSourceError(f"{path}: {index.loss or 'its video stream has no frame.'}")
    return index


def _first_decoded(path: Path) -> int:
    """When the first frame is shown that comes out; those before it need one that is missing."""
    with open_video(path) as container:
        try:
            first = next(container.decode(container.streams.video[0]), None)
        except decoding_errors() as error:
            raise FrameSourceError(
                f"{path}: its first frame cannot be decoded ({error})."
            ) from error
    if first is None or first.pts is None:
        raise FrameSourceError(f"{path}: no frame of its video stream can be decoded.")
    return first.pts


# --- how long a file says that it is


def announced_bytes(path: Path) -> int:
    """Where an MP4 or a Matroska file says that it ends; 0 if it does not say."""
    with path.open("rb") as file:
        is_matroska = file.read(4) == _EBML
        return _end_of_segment(file) if is_matroska else _end_of_boxes(file, path.stat().st_size)


def _end_of_boxes(file: IO[bytes], size: int) -> int:
    """MP4 is a row of boxes, each of which begins with its size and its name."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0 goes on to the end of the file; and what follows may be no box at all
            return 0
        end += length
        if end > size and name not in _BOXES_WITH_FRAMES:
            return 0
    return end


def _end_of_segment(file: IO[bytes]) -> int:
    """Matroska is a header and a segment that holds all the rest."""
    file.seek(_read_number(file), 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _read_number(file)
    return file.tell() + length if length else 0


def _read_number(file: IO[bytes]) -> int:
    """A number as Matroska writes it, as many bytes as it has zero bits in front; 0: not known."""
    first = int.from_bytes(file.read(1), "big")
    more = 8 - first.bit_length()
    number = int.from_bytes(bytes([first & (0x7F >> more)]) + file.read(more), "big")
    return 0 if number == (1 << 7 * (more + 1)) - 1 else number
