"""Places that hold files, a local folder or a prefix of an object store; writes are atomic.

Names inside a store are relative and use "/". Nobody ever sees half a file: a local one is written
aside and renamed, a remote one appears with its last byte. Whatever a remote store is asked may be
asked twice, and is (see patience): it is busy, or away for a moment, in every job that is long.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

from . import publishing
from .addresses import without_secrets
from .claims import Claim
from .errors import StorageError
from .file_systems import WEB, Options, file_system, leads_back, protocol_of, version_of
from .patience import (
    STEADY,
    Patience,
    classify,
    is_of_a_store,
    patiently,
    said_without_secrets,
)
from .publishing import TEMPORARY, StillMine, Unfinished
from .range_file import RangeFile
from .records import ErrorClass
from .store_pages import facts_of_level

Answer = TypeVar("Answer")

_READ_AHEAD_BYTES = 1 << 20
_WAYS_OUT = {
    ErrorClass.FORBIDDEN: "Mend the credentials",
    ErrorClass.THROTTLED: "The store is busy: wait a while",
}
_WAY_OUT = "Look after the store, or the way to it"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a store."""

    name: str
    size: int
    version: str  # etag, or size and mtime


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a store."""

    name: str


class Store(ABC):
    """A folder or prefix, and what is done with the files in it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"

    def uri_of(self, name: str) -> str:
        """The address of a file of this store."""
        return f"{self.uri.rstrip('/')}/{name}"

    def with_patience(self, patience: Patience) -> Store:  # noqa: ARG002 a disk answers or does not
        """The same store, asked so often."""
        return self

    @abstractmethod
    def list(self, folder: str = "") -> Iterator[Entry]:
        """Files of a folder and of all folders below it, finished ones only; none if absent."""

    @abstractmethod
    def level(self, folder: str = "") -> Iterator[Entry | Folder]:
        """What a folder itself holds, as it comes; FileNotFoundError if there is no such folder."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole file."""

    @abstractmethod
    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Part of a file; shorter where the file ends."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file to read from, wherever one likes."""

    @abstractmethod
    def put(self, name: str, content: bytes | Path) -> None:
        """Write a file in one atomic step, over an earlier one of this name."""

    @abstractmethod
    def publish(self, name: str, file: Path, still_mine: StillMine) -> None:
        """The same, and `still_mine` is asked between the last byte and the step."""

    @abstractmethod
    def unfinished(self) -> Iterator[Unfinished]:
        """What somebody began to write into it, as far as that is known."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one; whether it was written. It should say by whom."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file; nothing if there is none."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is such a file."""


