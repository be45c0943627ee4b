"""Frames of a video file, forward or backward, in memory that does not grow with its length."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FrameSourceError
from .frame_sources import FrameSource
from .preprocess import RgbArray

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_BACKWARD_CHUNK = 32  # frames decoded ahead when reading backward


# Only in these do frames keep their times after a seek; in others, AVI for one, the numbers that a
# decoder gives depend on where it began, and a wrong picture would pass for the right one.
_TRUE_TIMES = ("mov", "matroska")


@dataclass(frozen=True, slots=True)
class _Index:
    """When each frame is shown, in units of the stream, and where decoding may start."""

    times: tuple[int, ...]
    key_times: tuple[int, ...]


class VideoFile(FrameSource):
    """Any file that PyAV decodes; frames count in the order in which they are shown."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._index: _Index | None = None

    def length(self) -> int:
        """How many frames the file announces packet by packet."""
        return len(self._times().times)

    def fetch(self, indices: range) -> Iterator[RgbArray]:
        """Frames by index; backward in chunks, each decoded from the key frame before it."""
        if not indices:
            return
        if indices.step > 0:
            yield from self._forward(indices[0], indices[-1], indices.step)
            return
        for start in range(0, len(indices), _BACKWARD_CHUNK):
            part = indices[start : start + _BACKWARD_CHUNK]
            yield from reversed(list(self._forward(part[-1], part[0], -part.step)))

    def _forward(self, first: int, last: int, step: int) -> Iterator[RgbArray]:
        wanted = range(first, last + 1, step)
        found = self._decode(first, last, seeks=first > 0)
        head = next(found, None)
        if first > 0 and (head is None or head[0] > first):
            # Some containers seek past what was asked for: then there is no short cut.
            found = self._decode(first, last, seeks=False)
            head = next(found, None)
        for number, frame in chain([head] if head else [], found):
            if number in wanted:
                yield to_rgb(frame)

    def _decode(self, first: int, last: int, *, seeks: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames up to `last`, from a key frame before `first` or from the start."""
        index = self._times()
        with self._open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if seeks and _has_true_times(container):
                key = index.key_times[max(0, bisect_right(index.key_times, index.times[first]) - 1)]
                container.seek(key, stream=stream, backward=True)
            for number, frame in self._numbered(container, stream, index):
                if number > last:
                    return
                yield number, frame

    def _numbered(
        self,
        container: InputContainer,
        stream: VideoStream,
        index: _Index,
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        numbers = {time: number for number, time in enumerate(index.times)}
        try:
            for count, frame in enumerate(container.decode(stream)):
                if not _has_true_times(container):  # never sought in: decoders give shown order
                    yield count, frame
                elif frame.pts in numbers:
                    yield numbers[frame.pts], frame
        except _decoding_errors() as error:
            raise FrameSourceError(f"{self.path}: decoding broke off ({error}).") from error

    def _times(self) -> _Index:
        if self._index is None:
            self._index = self._read_index()
        return self._index

    def _read_index(self) -> _Index:
        """Read packets without decoding them."""
        times, keys = [], []
        with self._open() as container:
            stream = container.streams.video[0]
            try:
                for packet in container.demux(stream):
                    if packet.pts is None or packet.is_discard:
                        continue
                    times.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append(packet.pts)
            except _decoding_errors() as error:
                raise FrameSourceError(f"{self.path}: cannot be read ({error}).") from error
        if not times:
            raise FrameSourceError(f"{self.path}: its video stream has no frame.")
        return _Index(tuple(sorted(set(times))), tuple(sorted(keys)) or (min(times),))

    def _open(self) -> InputContainer:
        import av

        try:
            container = av.open(str(self.path))
        except _decoding_errors() as error:
            raise FrameSourceError(
                f"{self.path}: not a video that can be read ({error})."
            ) from error
        if not container.streams.video:
            container.close()
            raise FrameSourceError(f"{self.path}: holds no video stream.")
        return container


def _has_true_times(container: InputContainer) -> bool:
    return container.format.name.startswith(_TRUE_TIMES)


def to_rgb(frame: av.VideoFrame) -> RgbArray:
    """A decoded frame as it is shown: HWC uint8, turned upright."""
    array = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def _decoding_errors() -> tuple[type[Exception], ...]:
    from av.error import FFmpegError

    return (FFmpegError, OSError, ValueError)
