"""Chosen frames of a video file or of a folder, as sources for the tracker, read ahead of it.

Frames are counted by their position among those that were chosen; `numbers` says which frame of the
source each is. Whatever goes wrong is a FrameSourceError: it ends its own clip and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from sam2_core import FrameSourceError
from sam2_core.inference.containers.broken_bytes import unheard
from sam2_core.inference.frame_sources import FrameSource
from sam2_core.inference.preprocess import SizedPicture
from sam2_core.inference.video_file import VideoFile

from ..errors import UnitFailed, failure_by_surprise, is_of_the_job
from ..records import ErrorClass, Failure
from .sampling import Sample, legs, select

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_PICTURES_AHEAD = 2  # for each thread that reads a folder


class BrokenClip(FrameSourceError):
    """A clip that cannot be read on, and why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def as_broken(error: Exception) -> Exception:
    """The error of a clip's source as one that ends this clip alone, unless it ends the run."""
    if isinstance(error, FrameSourceError) or is_of_the_job(error):
        return error
    if isinstance(error, UnitFailed):
        return BrokenClip(Failure(error.error_class, error.message))
    if isinstance(error, MemoryError):
        return BrokenClip(Failure(ErrorClass.OOM, f"decoding it: {error or 'out of memory'}"))
    return BrokenClip(failure_by_surprise(error))


class BoundedVideoFile(VideoFile):
    """A video file that is decoded by so many threads, and refuses frames beyond a size."""

    def __init__(
        self,
        path: Path,
        *,
        resized_to: int | None,
        threads: int,
        max_side: int,
        on_progress: Callable[[], None] = unheard,
    ) -> None:
        super().__init__(path, resized_to=resized_to, on_progress=on_progress)
        self._threads = threads
        self._max_pixels = max_side**2

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        codec = stream.codec_context
        codec.thread_count = self._threads  # else each video takes all cores
        # A header may lie: sizes change where a stream says so.
        codec.options = {**codec.options, "max_pixels": str(self._max_pixels)}
        yield from super()._decoded(container, stream)


class VideoFrames(FrameSource):
    """Chosen frames of a video file."""

    def __init__(self, file: VideoFile, sample: Sample, *, seeks: bool) -> None:
        super().__init__(file.name)
        self._file = file
        self._sample = sample
        self._seeks = seeks
        self._shortage: str | None = None

    def length(self) -> int:
        """How many frames were chosen."""
        return len(self._sample.numbers)

    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        return self._file.size_hw()

    def loss(self) -> str | None:
        """Which chosen frames did not come, or what is missing behind them if somebody wants it."""
        return (self._file.loss() if self._sample.reaches_end else None) or self._shortage

    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Chosen frames by their position."""
        wanted = select(self._sample.numbers, indices)
        for leg, of_leg in legs(wanted, seeks=self._seeks):
            due = iter(of_leg)
            next_due = next(due, None)
            for number, frame in zip(leg, self._file.read(leg), strict=False):
                if number == next_due:
                    yield frame
                    next_due = next(due, None)
            if next_due is not None:
                self._shortage = (
                    f"decoding ended before frame {next_due}; its packets announce "
                    f"{self._file.length()}"
                )
                return


class FolderFrames(FrameSource):
    """Chosen pictures of a folder, opened by a few threads in the order of the clip."""

    def __init__(
        self,
        name: str,
        size_hw: tuple[int, int],
        sample: Sample,
        open_frame: Callable[[int], SizedPicture],
        threads: int,
    ) -> None:
        super().__init__(name)
        self._size_hw = size_hw
        self._numbers: Sequence[int] = sample.numbers
        self._open_frame = open_frame
        self._threads = threads

    def length(self) -> int:
        """How many frames were chosen."""
        return len(self._numbers)

    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Chosen frames by their position, some of them opened before they are asked for."""
        numbers = iter(select(self._numbers, indices))
        if len(indices) == 1:
            yield self._open(next(numbers))
            return
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="frames")
        ahead: deque[Future[SizedPicture]] = deque()
        try:
            for number in numbers:
                ahead.append(pool.submit(self._open, number))
                if len(ahead) > _PICTURES_AHEAD * self._threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _open(self, number: int) -> SizedPicture:
        try:
            return self._open_frame(number)
        except Exception as error:
            raise as_broken(error) from error
