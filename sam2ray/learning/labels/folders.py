"""Folders that labels lie in -> their files: for SA-1B, SA-V and DAVIS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import UsageError
from ...readers.frames import natural_key
from ...readers.places import absolute
from ...storage import Options, open_store


@dataclass(frozen=True, slots=True)
class Found:
    """Files below a folder, in their natural order."""

    root: str
    names: tuple[str, ...]

    def uri_of(self, name: str) -> str:
        """The address of a file."""
        return f"{self.root.rstrip('/')}/{name}"


def files_below(uri: str, options: Options, wanted: Callable[[str], bool], what: str) -> Found:
    """Files whose names are wanted, however deep they lie; that there are none is an error."""
    root = absolute(uri)
    names = [entry.name for entry in open_store(root, options).list() if wanted(entry.name)]
    if not names:
        raise UsageError(f"labels: {uri} holds no {what}.")
    return Found(root, tuple(sorted(names, key=natural_key)))
