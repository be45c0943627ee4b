"""An address, with or without wildcards -> its files, in parts that are listed side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from fsspec.utils import glob_translate

from ..storage import Entry, Options, Store, open_store
from .listing import single_file, survey
from .places import base_name, has_wildcard, is_glob, is_of_an_output, place_of, split_glob


@dataclass(frozen=True, slots=True)
class Part:
    """A folder of a store, and which of its files a pattern means; none is listed yet."""

    folder: str
    pattern: str  # of names in this folder itself; with `**`, of whole names below the store
    files: tuple[Entry, ...] | None = None  # that were seen on the way


def parts_of(pattern: str, options: Options) -> Iterator[Part]:
    """Where the files of a pattern lie, below the folder that precedes its first wildcard.

    `**` finds files alone; otherwise a folder that fits stands for all that is in it.
    """
    place = split_glob(pattern)
    store, pieces = open_store(place.folder, options), place.name.split("/")
    deep = next((n for n, piece in enumerate(pieces) if "**" in piece), None)
    if deep == 0:
        yield from _parts_below(place.folder, place.name, options)
        return
    for folder in _folders(store, pieces[: -1 if deep is None else deep]):
        yield Part(folder, pieces[-1] if deep is None else place.name)


def _folders(store: Store, pieces: Sequence[str]) -> Iterator[str]:
    """Folders that patterns fit, one after another; few are held at a time."""
    if not pieces:
        yield ""
        return
    *above, last = pieces
    for folder in _folders(store, above):
        if has_wildcard(last):
            yield from _fitting_folders(store, folder, last)
        else:
            yield f"{folder}/{last}".lstrip("/")


def _fitting_folders(store: Store, folder: str, pattern: str) -> list[str]:
    fits = matcher(pattern)
    with suppress(FileNotFoundError):
        found = (one for one in store.level(folder) if not isinstance(one, Entry))
        return sorted(one.name for one in found if fits(base_name(one.name)))
    return []


def _parts_below(root: str, pattern: str, options: Options) -> Iterator[Part]:
    fits = matcher(pattern)
    with suppress(FileNotFoundError):
        level = survey(root, options)
        yield Part("", pattern, tuple(entry for entry in level.files if fits(entry.name)))
        yield from (Part(below, pattern) for below in level.folders)


def fitting(store: Store, folder: str, pattern: str) -> Iterator[Entry]:
    """Files of a part, as they come."""
    fits = matcher(pattern)
    with suppress(FileNotFoundError):
        if "**" in pattern:
            yield from (entry for entry in store.list(folder) if fits(entry.name))
            return
        folders: list[str] = []
        for found in store.level(folder):
            if not fits(base_name(found.name)):
                continue
            if isinstance(found, Entry):
                yield found
            else:
                folders.append(found.name)
        for below in sorted(folders):
            yield from store.list(below)


def all_files(uri: str, options: Options) -> Iterator[tuple[str, Entry]]:
    """The file at an address, or all files of a folder or pattern, each with its store.

    Files of an output that lies in there are left out: the second run would take them for a source.
    """
    if is_glob(uri):
        root = split_glob(uri).folder
        store = open_store(root, options)
        for part in parts_of(uri, options):
            files = part.files
            found = fitting(store, part.folder, part.pattern) if files is None else files
            yield from ((root, entry) for entry in found if not is_of_an_output(entry.name))
    elif (single := single_file(uri, options)) is not None:
        yield place_of(uri).folder, single
    else:
        found = open_store(uri, options).list()
        yield from ((uri, entry) for entry in found if not is_of_an_output(entry.name))


def matcher(pattern: str) -> Callable[[str], object]:
    """What is true of the names that a pattern means."""
    return re.compile(glob_translate(pattern)).fullmatch
