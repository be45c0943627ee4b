"""A unit that is one video file -> a file on this machine's disk, and why one cannot be read."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from av.error import FFmpegError, PatchWelcomeError

from sam2_core import FrameSourceError
from sam2_core.inference.containers.broken_bytes import unheard
from sam2_core.inference.video_index import announced_bytes, open_container

from ..errors import UnitFailed, is_of_the_job
from ..own_folder import OwnFolder
from ..patience import Patience, classify
from ..readers.listing import entry_at
from ..readers.locate import read_unit
from ..readers.places import base_name, is_web
from ..readers.store_file import store_errors
from ..records import ErrorClass, Failure, Unit
from ..storage import Options, local_path
from .clip_frames import BrokenClip
from .fetch import MOST_IN_MEMORY, PIECE_BYTES, fetch
from .sniff import HEAD_BYTES, can_be_clip, describe
from .web_clips import web_pieces

Fact = TypeVar("Fact")

_MESSAGE_CHARACTERS = 500
_SEEKABLE = ("MP4", "QuickTime", "Matroska", "WebM")  # their frames keep their times after a seek
_OF_A_DISK = {
    *(errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENODEV, errno.EREMOTEIO),
}
_WITH_MOOV = ("MP4", "QuickTime")


class Abandoned(Exception):
    """Nobody waits for this file any more."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipFile:
    """A video on this machine's disk."""

    path: Path
    content: str  # what its first bytes say that it is
    folder: OwnFolder | None  # that goes with it; None: it stays where it is

    @property
    def seeks(self) -> bool:
        """Whether any of its frames can be had without those before."""
        return self.content in _SEEKABLE

    def close(self) -> None:
        """Remove what was brought here."""
        if self.folder is not None:
            self.folder.close()


def bring(
    unit: Unit,
    options: Options,
    patience: Patience,
    max_bytes: int,
    on_piece: Callable[[], None] = unheard,
) -> ClipFile:
    """The file of a unit: where it is if that is this machine, else a copy. Raises UnitFailed.

    `on_piece` is called after each piece of a copy; what it raises ends the copying.
    """
    pieces = _pieces(unit, options, patience, max_bytes)
    first = next(pieces, b"")
    head = first[:HEAD_BYTES]
    content = describe(head)
    # Not for tidiness alone: playlists and the like make decoders open other files.
    if not can_be_clip(head):
        empty = ErrorClass.UNSUPPORTED if head else ErrorClass.TRUNCATED
        raise UnitFailed(empty, f"not a video but {content}")
    path = local_path(unit.source_uri) if unit.member is None else None
    if path is not None:
        return ClipFile(path, content, None)
    folder = OwnFolder()
    try:
        copy = folder.path / _safe_name(unit.member or unit.source_uri)
        _write(copy, first, pieces, on_piece)
    except BaseException:
        folder.close()
        raise
    return ClipFile(copy, content, folder)


def _write(path: Path, first: bytes, others: Iterator[bytes], on_piece: Callable[[], None]) -> None:
    with path.open("xb") as file:
        file.write(first)
        for piece in others:
            on_piece()
            file.write(piece)


def _pieces(unit: Unit, options: Options, patience: Patience, max_bytes: int) -> Iterator[bytes]:
    """The bytes of a unit; the first piece holds at least its head."""
    if unit.member is None and is_web(unit.source_uri):
        yield from web_pieces(unit, options, patience, max_bytes)
        return
    if unit.member is not None and unit.length is None:  # a row of a table, which has no parts
        most = min(max_bytes, MOST_IN_MEMORY)
        yield fetch(lambda: read_unit(unit, options, most), patience)
        return
    size = unit.length
    if size is None:
        size = ask(lambda: entry_at(unit.source_uri, options), unit.source_uri, patience).size
    if size > max_bytes:
        excess = f"{size} bytes, more than decode.video.max_bytes={max_bytes}"
        raise UnitFailed(ErrorClass.TOO_LARGE, excess)
    # A part of a file is read as a member of a shard is: both are checked for changes.
    whole = replace(unit, member=unit.member or base_name(unit.source_uri))
    start = unit.offset or 0
    at, step = 0, HEAD_BYTES
    while at < size:
        piece = replace(whole, offset=start + at, length=min(step, size - at))
        yield fetch(lambda piece=piece: read_unit(piece, options), patience)
        at, step = at + step, PIECE_BYTES


