"""What a store has at an address: one file's size and version, one folder's files and folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadAddress, UsageError
from ..storage import (
    Entry,
    Options,
    ask_store,
    file_system,
    local_entry,
    local_path,
    open_store,
    version_of,
)
from ..web_store import WebStore
from .places import is_folder_of_an_output, is_web, place_of

_ENOUGH_FOLDERS = 32  # keep as many tasks busy
_DEEPEST = 3
_MOST_FILES = 20_000  # that whoever looks for folders keeps in mind


@dataclass(frozen=True, slots=True)
class Level:
    """Files and folders found in a store; all names are relative to the store."""

    files: tuple[Entry, ...]
    folders: tuple[str, ...]
    is_whole: bool = True  # else there are more files than were asked for, and nothing is here


def entry_at(uri: str, options: Options) -> Entry:
    """Size and version of one file, as a store's list tells them; FileNotFoundError if none.

    Its name is the one behind the last slash.
    """
    name = place_of(uri).name
    path = local_path(uri)
    if path is not None:
        return local_entry(path, name)
    if is_web(uri):
        return WebStore(place_of(uri).folder, options).entry(name)
    fs = file_system(uri, options, insists=False)
    fs.invalidate_cache()  # a worker that listed this folder before would believe its own list
    facts = ask_store(uri, "looked at", lambda: fs.info(uri))
    if facts.get("type") == "directory":
        raise FileNotFoundError(f"{uri} is a folder.")
    return _remote_entry(facts, name)


def look(uri: str, folder: str, options: Options, most: int | None = None) -> Level:
    """One level of a store with at most so many files; FileNotFoundError if there is nothing."""
    if is_web(uri):
        raise BadAddress(f"{uri}: the web has no folders. Write a list of addresses instead.")
    files, folders = [], []
    for found in open_store(uri, options).level(folder):
        if not isinstance(found, Entry):
            folders.append(found.name)
        elif len(files) == most:
            return Level((), (), is_whole=False)
        else:
            files.append(found)
    files.sort(key=lambda entry: entry.name)
    return Level(tuple(files), tuple(sorted(folders)))


def survey(uri: str, options: Options) -> Level:
    """Look down, level by level, until there are enough folders for many tasks.

    The files are those seen on the way, the folders those that nobody has looked into, or that hold
    too many files to be kept in mind: of these one task each takes care, as the files come.
    """
    files: list[Entry] = []
    unseen, large = [""], []
    for _ in range(_DEEPEST):
        if len(unseen) >= _ENOUGH_FOLDERS or len(files) > _MOST_FILES:
            break
        below: list[str] = []
        for folder in unseen:
            level = look(uri, folder, options, _MOST_FILES)
            if level.is_whole:
                files += level.files
                below += (one for one in level.folders if not is_folder_of_an_output(one))
            else:
                large.append(folder)
        unseen = below
    return Level(tuple(files), (*large, *unseen))


def single_file(uri: str, options: Options) -> Entry | None:
    """The file at an address; None if a folder or nothing is there."""
    try:
        return entry_at(uri, options)
    except FileNotFoundError:
        if is_web(uri):
            raise UsageError(f"{uri}: the server has no such file.") from None
        return None


def _remote_entry(facts: Mapping[str, Any], name: str) -> Entry:
    return Entry(name, int(facts.get("size") or 0), version_of(facts))
