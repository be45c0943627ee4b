"""A source of frames, read by a thread that is some frames ahead of who uses them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator

import numpy as np

from sam2_core.inference.frame_sources import FrameSource
from sam2_core.inference.preprocess import ResizedPicture, SizedPicture

from .clip_frames import as_broken

_FRAMES = 16
_BYTES = 96 << 20  # one frame may have more, and comes alone


class ReadAhead(FrameSource):
    """Another source, whose frames wait in memory when they are asked for.

    An error comes where it would have come without a thread: behind the frames before it.
    """

    def __init__(
        self, source: FrameSource, *, most_frames: int = _FRAMES, most_bytes: int = _BYTES
    ) -> None:
        super().__init__(source.name)
        self._source = source
        self._limits = (most_frames, most_bytes)
        self._open: set[_Channel] = set()
        self._ended = False
        self.read_s = 0.0  # that threads spent on reading
        self.waited_s = 0.0  # that users of frames spent waiting for them

    def length(self) -> int | None:
        """As the source says."""
        return self._source.length()

    def loss(self) -> str | None:
        """As the source says; nothing is missing behind a deliberate end."""
        return None if self._ended else self._source.loss()

    def seconds(self, frame: int) -> float | None:
        """As the source says."""
        return self._source.seconds(frame)

    def frames_per_s(self) -> float | None:
        """As the source says."""
        return self._source.frames_per_s()

    def size_hw(self) -> tuple[int, int]:
        """As the source says."""
        return self._source.size_hw()

    def end(self) -> None:
        """Give no further frame, and let all threads end."""
        self._ended = True
        for channel in tuple(self._open):
            channel.close()

    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Frames by index; the thread ends with the last one, or when nobody wants more."""
        if self._ended:
            return
        channel = _Channel(*self._limits)
        thread = threading.Thread(
            target=self._fill, args=(channel, indices), daemon=True, name="read-ahead"
        )
        self._open.add(channel)
        thread.start()
        try:
            while (frame := self._take(channel)) is not None:
                yield frame
        finally:
            self._open.discard(channel)
            channel.close()
            thread.join()

    def _take(self, channel: _Channel) -> SizedPicture | None:
        start = time.perf_counter()
        frame = channel.take()
        self.waited_s += time.perf_counter() - start
        return frame

    def _fill(self, channel: _Channel, indices: range) -> None:
        try:
            start = time.perf_counter()
            for frame in self._source.read(indices):
                self.read_s += time.perf_counter() - start
                if not channel.put(frame):
                    break
                start = time.perf_counter()
            channel.end(None)
        except Exception as error:  # noqa: BLE001 it is raised where frames are taken
            channel.end(as_broken(error))


class _Channel:
    """Frames on their way from one thread to another, few at a time."""

    def __init__(self, most_frames: int, most_bytes: int) -> None:
        self._most_frames, self._most_bytes = most_frames, most_bytes
        self._frames: deque[SizedPicture] = deque()
        self._bytes = 0
        self._error: Exception | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: SizedPicture) -> bool:
        """Hand a frame over when there is room; False if nobody takes it any more."""
        size = _bytes_of(frame)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(size))
            if not self._closed:
                self._frames.append(frame)
                self._bytes += size
                self._changed.notify_all()
            return not self._closed

    def _has_room(self, size: int) -> bool:
        fits = len(self._frames) < self._most_frames and self._bytes + size <= self._most_bytes
        return fits or not self._frames

    def end(self, error: Exception | None) -> None:
        """Say that no frame follows, and why."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> SizedPicture | None:
        """The next frame; None at the end, or the error that is there instead."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ended or self._frames)
            if self._closed:
                return None
            if self._frames:
                frame = self._frames.popleft()
                self._bytes -= _bytes_of(frame)
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Take no more."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()


def _bytes_of(frame: SizedPicture) -> int:
    pixels: np.ndarray = frame.pixels if isinstance(frame, ResizedPicture) else frame
    return pixels.nbytes
