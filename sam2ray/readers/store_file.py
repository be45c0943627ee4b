"""A file of a store as a Python file: each read is a range, and a small buffer reads ahead."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import Sam2RayError
from ..storage import Entry, Options, Store, open_store
from .places import place_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SCAN_BYTES = 4 << 20  # for what is read from one end to the other

_STORE_PACKAGES = frozenset(
    ("aiohttp", "botocore", "aiobotocore", "gcsfs", "google", "azure", "fsspec", "asyncio")
)
_FORBIDDEN = (401, 403)
_NOT_FOUND = (404, 410)


class StoreFile(io.RawIOBase):
    """A file that is read by ranges."""

    def __init__(self, store: Store, name: str, size: int) -> None:
        self._store, self._name, self._size = store, name, size
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go somewhere else, without reading anything."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """One range, up to the end of the file."""
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        with store_errors(self._store.uri_of(self._name)):
            content = self._store.read_range(self._name, self._position, wanted)
        if len(content) > wanted:
            raise OSError(f"{self._store.uri_of(self._name)}: the server sends no parts of files.")
        view[: len(content)] = content
        self._position += len(content)
        return len(content)


def open_buffered(store: Store, entry: Entry, buffer_bytes: int) -> io.BufferedReader:
    """A file of a store, whose every request brings at least so many bytes."""
    return io.BufferedReader(StoreFile(store, entry.name, entry.size), buffer_bytes)


def open_at(entry: Entry, options: Options, buffer_bytes: int = SCAN_BYTES) -> io.BufferedReader:
    """The same of an entry whose name is a whole address."""
    place = place_of(entry.name)
    store = open_store(place.folder, options)
    return open_buffered(store, Entry(place.name, entry.size, entry.version), buffer_bytes)


def read_at(uri: str, options: Options) -> bytes:
    """The whole file at an address."""
    place = place_of(uri)
    with store_errors(uri):
        return open_store(place.folder, options).read(place.name)


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Errors of a store's own packages become the OSErrors that they stand for."""
    try:
        yield
    except (OSError, Sam2RayError):
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _STORE_PACKAGES:
            raise
        raise _as_os_error(uri, error) from error


def _as_os_error(uri: str, error: Any) -> OSError:  # noqa: ANN401 every package has its own
    code = getattr(error, "status", None) or getattr(error, "code", None)
    code = code or getattr(error, "status_code", None)
    text = f"{uri}: {error or type(error).__name__}"
    if code in _NOT_FOUND:
        return FileNotFoundError(text)
    if code in _FORBIDDEN:
        return PermissionError(text)
    return OSError(text if code is None else f"{text} (HTTP {code})")
