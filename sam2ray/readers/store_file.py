"""A file of a store as a Python file: each read is a range, and a small buffer reads ahead."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import Sam2RayError
from ..patience import is_of_a_package
from ..range_file import RangeFile, ReadRange
from ..storage import Entry, Options, Store, open_store
from .places import place_of

SCAN_BYTES = 4 << 20  # for what is read from one end to the other

_FORBIDDEN = (401, 403)
_NOT_FOUND = (404, 410)


def store_file(store: Store, name: str, size: int) -> RangeFile:
    """A file of a store, of a size that is known."""
    return RangeFile(range_reader(store, name), size, store.uri_of(name))


def range_reader(store: Store, name: str) -> ReadRange:
    """What reads parts of a file that are known to be there."""
    uri = store.uri_of(name)

    def read_range(start: int, length: int) -> bytes:
        with store_errors(uri):
            content = store.read_range(name, start, length)
        if len(content) < length:  # would be taken for damage of the file
            raise OSError(f"{uri}: {len(content)} of {length} bytes at byte {start} came.")
        return content

    return read_range


def open_buffered(store: Store, entry: Entry, buffer_bytes: int) -> io.BufferedReader:
    """A file of a store, whose every request brings at least so many bytes."""
    return io.BufferedReader(store_file(store, entry.name, entry.size), buffer_bytes)


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
        if not is_of_a_package(error):
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
