"""Frames of a video file, forward or backward, in memory that does not grow with its length."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import FrameSourceError
from .containers.broken_bytes import unheard
from .frame_sources import FrameSource
from .preprocess import ResizedPicture, RgbArray, SizedPicture
from .video_index import VideoIndex, decoding_errors, open_video, read_index

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_BACKWARD_CHUNK = 32  # frames decoded ahead when reading backward, and
_BACKWARD_BYTES = 1 << 28  # what they may take
_PROVEN = 8  # frames that come when packets say, before one that does not says something
_MOST_PASSED = 500  # frames that a decoder may pass over until a key frame


class VideoFile(FrameSource):
    """Any file that PyAV decodes; frames count in the order in which they are shown.

    Frames that are lost are never passed over in silence, and those before them come first: a file
    is read up to the first place where it is damaged, and `loss` tells what it lacks. In MP4 and
    Matroska each packet is a frame: there a frame that cannot be decoded is an error. Of other
    containers packets can be counted but not relied on: frames that are missing at the end of a
    file that looks whole are a warning.
    """

    def __init__(
        self,
        path: Path,
        *,
        resized_to: int | None = None,
        on_progress: Callable[[], None] = unheard,
    ) -> None:
        """With `resized_to`, frames come as squares of that side, scaled while colours are.

        `on_progress` is called again and again while packets are counted.
        """
        super().__init__(str(path))
        self.path = path
        self._side = resized_to
        self._on_progress = on_progress

    def length(self) -> int:
        """How many frames there are, going by packets."""
        return len(self._index.times)

    def loss(self) -> str | None:
        """What a file that was cut off, or is damaged, lacks."""
        return self._index.loss

    def seconds(self, frame: int) -> float | None:
        """When a frame is shown."""
        return self._index.seconds(frame)

    def frames_per_s(self) -> float | None:
        """Frames a second on average."""
        return self._index.frames_per_s

    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Frames by index; backward in chunks, each decoded from the key frame before it."""
        if indices.step > 0:
            given = 0
            for frame in self._forward(indices):
                yield frame
                given += 1
            self._report_shortage(indices[given:], is_bearable=given > 0)
            return
        step = self._backward_chunk()
        for start in range(0, len(indices), step):
            part = indices[start : start + step][::-1]
            frames = list(self._forward(part))
            self._report_shortage(part[len(frames) :], is_bearable=False)
            yield from reversed(frames)

    def _backward_chunk(self) -> int:
        height, width = self.size_hw()
        return max(1, min(_BACKWARD_CHUNK, _BACKWARD_BYTES // (height * width * 3)))

    def _report_shortage(self, missing: range, *, is_bearable: bool) -> None:
        if not missing:
            return
        if self._index.has_true_times:
            raise self._damaged(missing[0])
        if self._index.loss is not None and is_bearable:  # it says as much
            return
        shortage = (
            f"{self.path}: its packets announce {self.length()} frames, but decoding ended before "
            f"frame {missing[0]}. If more should be there, fetch the file again."
        )
        if not is_bearable:
            raise FrameSourceError(shortage)
        warnings.warn(shortage, stacklevel=2)

    def _damaged(self, number: int) -> FrameSourceError:
        return FrameSourceError(
            f"{self.path}: frame {number} cannot be decoded, its data are damaged; those "
            f"before it are as they should be. {self._way_out()}"
        )

    def _way_out(self) -> str:
        return (
            "Fetch the file again, or leave out what is damaged: "
            f"ffmpeg -i {self.path.name} mended.mp4"
        )

    def _forward(self, indices: range) -> Iterator[SizedPicture]:
        """Frames by index, up to the first one that does not come."""
        if not indices:
            return
        seeks = indices[0] > 0 and self._index.seeks
        found = self._decode(indices, seeks=seeks)
        head = next(found, None)
        if seeks and (head is None or head[0] > indices[0]):
            # Some containers seek past what was asked for: then there is no short cut.
            found = self._decode(indices, seeks=False)
            head = next(found, None)
        wanted = (item for item in chain([head] if head else [], found) if item[0] in indices)
        for index, (number, frame) in zip(indices, wanted, strict=False):
            if number != index:
                return
            yield to_rgb(frame) if self._side is None else to_square(frame, self._side)

    def _decode(self, indices: range, *, seeks: bool) -> Iterator[tuple[int, av.VideoFrame]]:
        """Numbered frames up to the last index, from a key frame before the first or the start."""
        index = self._index
        damage = decoding_errors()  # now: when a generator is closed at exit, nothing is imported
        number = -1
        with open_video(self.path) as container:
            stream = container.streams.video[0]
            # Threads for frames hold some back, which do not come where nothing follows.
            stream.thread_type = "SLICE" if self._ends_open else "AUTO"
            if seeks:
                before = bisect_right(index.key_times, index.times[indices[0]]) - 1
                key = index.key_times[max(0, before)]
                container.seek(key, stream=stream, backward=True)
            try:
                for number, frame in self._numbered(container, stream):
                    if number > indices[-1]:
                        return
                    if frame.is_corrupt and number >= indices[0]:
                        if seeks:  # its neighbours may be before the key frame
                            return
                        raise self._damaged(number)
                    yield number, frame
            except FrameSourceError:  # says its place already
                raise
            except damage as error:
                place = f"behind frame {number}" if number >= 0 else "before its first frame"
                raise FrameSourceError(
                    f"{self.path}: decoding broke off {place} ({error}). {self._way_out()}"
                ) from error

    def _numbered(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        if not self._index.has_true_times:  # never sought in: decoders give shown order
            yield from self._counted(self._decoded(container, stream))
            return
        for frame in self._decoded(container, stream):
            number = self._index.number_at(frame.pts)
            if number is not None:
                yield number, frame

    def _counted(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames by their number; one that a decoder passes over in silence ends them.

        That shows by the times of those behind it, where decoders hand these on: not of pictures
        in two packets, for one.
        """
        times = self._index.shown_at
        hands_on = times is not None
        for number, frame in enumerate(frames):
            if hands_on and times and frame.pts not in times[number : number + 1]:
                hands_on = False
                if number >= _PROVEN and frame.pts in times[number : number + _MOST_PASSED]:
                    raise self._damaged(number)
            yield number, frame

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        for packet in container.demux(stream):
            is_over = not packet.size or self._index.is_behind(packet)
            if is_over and self._ends_open:
                return
            if is_over:
                yield from stream.decode(None)
                return
            # A torn packet is not only no frame: it would cost those that threads hold back.
            if not (packet.is_corrupt and self._index.loss):
                yield from packet.decode()

    @property
    def _ends_open(self) -> bool:
        """Whether frames are counted, and some may be missing among the last.

        A decoder gives them in order as long as it is not told that nothing follows.
        """
        return self._index.ends_at is not None and not self._index.has_true_times

    @cached_property
    def _index(self) -> VideoIndex:
        return read_index(self.path, self._on_progress)


def to_rgb(frame: av.VideoFrame) -> RgbArray:
    """A decoded frame as it is shown: HWC uint8, turned upright."""
    return _upright(frame, np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8))


def to_square(frame: av.VideoFrame, side: int) -> ResizedPicture:
    """A decoded frame at a model's side, in one pass over its pixels."""
    small = frame.reformat(width=side, height=side, format="rgb24", interpolation="BICUBIC")
    pixels = _upright(frame, np.asarray(small.to_ndarray(), dtype=np.uint8))
    lies = _quarter_turns(frame) % 2
    size_hw = (frame.width, frame.height) if lies else (frame.height, frame.width)
    return ResizedPicture(pixels, size_hw)


def _upright(frame: av.VideoFrame, array: RgbArray) -> RgbArray:
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(array, turns)) if turns else array


def _quarter_turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4
