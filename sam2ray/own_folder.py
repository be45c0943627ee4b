"""A folder for files that are of use to one process alone, and to nobody once that has ended.

Processes of a job are killed in many ways, and a copy of a video may be many gigabytes. So each
folder is locked by whoever made it, and whoever makes the next one removes those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

_PREFIX = "sam2ray-"
_LOCK = ".lock"


class OwnFolder:
    """A temporary folder; used as a context, it gives its path."""

    def __init__(self) -> None:
        _remove_what_nobody_holds()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._close = weakref.finalize(self, _remove, self.path, _lock(self.path))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it with all that is in it."""
        self._close()


def _lock(folder: Path) -> int:
    """Hold a folder's lock; it appears under its name when it is held.

    On a disk that knows no locks it never does, and what is left behind stays.
    """
    unnamed = folder / f"{_LOCK}.new"
    lock = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(folder / _LOCK)
    return lock


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _remove_what_nobody_holds() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):  # somebody else's, held, or gone meanwhile
            lock = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent)
            finally:
                os.close(lock)
