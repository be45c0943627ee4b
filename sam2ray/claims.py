"""A name that one of several may write: a conditional write, or the next best where there is none.

A write that got no answer may have been done all the same, and clients ask again without a word (as
aiohttp does on a connection that was kept): whoever is refused looks whether it was by itself. So
what is written should say by whom.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

from fsspec import AbstractFileSystem

from .patience import causes, status_of

SETTLE_S = 2.0  # longer than two that looked at the same moment take to write
_REFUSED = 412
_RACES = (
    "this store knows no conditional writes, so that two runs that start on one output at the same "
    "moment may not see each other. Start one at a time."
)

_log = logging.getLogger(__name__)


Answer = TypeVar("Answer")


class Ask(Protocol):
    """Asks a store one thing, as often as it takes."""

    def __call__(self, question: Callable[[], Answer], /) -> Answer:
        """The answer."""
        ...


class Claim:
    """A file to be written unless there is one."""

    def __init__(self, fs: Any, path: str, content: bytes, root: str, ask: Ask) -> None:  # noqa: ANN401 fsspec has no types
        self._fs, self._path, self._content, self._root = fs, path, content, root
        self._ask = ask
        self._may_be_written = False

    def make(self) -> bool:
        """Whether this claim is the file that is there now."""
        there = self._content_there()
        if there is None and not self._write():
            return self._is_ours(self._content_there())
        if there is not None and not self._is_ours(there):
            return False
        return self._is_exclusive() or self._is_ours_after_a_while()

    def _content_there(self) -> bytes | None:
        def look() -> bytes:
            self._fs.invalidate_cache()
            return self._fs.cat_file(self._path)

        try:
            return self._ask(look)
        except FileNotFoundError:
            return None

    def _is_ours(self, there: bytes | None) -> bool:
        return self._may_be_written and there == self._content

    def _write(self) -> bool:
        """Write, on the condition that there is nothing; False if that was refused."""
        return self._ask(self._write_once)

    def _write_once(self) -> bool:
        self._may_be_written = True
        condition = {"mode": "create"} if knows_conditions(self._fs) else {}
        try:
            self._fs.pipe_file(self._path, self._content, **condition)
        except Exception as error:
            if _is_refusal(error):
                return False
            raise
        return True

    def _is_exclusive(self) -> bool:
        """Whether the store keeps to conditions; some take no notice of them, and do not say so."""
        return knows_conditions(self._fs) and not self._write()

    def _is_ours_after_a_while(self) -> bool:
        """Of several that wrote one after another, the last one has it."""
        warn_once(self._root, _RACES)
        time.sleep(SETTLE_S)
        return self._content_there() == self._content


def knows_conditions(fs: Any) -> bool:  # noqa: ANN401 fsspec has no types
    """Whether a file system has a write of its own that refuses; the general one looks first."""
    write = getattr(type(fs), "_pipe_file" if fs.async_impl else "pipe_file")
    is_own = write is not AbstractFileSystem.pipe_file
    return is_own and "mode" in inspect.signature(write).parameters


def _is_refusal(error: Exception) -> bool:
    """Not every server says which condition it was, and then s3fs knows no FileExistsError."""
    return any(
        isinstance(cause, FileExistsError) or status_of(cause) == _REFUSED
        for cause in causes(error)
    )


_one_at_a_time = threading.Lock()  # a cache alone lets two threads through that come together


def warn_once(root: str, words: str) -> None:
    """Once a process and root."""
    with _one_at_a_time:
        _say_once(root, words)


@cache
def _say_once(root: str, words: str) -> None:
    _log.warning("%s: %s", root, words)