class LocalStore(Store):
    """A folder of this machine, or of a disk that all machines share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Files of a folder and below."""
        walk = os.walk(self.folder / folder, onerror=_unless_gone, followlinks=True)
        for top, folders, files in walk:
            folders[:] = sorted(one for one in folders if not leads_back(Path(top, one)))
            for file in sorted(files):
                path = Path(top, file)
                if file.startswith(TEMPORARY):
                    continue
                with suppress(FileNotFoundError):
                    yield local_entry(path, path.relative_to(self.folder).as_posix())

    def level(self, folder: str = "") -> Iterator[Entry | Folder]:
        """What a folder itself holds, without links that lead in circles."""
        with os.scandir(self.folder / folder) as children:
            for child in children:
                name = f"{folder}/{child.name}" if folder else child.name
                if Path(child).is_dir() if child.is_symlink() else child.is_dir():
                    if not leads_back(Path(child.path)):
                        yield Folder(name)
                elif not child.name.startswith(TEMPORARY):
                    with suppress(FileNotFoundError):
                        yield local_entry(Path(child.path), name)

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self.folder / name).read_bytes()

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Part of a file."""
        with (self.folder / name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def open(self, name: str) -> BinaryIO:
        """A file to read from."""
        return (self.folder / name).open("rb")

    def put(self, name: str, content: bytes | Path) -> None:
        """Write aside, flush to the disk, rename."""
        target = self.folder / name
        publishing.show(publishing.write_aside(target, content), target)

    def publish(self, name: str, file: Path, still_mine: StillMine) -> None:
        """Write aside, flush to the disk, ask, rename."""
        target = self.folder / name
        publishing.show(publishing.write_aside(target, file), target, still_mine)

    def unfinished(self) -> Iterator[Unfinished]:
        """Files that were written aside and never renamed."""
        return publishing.asides(self.folder)

    def create(self, name: str, content: bytes) -> bool:
        """Write aside, flush to the disk, take the name unless it is taken."""
        target = self.folder / name
        aside = publishing.write_aside(target, content)
        return publishing.show_unless_taken(aside, target, self.uri)

    def delete(self, name: str) -> None:
        """Remove a file."""
        (self.folder / name).unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.folder / name).is_file()


class ObjectStore(Store):
    """A prefix of a bucket, through fsspec."""

    def __init__(self, uri: str, options: Options, patience: Patience = STEADY) -> None:
        super().__init__(uri)
        self._options, self._patience = options, patience
        self._fs = file_system(uri, options, insists=False)
        self._root = self._fs._strip_protocol(self.uri).rstrip("/")

    def __reduce__(self) -> tuple[type[ObjectStore], tuple[str, Options, Patience]]:
        """Made anew in another process: a copied file system would insist again."""
        return ObjectStore, (self.uri, self._options, self._patience)

    def with_patience(self, patience: Patience) -> Store:
        """The same store, asked so often."""
        return ObjectStore(self.uri, self._options, patience)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _asked(self, done: str, name: str, question: Callable[[], Answer]) -> Answer:
        """The store's answer."""
        return ask_store(self.uri_of(name), done, question, self._patience)

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Files of a prefix, a folder's own before those below it."""
        waiting = [folder]
        while waiting:
            # Not fs.walk: of folders below the first it leaves out those that it could not read.
            folders = []
            try:
                for found in self.level(waiting.pop()):
                    if isinstance(found, Entry):
                        yield found
                    else:
                        folders.append(found.name)
            except FileNotFoundError:
                continue
            waiting += sorted(folders, reverse=True)

    def level(self, folder: str = "") -> Iterator[Entry | Folder]:
        """What a prefix itself holds."""
        path = self._path(folder)
        ask = partial(self._asked, "listed", folder)
        for facts in facts_of_level(self._fs, path, ask):
            name = facts["name"].rstrip("/")
            if facts["type"] == "directory":
                if name != path:
                    yield Folder(name[len(self._root) + 1 :])
            elif name == facts["name"]:  # else the prefix itself, as some tools create it
                yield self._entry(facts)

    def _entry(self, facts: Mapping[str, Any]) -> Entry:
        name = facts["name"][len(self._root) + 1 :]
        return Entry(name, int(facts["size"] or 0), version_of(facts))

    def read(self, name: str) -> bytes:
        """A whole object."""
        # In one request: s3fs would first ask for the size, to read large ones in parts.
        in_one = {"max_concurrency": 1} if "s3" in self._fs.protocol else {}
        return self._asked("read", name, lambda: self._fs.cat_file(self._path(name), **in_one))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Part of an object."""
        path, end = self._path(name), start + length
        return self._asked("read", name, lambda: self._fs.cat_file(path, start=start, end=end))

    def open(self, name: str) -> BinaryIO:
        """An object to read from, with every range asked for as patiently as a whole one."""
        size = int(self._facts(name)["size"])

        def read_range(start: int, length: int) -> bytes:
            return self.read_range(name, start, length)

        return io.BufferedReader(RangeFile(read_range, size, self.uri_of(name)), _READ_AHEAD_BYTES)

    def put(self, name: str, content: bytes | Path) -> None:
        """One PUT, or a multipart upload that shows nothing before its end; again from its start.

        Servers are known to lose the last step of an upload alone, which cannot be asked twice.
        """
        path = self._path(name)
        if isinstance(content, bytes):
            self._asked("written", name, lambda: self._fs.pipe_file(path, content))
        else:
            self._asked("written", name, lambda: self._fs.put_file(str(content), path))

    def publish(self, name: str, file: Path, still_mine: StillMine) -> None:
        """An upload whose last request is held back until `still_mine` has answered."""
        path = self._path(name)
        self._asked("written", name, lambda: publishing.upload(self._fs, file, path, still_mine))

    def unfinished(self) -> Iterator[Unfinished]:
        """Uploads without their last request."""
        yield from self._asked("listed", "", lambda: list(publishing.uploads(self._fs, self._root)))

    def create(self, name: str, content: bytes) -> bool:
        """A conditional PUT, where the store knows it."""
        path = self._path(name)

        def ask(question: Callable[[], Answer], /) -> Answer:
            return self._asked("created", name, question)

        return Claim(self._fs, path, content, self.uri, ask).make()

    def delete(self, name: str) -> None:
        """Remove an object."""
        try:
            self._asked("deleted", name, lambda: self._fs.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            return self._facts(name)["type"] == "file"
        except FileNotFoundError:
            return False

    def _facts(self, name: str) -> Mapping[str, Any]:
        def look() -> Mapping[str, Any]:
            self._fs.invalidate_cache()
            return self._fs.info(self._path(name))

        return self._asked("looked at", name, look)


def ask_store(
    uri: str, done: str, question: Callable[[], Answer], patience: Patience = STEADY
) -> Answer:
    """The answer of a remote store, asked patiently, or words that say what to do.

    What is not there stays a FileNotFoundError: that is an answer, too.
    """

    def give_up(error: Exception, attempts: int) -> Exception:
        if classify(error) is ErrorClass.NOT_FOUND or not is_of_a_store(error):
            return error
        return storage_error(uri, done, error, attempts)

    return patiently(question, patience, give_up)


def storage_error(uri: str, done: str, error: Exception, attempts: int = 1) -> StorageError:
    """What a store's error comes to, with the way out."""
    said = said_without_secrets(error, attempts).rstrip(".")
    return StorageError(
        f"{without_secrets(uri)}: could not be {done}: {said}. "
        f"{_WAYS_OUT.get(classify(error), _WAY_OUT)}, and run the same command again: what is "
        "committed stays."
    )


