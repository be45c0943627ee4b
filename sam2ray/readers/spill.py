"""Records under keys, in any order -> shares that each hold all records of their keys.

Up to a limit everything stays in memory, as one share. Beyond it, records go to temporary files by
a hash of their key, and memory holds one share at a time: a 64th of them all.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import blake2b
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from ..own_folder import OwnFolder

Record = Any  # what JSON can write; records are read back equal, not identical

_write = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps makes one each time
_SHARES = 64
_LIMIT_BYTES = 256 << 20


class Spill:
    """Collects records, then gives them back share by share."""

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held: list[tuple[str, bytes]] = []
        self._held_bytes = 0
        self._files: list[BinaryIO] = []
        self._resources = ExitStack()

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()

    def add(self, key: str, record: Record) -> None:
        """Take a record; the order of those with one key is kept."""
        line = _write([key, record]).encode()
        self._held.append((key, line))
        self._held_bytes += len(line) + sys.getsizeof(key)
        if self._held_bytes > self._limit_bytes:
            self._write_out()

    def shares(self) -> Iterator[dict[str, list[Record]]]:
        """Records by key, the keys of a share in order of first appearance; once."""
        if not self._files:
            held, self._held = self._held, []
            yield _by_key(line for _, line in held)
            return
        self._write_out()
        for file in self._files:
            file.seek(0)
            yield _by_key(file)
            file.truncate(0)  # makes room on the disk

    def _write_out(self) -> None:
        if not self._files:
            folder = self._resources.enter_context(OwnFolder())
            for _ in range(_SHARES):
                # What is in it may be secret: no name leads to it, and it ends with this process.
                file = self._resources.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115
                self._files.append(cast("BinaryIO", file))
        for key, line in self._held:
            self._files[_hash(key) % _SHARES].write(line + b"\n")
        self._held.clear()
        self._held_bytes = 0


def _hash(key: str) -> int:
    text = key.encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big")


def _by_key(lines: Iterator[bytes] | BinaryIO) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for line in lines:
        key, record = json.loads(line.decode())  # bytes would be searched for their encoding
        found.setdefault(key, []).append(record)
    return found
