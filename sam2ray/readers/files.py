"""Files below a prefix or found by a pattern -> one unit for each picture and each video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ..errors import UsageError
from ..records import Unit
from ..storage import Entry, Options, Store, open_store
from .listing import Level, single_file, survey
from .patterns import fitting, parts_of
from .places import (
    is_glob,
    is_hidden,
    is_of_an_output,
    is_text,
    is_web,
    media_kind,
    place_of,
    reason_to_pass,
    split_glob,
)
from .slices import HIDDEN, NO_TEXT, Ignored, ReaderName, Slice
from .versions import Versions

_FILES_A_SLICE = 10_000


@dataclass(frozen=True, slots=True)
class FileReader:
    """Takes files by their suffixes and counts the others as ignored."""

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """One for each folder that can be listed by itself, and for the files beside them."""
        for uri in uris:
            yield from slices_below("files", uri, options, _FILES_A_SLICE)

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Files of one slice, in the store's order."""
        store = open_store(piece.uri, options)
        for entry in entries_of(store, piece):
            yield _unit_of(store, entry)


def slices_below(
    reader: ReaderName, uri: str, options: Options, files_a_slice: int | None = None
) -> Iterator[Slice]:
    """Slices of a file, a pattern's findings or a folder; loose files are cut as asked."""
    if is_glob(uri):
        yield from _slices_of_pattern(reader, uri, options, files_a_slice)
        return
    if is_web(uri):
        root, level = place_of(uri).folder, Level((_on_the_web(uri, options),), ())
    elif (single := single_file(uri, options)) is not None:
        root, level = place_of(uri).folder, Level((single,), ())
    else:
        root, level = uri, _survey(uri, options)
    yield from _cut(reader, root, level.files, files_a_slice)
    for folder in level.folders:
        yield Slice(reader, root, folder)


def _on_the_web(uri: str, options: Options) -> Entry:
    """What the web serves; where its server does not say which version that is, it has none."""
    name, found = place_of(uri).name, Versions(options).of({uri: uri})[uri]
    return Entry(name, 0, "") if found is None else Entry(name, found.size, found.version)


def _slices_of_pattern(
    reader: ReaderName, uri: str, options: Options, files_a_slice: int | None
) -> Iterator[Slice]:
    """None where nothing fits: folders are looked into until one holds something."""
    root = split_glob(uri).folder
    store, is_something = open_store(root, options), False
    for part in parts_of(uri, options):
        pieces: Iterable[Slice] = [Slice(reader, root, part.folder, pattern=part.pattern)]
        if part.files is not None:
            pieces = _cut(reader, root, part.files, files_a_slice, part.pattern)
        for piece in pieces:
            is_something = is_something or any(True for _ in entries_of(store, piece))
            if is_something:
                yield piece


def _cut(
    reader: ReaderName,
    root: str,
    files: Iterable[Entry],
    files_a_slice: int | None,
    pattern: str = "",
) -> Iterator[Slice]:
    loose = iter(files)
    while chunk := tuple(islice(loose, files_a_slice)):
        yield Slice(reader, root, files=chunk, pattern=pattern)


def entries_of(store: Store, piece: Slice) -> Iterator[Entry]:
    """The files of a slice, without those of an output that lies in there."""
    found: Iterable[Entry]
    if piece.files is not None:
        found = piece.files
    elif piece.pattern:
        found = fitting(store, piece.folder, piece.pattern)
    else:
        found = store.list(piece.folder)
    return (entry for entry in found if not is_of_an_output(entry.name))


def addressed(piece: Slice, options: Options) -> list[Entry]:
    """The same with whole addresses for names."""
    if not piece.uri:
        return list(piece.files or ())
    store = open_store(piece.uri, options)
    found = entries_of(store, piece)
    return [Entry(store.uri_of(entry.name), entry.size, entry.version) for entry in found]


def _survey(uri: str, options: Options) -> Level:
    try:
        return survey(uri, options)
    except FileNotFoundError:
        raise UsageError(f"{uri}: there is no such file or folder.") from None


def _unit_of(store: Store, entry: Entry) -> Unit | Ignored:
    uri = store.uri_of(entry.name)
    if not is_text(uri):
        return Ignored(uri.encode("utf-8", "backslashreplace").decode(), NO_TEXT)
    if is_hidden(entry.name):
        return Ignored(uri, HIDDEN)
    kind = media_kind(uri)
    if kind is None and is_web(uri):
        kind = "image"  # addresses on the web need no suffix; the bytes will tell
    if kind is None:
        return Ignored(uri, reason_to_pass(uri))
    length = None if is_web(uri) else entry.size
    return Unit(source_uri=uri, kind=kind, length=length, version=entry.version)
