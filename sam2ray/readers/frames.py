"""Folders of pictures -> one unit a folder, the frames of a clip (SA-V, DAVIS and the like)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from ..errors import UsageError
from ..records import Unit, digest
from ..storage import Entry, Options, Store, open_store
from .files import entries_of, slices_below
from .listing import single_file
from .patterns import matcher
from .places import (
    is_glob,
    is_hidden,
    is_text,
    is_web,
    media_kind,
    reason_to_pass,
)
from .slices import HIDDEN, NO_TEXT, Ignored, Slice


@dataclass(frozen=True, slots=True)
class FramesReader:
    """Takes each folder that holds pictures for a clip."""

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """One for each folder that can be listed by itself; a clip is never cut."""
        _refuse_two_clips_of_a_folder(uris)
        for uri in uris:
            _refuse_single_picture(uri, options)
            yield from slices_below("frames", uri, options)

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Clips of one slice, folder by folder."""
        store = open_store(piece.uri, options)
        done: set[str] = set()
        for folder, files in groupby(entries_of(store, piece), folder_of):
            # Stores list a folder's own files in one go, else a clip would be torn.
            assert folder not in done, folder
            done.add(folder)
            yield from _clip(store, piece, folder, list(files))


def frames_in_order(entries: Iterable[Entry], pattern: str = "*") -> list[Entry]:
    """The pictures of a folder by the numbers in their names: 2.jpg comes before 10.jpg."""
    fits = matcher(pattern)
    frames = (entry for entry in entries if _reason_to_ignore(entry) is None)
    chosen = (entry for entry in frames if fits(_base(entry)))
    return sorted(chosen, key=lambda entry: natural_key(entry.name))


def folder_of(entry: Entry) -> str:
    """The folder that a file of a store lies in; "" for the store itself."""
    return entry.name.rpartition("/")[0]


def version_of_frames(frames: Sequence[Entry]) -> str:
    """What changes when any frame does."""
    return digest([[_base(entry), entry.version] for entry in frames])


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names by the numbers in them."""
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces if p]


def _clip(
    store: Store, piece: Slice, folder: str, entries: Sequence[Entry]
) -> Iterator[Unit | Ignored]:
    for entry in entries:
        if (reason := _reason_to_ignore(entry)) is not None:
            uri = store.uri_of(entry.name).encode("utf-8", "backslashreplace").decode()
            yield Ignored(uri, reason)
    if frames := frames_in_order(entries):
        yield Unit(
            source_uri=store.uri_of(folder) if folder else store.uri,
            kind="frames",
            length=sum(entry.size for entry in frames),
            version=version_of_frames(frames),
            pattern=_pattern_that_leaves_out(store, piece, folder, len(frames)),
        )


def _pattern_that_leaves_out(store: Store, piece: Slice, folder: str, frames: int) -> str | None:
    """What tells a clip's frames from the other pictures of their folder; None if there are none.

    A pattern that leaves nothing out is not kept: the clip is the one that its folder stands for.
    """
    pattern = piece.pattern.rpartition("/")[2]
    is_of_it = "**" in piece.pattern or folder == piece.folder  # else all of the folder fits
    if not is_of_it or pattern in ("", "*", "**"):
        return None
    with suppress(FileNotFoundError):  # the folder is gone meanwhile: the fetch will say
        found = (one for one in store.level(folder) if isinstance(one, Entry))
        return pattern if len(frames_in_order(found)) > frames else None
    return None


def _refuse_single_picture(uri: str, options: Options) -> None:
    """A shell that has taken a pattern apart names pictures, and each would be a clip."""
    if media_kind(uri) != "image" or is_glob(uri):
        return
    if is_web(uri) or single_file(uri, options) is not None:
        raise UsageError(
            f"{uri}: this is a picture, and with source.kind=frames a folder is a clip. Name its "
            "folder, or a pattern in quotation marks, which the shell leaves as it is."
        )


def _refuse_two_clips_of_a_folder(uris: Sequence[str]) -> None:
    """A folder is one clip: of two patterns of its pictures one would count for the other."""
    seen: dict[str, str] = {}
    for uri in uris:
        if media_kind(uri) == "image" and is_glob(uri):
            first = seen.setdefault(uri.rpartition("/")[0], uri)
            if first != uri:
                raise UsageError(
                    f"{first} and {uri}: each folder is one clip, and these would make two of it. "
                    "Run one after the other, each with an output of its own."
                )


def _base(entry: Entry) -> str:
    return entry.name.rpartition("/")[2]


def _reason_to_ignore(entry: Entry) -> str | None:
    if not is_text(entry.name):
        return NO_TEXT
    if is_hidden(entry.name):
        return HIDDEN
    return None if media_kind(entry.name) == "image" else reason_to_pass(entry.name)