def open_store(uri: str, options: Options | None = None, patience: Patience = STEADY) -> Store:
    """The store at an address: a path, file://, s3://, gs://, az://, http(s)://."""
    if (path := local_path(uri)) is not None:
        return LocalStore(path)
    if protocol_of(uri).lower() in WEB:
        from .web_store import WebStore  # it is a Store itself

        return WebStore(uri, options or {}, patience)
    return ObjectStore(uri, options or {}, patience)


def local_entry(path: Path, name: str) -> Entry:
    """A file of this machine; FileNotFoundError if it is none that can be read to its end.

    It may be taken away meanwhile, or be a pipe, or a link to nothing or to itself.
    """
    try:
        facts = path.stat()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise FileNotFoundError(f"{path} leads in circles.") from error
    if not stat.S_ISREG(facts.st_mode):  # opening a pipe would wait for ever
        raise FileNotFoundError(f"{path} is no regular file.")
    return Entry(name, facts.st_size, f"{facts.st_size}-{facts.st_mtime_ns}")


def local_path(uri: str) -> Path | None:
    """The absolute path that an address means on this machine; None if it lies elsewhere."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    if "://" in uri:
        return None
    with suppress(RuntimeError):  # ~nobody/: no such user, but perhaps a file
        return Path(uri).expanduser().absolute()
    return Path(uri).absolute()


def _unless_gone(error: OSError) -> None:
    """A folder that cannot be read is not an empty one; one that is gone meanwhile is."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
