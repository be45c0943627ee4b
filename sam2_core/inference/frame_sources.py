"""Where frames come from: lists, folders and files, and iterators that come but once."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
from PIL import Image

from ..errors import FrameSourceError, Sam2Error
from .preprocess import (
    Picture,
    SizedPicture,
    as_sized,
    is_one_picture,
    size_hw_of,
    why_missing,
)

LOOK_AHEAD = 16  # the age of pointers is encoded relative to min(length of the clip, 16)

_END = object()

Frames: TypeAlias = "Sequence[Picture] | Iterable[Picture] | str | os.PathLike[str]"

_PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".avif")
)


class FrameSource(ABC):
    """Frames of one clip, all of one size."""

    rereadable = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._size_hw: tuple[int, int] | None = None

    @abstractmethod
    def length(self) -> int | None:
        """How many frames there are; None if an iterator has not said yet."""

    def loss(self) -> str | None:
        """What is known to be missing behind the last frame."""
        return None

    def seconds(self, frame: int) -> float | None:  # noqa: ARG002 - for those who know
        """When a frame is shown, from the start of the clip; None where nothing says it."""
        return None

    def frames_per_s(self) -> float | None:
        """Frames a second on average; None where nothing says it."""
        return None

    def refuse_loss(self) -> None:
        """Say at the end of a clip that it should go on; what there is has been given by then."""
        loss = self.loss()
        if loss is not None:
            raise FrameSourceError(f"{self.name}: {loss}")

    @abstractmethod
    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Frames by index, in the order of the range."""

    def read(self, indices: range) -> Iterator[SizedPicture]:
        """Frames by index; refuses one whose size differs from the first one's."""
        for index, frame in zip(indices, self.fetch(indices), strict=False):
            size = size_hw_of(frame)
            if self._size_hw is not None and size != self._size_hw:
                raise FrameSourceError(
                    f"{self.name}: frame {index} is {size[1]} x {size[0]} pixels, the ones before "
                    f"{self._size_hw[1]} x {self._size_hw[0]}. Split the clip where it changes."
                )
            self._size_hw = size
            yield frame

    def read_one(self, index: int) -> SizedPicture:
        """One frame by its index."""
        frame = next(self.read(range(index, index + 1)), None)
        if frame is None:
            raise FrameSourceError(f"{self.name} ended before frame {index}.")
        return frame

    def size_hw(self) -> tuple[int, int]:
        """Height and width of the frames."""
        if self._size_hw is None and self.length() != 0:
            next(self.read(range(1)), None)
        if self._size_hw is None:
            raise FrameSourceError(f"{self.name} holds no frame.")
        return self._size_hw

    def reach(self) -> int:
        """min(length, 16), all that tracking needs to know of the length."""
        length = self.length()
        return LOOK_AHEAD if length is None else min(length, LOOK_AHEAD)