def ask(question: Callable[[], Fact], uri: str, patience: Patience) -> Fact:
    """What a store says of an address, asked again where another try may help."""
    answers: list[Fact] = []

    def once() -> bytes:
        with store_errors(uri):
            answers.append(question())
        return b""

    fetch(once, patience)
    return answers[-1]


def _safe_name(name: str) -> str:
    """The last part of a hostile name: decoders look at its suffix, users at the whole."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", base_name(name))[-100:].lstrip(".") or "video"


def check_header(path: Path, max_side: int) -> None:
    """Refuse a video by what it says of itself, before anything is decoded. Raises UnitFailed."""
    side = 0
    try:
        with open_container(path) as container:
            for stream in container.streams.video[:1]:
                if stream.codec_context is not None:
                    side = max(stream.codec_context.width, stream.codec_context.height)
    except (FFmpegError, OSError, ValueError) as error:
        if is_of_the_job(error):
            raise
        reason = getattr(error, "strerror", None) or str(error)  # without the path
        found = classify(error) if is_of_the_disk(error) else _class_of_unopened(path)
        raise UnitFailed(found, f"it cannot be opened: {reason}") from error
    if side > max_side:
        raise UnitFailed(
            ErrorClass.TOO_LARGE,
            f"a side of {side} pixels: more than decode.video.max_side={max_side}",
        )


def failure_of_video(error: FrameSourceError, file: ClipFile) -> Failure:
    """Why a video cannot be read, or not to its end, by another look at it."""
    if isinstance(error, BrokenClip):
        return error.failure
    message = str(error).removeprefix(f"{file.path}: ").replace(str(file.path), file.path.name)
    return Failure(_class_of(error.__cause__, file.path), message[:_MESSAGE_CHARACTERS])


def _class_of(cause: BaseException | None, path: Path) -> ErrorClass:
    if cause is not None and is_of_the_disk(cause):
        return classify(cause)
    if isinstance(cause, PatchWelcomeError):
        return ErrorClass.UNSUPPORTED
    try:
        with open_container(path) as container:
            if not container.streams.video:
                return ErrorClass.NO_VIDEO_STREAM if len(container.streams) else ErrorClass.CORRUPT
            stream = container.streams.video[0]
            if stream.codec_context is None:
                return ErrorClass.UNSUPPORTED
            if _is_cut_off(path):
                return ErrorClass.TRUNCATED
            has_packets = any(packet.size for packet in container.demux(stream))
            return ErrorClass.CORRUPT if has_packets else ErrorClass.ZERO_FRAMES
    except (FFmpegError, OSError, ValueError):
        return _class_of_unopened(path)


def is_of_the_disk(error: BaseException) -> bool:
    """Whether a file could not be read, whatever is in it.

    Decoders hand on what the system says of their files, as errors of their own that are OSErrors.
    """
    if not isinstance(error, FFmpegError):
        return isinstance(error, OSError)
    return error.errno in _OF_A_DISK


def _class_of_unopened(path: Path) -> ErrorClass:
    return ErrorClass.TRUNCATED if _is_cut_off(path) else ErrorClass.CORRUPT


def _is_cut_off(path: Path) -> bool:
    """Whether a file ends before it should: by what it says, or as a recording that was ended."""
    with path.open("rb") as file:
        content = describe(file.read(HEAD_BYTES))
    if announced_bytes(path) > path.stat().st_size:
        return True
    return content in _WITH_MOOV and not _has_box(path, b"moov")


def _has_box(path: Path, wanted: bytes) -> bool:
    """Whether an MP4 has a box of this name at its top level."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            head = file.read(16)
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if name == wanted:
                return True
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # up to the end
                return False
            at += length
    return False
