"""Ranges of something far away -> a Python file: each read is one range."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ReadRange = Callable[[int, int], bytes]
"""Bytes from a place, so many of them."""


class RangeFile(io.RawIOBase):
    """A file that is read by ranges; the caller says what it is and how large."""

    def __init__(self, read_range: ReadRange, size: int, uri: str) -> None:
        self._read_range, self._size, self._uri = read_range, size, uri
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
        content = self._read_range(self._position, wanted)
        if len(content) > wanted:
            raise OSError(f"{self._uri}: the server sends no parts of files.")
        view[: len(content)] = content
        self._position += len(content)
        return len(content)