class PictureList(FrameSource):
    """Frames that are arrays, Pillow images, or paths of picture files."""

    def __init__(self, pictures: Sequence[Picture], name: str = "The clip") -> None:
        super().__init__(name)
        self._pictures = pictures

    def length(self) -> int:
        """How many pictures there are."""
        with naming(f"{self.name}: the number of its frames"):
            return len(self._pictures)

    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Frames by index."""
        for index in indices:
            yield self._take(index)

    def _take(self, index: int) -> SizedPicture:
        with naming(f"{self.name}: frame {index}"):
            return as_sized(self._pictures[index])


class PictureIterator(FrameSource):
    """Frames that come once, in order; a few are held back to look ahead.

    Where it breaks off with an error, the frames before come first, as those of a list do.
    """

    rereadable = False

    def __init__(self, pictures: Iterable[Picture], name: str = "The iterator") -> None:
        super().__init__(name)
        with naming(name):
            self._pictures = iter(pictures)
        self._held: deque[SizedPicture] = deque()
        self._next = 0  # index of the first frame that was not handed out
        self._ended = False
        self._error: FrameSourceError | None = None  # what it broke off with

    @property
    def position(self) -> int:
        """Index of the next frame that can be had."""
        return self._next

    def length(self) -> int | None:
        """The number of frames, once the look-ahead has seen the end."""
        self._hold(LOOK_AHEAD - self._next)
        return self._next + len(self._held) if self._ended else None

    def size_hw(self) -> tuple[int, int]:
        """Height and width, seen without taking a frame."""
        self._hold(1)
        if not self._held and self._size_hw is None and self._error is not None:
            raise self._error
        if not self._held and self._size_hw is None:
            raise FrameSourceError(f"{self.name} holds no frame.")
        if self._size_hw is None:
            self._size_hw = size_hw_of(self._held[0])
        return self._size_hw

    def fetch(self, indices: range) -> Iterator[SizedPicture]:
        """Frames from the current position on; those skipped are gone."""
        if indices and (indices.step != 1 or indices[0] < self._next):
            raise FrameSourceError(
                f"{self.name} has passed frame {indices[0]} "
                f"(it stands at {self._next}) and cannot go back: give a list, a folder or a file "
                "instead."
            )
        for index in indices:
            if index < self._next:
                raise FrameSourceError(
                    f"{self.name} has passed frame {index} (it stands at {self._next}): somebody "
                    "else took it, such as a second propagation or a prompt on a later frame. Let "
                    "one reading end before the next, or give a list, a folder or a file instead."
                )
            frame = self._take(index)
            if frame is None:
                return
            yield frame

    def _take(self, index: int) -> SizedPicture | None:
        """The frame, with those before it dropped; None if the end comes first."""
        frame = None
        while self._next <= index:
            self._hold(1)
            if not self._held and self._error is not None:
                raise self._error
            if not self._held:
                return None
            frame = self._held.popleft()
            self._next += 1
        return frame

    def _hold(self, count: int) -> None:
        while len(self._held) < count and not self._ended and self._error is None:
            self._pull()

    def _pull(self) -> None:
        try:
            with naming(f"{self.name}: frame {self._next + len(self._held)}"):
                picture = next(self._pictures, _END)
                if picture is _END:
                    self._ended = True
                else:
                    self._held.append(as_sized(cast("Picture", picture)))
        except FrameSourceError as error:
            self._error = error


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Make a FrameSourceError of whatever goes wrong with a frame, and say which frame it is."""
    try:
        yield
    except Sam2Error as error:
        raise FrameSourceError(f"{place}: {error}") from error
    except Exception as error:
        # Frames come out of the caller's own code, which may fail in any way.
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise FrameSourceError(f"{place} could not be had: {reason}.") from error


def open_frames(frames: Frames) -> FrameSource:
    """Wrap whatever holds the frames of a clip."""
    if isinstance(frames, FrameSource):
        return frames
    if isinstance(frames, str | os.PathLike):
        return _open_path(frames)
    _refuse_no_clip(frames)
    if hasattr(frames, "__getitem__") and hasattr(frames, "__len__"):  # an array [T, H, W, 3], too
        return PictureList(cast("Sequence[Picture]", frames))
    if isinstance(frames, Iterable):
        return PictureIterator(frames)
    raise FrameSourceError(_describe_no_clip(frames))


def _refuse_no_clip(frames: object) -> None:
    """Refuse what can be counted or gone through, but holds no frames in order."""
    if isinstance(frames, Image.Image):
        raise FrameSourceError(f"{_describe_no_clip(frames)} Write [picture] for a clip of one.")
    if isinstance(frames, np.ndarray) and is_one_picture(frames):
        raise FrameSourceError(
            f"An array of shape {frames.shape} is one picture, not a clip: write [picture] for a "
            "clip of one frame. An array of several has shape (frames, height, width, 3)."
        )
    if isinstance(frames, Mapping):
        raise FrameSourceError(
            f"{_describe_no_clip(frames)} Write list(frames.values()) if they are in order."
        )
    if isinstance(frames, Set | bytes | bytearray | memoryview):
        raise FrameSourceError(_describe_no_clip(frames))


def _describe_no_clip(frames: object) -> str:
    kind = type(frames).__name__
    return f"Frames are a list, an iterator, a folder or a video file, not a {kind}."


def _open_path(frames: str | os.PathLike[str]) -> FrameSource:
    path = Path(frames)
    if path.is_dir():
        return PictureList(picture_files(path), str(path))
    if not path.exists():
        reason = why_missing(frames, "no such file or folder.")
        raise FrameSourceError(f"{os.fspath(frames)}: {reason}")
    from .video_file import VideoFile

    return VideoFile(path)


def picture_files(folder: Path) -> list[Path]:
    """Picture files of a folder, by the numbers in their names: 2.jpg comes before 10.jpg."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in _PICTURE_SUFFIXES and f.is_file()]
    if not files:
        raise FrameSourceError(
            f"{folder}: no picture in this folder; frames are files such as 00000.jpg."
        )
    return sorted(files, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces if p]
