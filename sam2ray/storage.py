"""Places that hold files, a local folder or a prefix of an object store; writes are atomic.

Names inside a store are relative and use "/". Nobody ever sees half a file: a local one is written
aside and renamed, a remote one appears with its last byte. What a store is asked is retried where
it is used (stages.fetch, sinks), because only they know what may be done twice.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import fsspec

from .errors import UsageError

Options = Mapping[str, Mapping[str, Any]]  # by protocol: what fsspec's file systems are made with

TEMPORARY = ".writing-"  # prefix of files that are not finished; readers pass over dotted names
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}
_FAMILIES = (("s3", "s3a"), ("gs", "gcs"), ("az", "abfs", "abfss"), ("http", "https"))


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a store."""

    name: str
    size: int
    version: str  # etag, or size and mtime


class Store(ABC):
    """A folder or prefix, and what is done with the files in it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/") or "/"

    def uri_of(self, name: str) -> str:
        """The address of a file of this store."""
        return f"{self.uri.rstrip('/')}/{name}"

    @abstractmethod
    def list(self, folder: str = "") -> Iterator[Entry]:
        """Files of a folder and of all folders below it, finished ones only; none if absent."""

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
    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one; whether it was written."""

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
        for top, folders, files in os.walk(self.folder / folder):
            folders.sort()
            for file in sorted(files):
                path = Path(top, file)
                if file.startswith(TEMPORARY):
                    continue
                try:
                    facts = path.stat()
                except FileNotFoundError:  # somebody took it away meanwhile, or a broken link
                    continue
                name = path.relative_to(self.folder).as_posix()
                yield Entry(name, facts.st_size, f"{facts.st_size}-{facts.st_mtime_ns}")

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
        self._write_aside(target, content).replace(target)
        _flush_folder(target.parent)

    def create(self, name: str, content: bytes) -> bool:
        """Write aside, and link under the name unless it is taken."""
        target = self.folder / name
        aside = self._write_aside(target, content)
        try:
            os.link(aside, target)
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        _flush_folder(target.parent)
        return True

    def _write_aside(self, target: Path, content: bytes | Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.parent / f"{TEMPORARY}{uuid4().hex}"
        try:
            with aside.open("xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    with content.open("rb") as source:
                        while piece := source.read(1 << 22):
                            file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        return aside

    def delete(self, name: str) -> None:
        """Remove a file."""
        (self.folder / name).unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.folder / name).is_file()


class ObjectStore(Store):
    """A prefix of a bucket, through fsspec."""

    def __init__(self, uri: str, options: Options) -> None:
        super().__init__(uri)
        self._fs = file_system(uri, options)
        self._root = self._fs._strip_protocol(self.uri).rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def list(self, folder: str = "") -> Iterator[Entry]:
        """Files of a prefix."""
        self._fs.invalidate_cache()
        try:
            # Left alone, an error would look like an empty folder.
            pages = self._fs.walk(self._path(folder), detail=True, on_error="raise")
            for _, _, files in pages:
                for facts in sorted(files.values(), key=lambda f: f["name"]):
                    if not facts["name"].endswith("/"):
                        yield self._entry(facts)
        except FileNotFoundError:
            return

    def _entry(self, facts: Mapping[str, Any]) -> Entry:
        name = facts["name"][len(self._root) + 1 :]
        return Entry(name, int(facts["size"] or 0), version_of(facts))

    def read(self, name: str) -> bytes:
        """A whole object."""
        return self._fs.cat_file(self._path(name))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """Part of an object."""
        return self._fs.cat_file(self._path(name), start=start, end=start + length)

    def open(self, name: str) -> BinaryIO:
        """An object to read from."""
        return self._fs.open(self._path(name), "rb")

    def put(self, name: str, content: bytes | Path) -> None:
        """One PUT, or a multipart upload that shows nothing before its end."""
        if isinstance(content, bytes):
            self._fs.pipe_file(self._path(name), content)
        else:
            self._fs.put_file(str(content), self._path(name))

    def create(self, name: str, content: bytes) -> bool:
        """A conditional PUT, where the store knows it."""
        try:
            self._fs.pipe_file(self._path(name), content, mode="create")
        except FileExistsError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Remove an object."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        self._fs.invalidate_cache()
        try:
            return self._fs.info(self._path(name))["type"] == "file"
        except FileNotFoundError:
            return False


def open_store(uri: str, options: Options | None = None) -> Store:
    """The store at an address: a path, file://, s3://, gs://, az://, http(s)://."""
    path = local_path(uri)
    return ObjectStore(uri, options or {}) if path is None else LocalStore(path)


def local_path(uri: str) -> Path | None:
    """The absolute path that an address means on this machine; None if it lies elsewhere."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    if "://" in uri:
        return None
    return Path(uri).expanduser().absolute()


def file_system(uri: str, options: Options) -> Any:  # noqa: ANN401 fsspec has no types
    """The file system for an address; what is missing is said with the command that helps."""
    protocol = uri.partition("://")[0] if "://" in uri else "file"
    try:
        # A listing that is kept would hide what others write meanwhile.
        own = {"use_listings_cache": False, **_options_of(protocol, options)}
        return fsspec.filesystem(protocol, **own)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = f'pip install "sam2ray[{extra}]"' if extra else str(error)
        raise UsageError(f"{uri}: {protocol}:// needs another package: {hint}") from error
    except ValueError as error:
        raise UsageError(f"{uri}: {protocol}:// is no kind of storage known here.") from error


def _options_of(protocol: str, options: Options) -> dict[str, Any]:
    """What is said of a protocol, under whichever of its names."""
    family = next((names for names in _FAMILIES if protocol in names), (protocol,))
    known = [name for name in (protocol, *family) if name in options]
    return dict(options[known[0]]) if known else {}


def version_of(facts: Mapping[str, Any]) -> str:
    """What a store says about a file's content: its etag, or its size and time."""
    for key in ("ETag", "etag", "content_md5", "md5Hash"):
        if facts.get(key):
            return str(facts[key]).strip('"')
    changed = facts.get("LastModified") or facts.get("mtime") or facts.get("last_modified") or ""
    return f"{facts.get('size')}-{changed}"


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
