"""What a store has at an address: one file's size and version, one folder's files and folders."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..storage import (
    TEMPORARY,
    Entry,
    Options,
    ask_store,
    file_system,
    local_path,
    open_store,
    version_of,
)
from .places import is_glob, is_web, place_of, split_glob

_ENOUGH_FOLDERS = 32  # keep as many tasks busy
_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Level:
    """Files and folders found in a store; all names are relative to the store."""

    files: tuple[Entry, ...]
    folders: tuple[str, ...]


def entry_at(uri: str, options: Options) -> Entry:
    """Size and version of one file, as a store's list tells them; FileNotFoundError if none.

    Its name is the one behind the last slash.
    """
    name = place_of(uri).name
    path = local_path(uri)
    if path is not None:
        return _local_entry(path, name)
    fs = file_system(uri, options, insists=False)
    fs.invalidate_cache()  # a worker that listed this folder before would believe its own list
    facts = ask_store(uri, "looked at", lambda: fs.info(uri))
    if facts.get("type") == "directory":
        raise FileNotFoundError(f"{uri} is a folder.")
    return _remote_entry(facts, name)


def look(uri: str, folder: str, options: Options) -> Level:
    """One level of a store; FileNotFoundError if there is nothing."""
    path = local_path(uri)
    if path is not None:
        return _look_locally(path, folder)
    return _look_remotely(uri, folder, options)


def survey(uri: str, options: Options) -> Level:
    """Look down, level by level, until there are enough folders for many tasks.

    The files are those seen on the way, the folders those that nobody has looked into.
    """
    files: list[Entry] = []
    unseen = [""]
    for _ in range(_DEEPEST):
        if len(unseen) >= _ENOUGH_FOLDERS:
            break
        seen = [look(uri, folder, options) for folder in unseen]
        files += [entry for level in seen for entry in level.files]
        unseen = [below for level in seen for below in level.folders]
    return Level(tuple(files), tuple(unseen))


def find(pattern: str, options: Options) -> Level:
    """What a pattern finds in the folder that precedes its wildcards; `**` finds files alone."""
    root = split_glob(pattern).folder
    store = open_store(root, options)
    fs = file_system(pattern, options, insists=False)
    fs.invalidate_cache()
    place = pattern if "://" in pattern else str(local_path(pattern))
    found = ask_store(pattern, "listed", lambda: fs.glob(place, detail=True))
    files, folders = [], []
    # A folder's own files in one go, as Store.list has them.
    for path, facts in sorted(found.items(), key=lambda item: item[0].rpartition("/")):
        name = _below(path, fs._strip_protocol(store.uri))
        if facts.get("type") == "directory":
            if "**" not in pattern:  # else what they hold is found as well
                folders.append(name)
        elif not name.rpartition("/")[2].startswith(TEMPORARY):
            local = local_path(store.uri_of(name))
            files.append(_local_entry(local, name) if local else _remote_entry(facts, name))
    return Level(tuple(files), tuple(folders))


def all_files(uri: str, options: Options) -> Iterator[tuple[str, Entry]]:
    """The file at an address, or all files of a folder or pattern, each with its store."""
    if is_glob(uri):
        root = split_glob(uri).folder
        found = find(uri, options)
        yield from ((root, entry) for entry in found.files)
        for folder in found.folders:
            yield from ((root, entry) for entry in open_store(root, options).list(folder))
    elif (single := single_file(uri, options)) is not None:
        yield place_of(uri).folder, single
    else:
        yield from ((uri, entry) for entry in open_store(uri, options).list())


def single_file(uri: str, options: Options) -> Entry | None:
    """The file at an address; None if a folder or nothing is there."""
    try:
        return entry_at(uri, options)
    except FileNotFoundError:
        if is_web(uri):
            raise UsageError(f"{uri}: the server has no such file.") from None
        return None


def _look_locally(root: Path, folder: str) -> Level:
    files, folders = [], []
    for child in sorted((root / folder).iterdir()):
        name = f"{folder}/{child.name}" if folder else child.name
        try:
            if child.is_dir():
                if not child.is_symlink():  # as LocalStore.list does: links may lead in circles
                    folders.append(name)
            elif not child.name.startswith(TEMPORARY):
                files.append(_local_entry(child, name))
        except FileNotFoundError:  # somebody took it away meanwhile, or a broken link
            continue
    return Level(tuple(files), tuple(folders))


def _look_remotely(uri: str, folder: str, options: Options) -> Level:
    if is_web(uri):
        raise UsageError(f"{uri}: the web has no folders. Write a list of addresses instead.")
    fs = file_system(uri, options, insists=False)
    fs.invalidate_cache()
    root = fs._strip_protocol(uri).rstrip("/")
    path = f"{root}/{folder}" if folder else root
    files, folders = [], []
    facts_of_all = ask_store(f"{uri}/{folder}", "listed", lambda: fs.ls(path, detail=True))
    for facts in sorted(facts_of_all, key=lambda f: f["name"]):
        name = _below(facts["name"].rstrip("/"), root)
        if facts.get("type") == "directory":
            folders.append(name)
        elif not facts["name"].endswith("/"):  # else the prefix itself, as some tools create it
            files.append(_remote_entry(facts, name))
    return Level(tuple(files), tuple(folders))


def _below(path: str, root: str) -> str:
    return path.removeprefix(root.rstrip("/")).lstrip("/")


def _local_entry(path: Path, name: str) -> Entry:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
        raise FileNotFoundError(f"{path} is no regular file.")
    return Entry(name, facts.st_size, f"{facts.st_size}-{facts.st_mtime_ns}")


def _remote_entry(facts: dict[str, Any], name: str) -> Entry:
    return Entry(name, int(facts.get("size") or 0), version_of(facts))
