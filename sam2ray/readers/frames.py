"""Folders of pictures -> one unit a folder, the frames of a clip (SA-V, DAVIS and the like)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from ..records import Unit, digest
from ..storage import Entry, Options, Store, open_store
from .files import entries_of, slices_below
from .places import is_hidden, is_text, media_kind, reason_to_pass
from .slices import HIDDEN, NO_TEXT, Ignored, Slice


@dataclass(frozen=True, slots=True)
class FramesReader:
    """Takes each folder that holds pictures for a clip."""

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """One for each folder that can be listed by itself; a clip is never cut."""
        for uri in uris:
            yield from slices_below("frames", uri, options)

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Clips of one slice, folder by folder."""
        store = open_store(piece.uri, options)
        done: set[str] = set()
        for folder, files in groupby(entries_of(store, piece), folder_of):
            # Stores list a folder's own files in one go, else a clip would be torn.
            assert folder not in done, folder
            done.add(folder)
            yield from _clip(store, folder, files)


def frames_in_order(entries: Iterable[Entry]) -> list[Entry]:
    """The pictures of a folder by the numbers in their names: 2.jpg comes before 10.jpg."""
    frames = [entry for entry in entries if _reason_to_ignore(entry) is None]
    return sorted(frames, key=lambda entry: natural_key(entry.name))


def folder_of(entry: Entry) -> str:
    """The folder that a file of a store lies in; "" for the store itself."""
    return entry.name.rpartition("/")[0]


def version_of_frames(frames: Sequence[Entry]) -> str:
    """What changes when any frame does."""
    bases = [entry.name.rpartition("/")[2] for entry in frames]
    return digest([[base, entry.version] for base, entry in zip(bases, frames, strict=True)])


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts names by the numbers in them."""
    pieces = re.split(r"([0-9]+)", name)
    return [(0, int(p), "") if p[0] in "0123456789" else (1, 0, p) for p in pieces if p]


def _clip(store: Store, folder: str, files: Iterable[Entry]) -> Iterator[Unit | Ignored]:
    entries = list(files)
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
        )


def _reason_to_ignore(entry: Entry) -> str | None:
    if not is_text(entry.name):
        return NO_TEXT
    if is_hidden(entry.name):
        return HIDDEN
    return None if media_kind(entry.name) == "image" else reason_to_pass(entry.name)
