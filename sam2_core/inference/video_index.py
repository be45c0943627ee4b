"""Open a video file and tell its frames apart: when each is shown, and whether the file is whole.

Packets are read, not decoded; video_file.py turns frames into pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import FrameSourceError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# Only in these do frames keep their times after a seek; in others, AVI for one, the numbers that a
# decoder gives depend on where it began, and a wrong picture would pass for the right one.
_TRUE_TIMES = ("mov", "matroska")

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_BOXES_WITH_FRAMES = (b"mdat", b"moof")
_VP8_IS_SHOWN = 0x10


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """The frames of a file in the order in which they are shown; times in units of the stream."""

    times: tuple[int, ...]  # of each frame; without true times just its number
    key_times: tuple[int, ...]
    has_true_times: bool  # else a packet need not become a frame: their number is an estimate
    loss: str | None = None  # what is known to be missing behind the last frame
    frames_per_s: float | None = None  # on average
    unit_s: float | None = None  # of times; None where these are numbers

    def seconds(self, frame: int) -> float | None:
        """When a frame is shown, from the start of the video."""
        if self.unit_s is not None:
            return (self.times[frame] - self.times[0]) * self.unit_s
        return frame / self.frames_per_s if self.frames_per_s else None


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


def read_index(path: Path) -> VideoIndex:
    """Go through the packets of the first video stream."""
    with open_video(path) as container:
        stream = container.streams.video[0]
        tally = _Tally(hides_frames=stream.codec_context.name == "vp8", announced=stream.frames)
        keeps_times = container.format.name.startswith(_TRUE_TIMES)
        rate = float(stream.average_rate) if stream.average_rate else None
        unit_s = float(stream.time_base) if stream.time_base else None
        try:
            for packet in container.demux(stream):
                if packet.size:  # else it says that the stream has ended
                    tally.add(packet)
        except decoding_errors() as error:
            raise FrameSourceError(f"{path}: cannot be read ({error}).") from error
    if keeps_times and (times := tally.true_times()):
        return replace(_index_by_time(path, tally, times), frames_per_s=rate, unit_s=unit_s)
    by_number = VideoIndex(tuple(range(tally.shown)), (0,), has_true_times=False, frames_per_s=rate)
    return _refuse_empty(path, by_number)


@dataclass(slots=True)
class _Tally:
    """What packets say, one after the other, in the order of decoding."""

    hides_frames: bool
    announced: int  # packets that the container's header counts; 0: it does not say
    packets: int = 0
    shown: int = 0
    times: set[int] = field(default_factory=set)
    key_times: list[int] = field(default_factory=list)
    start: int | None = None  # the time of the first packet, if decoding can begin there
    next_decoding: int = 0  # no packet that follows is shown earlier
    torn: int | None = None  # the time of the last packet, if only part of it is there

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
            self.times.add(time)
            if packet.is_keyframe:
                self.key_times.append(time)

    def true_times(self) -> list[int]:
        """When frames are shown, in order; nothing if some share a time or have none."""
        return sorted(self.times) if len(self.times) == self.shown else []


def _is_shown(packet: av.Packet) -> bool:
    """Whether a packet of VP8 becomes a frame; some are for reference only."""
    return bool(memoryview(packet)[0] & _VP8_IS_SHOWN)


def _index_by_time(path: Path, tally: _Tally, times: list[int]) -> VideoIndex:
    size, announced_size = path.stat().st_size, announced_bytes(path)
    whole_packets = tally.packets - (tally.torn is not None)
    is_cut = size < announced_size and not 0 < tally.announced <= whole_packets
    if is_cut:
        # Packets come in the order of decoding: of what is shown later some, but not all are there.
        latest = tally.next_decoding
        times = [time for time in times if time <= latest and time != tally.torn]
    if times and (tally.start is None or tally.start > times[0]):
        first = _first_decoded(path)
        times = [time for time in times if time >= first]
    loss = None
    if is_cut:
        announced = f" of {tally.announced}" if tally.announced else ""
        loss = (
            f"the file is cut off after {size} of {announced_size} bytes, and {len(times)}"
            f"{announced} frames can be read. Fetch it again to have what follows."
        )
    keys = tuple(sorted(tally.key_times)) or tuple(times[:1])
    return _refuse_empty(path, VideoIndex(tuple(times), keys, has_true_times=True, loss=loss))


def _refuse_empty(path: Path, index: VideoIndex) -> VideoIndex:
    if not index.times:
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
