"""Which whole address belongs to a source's key: kept for one run, and written to no table.

Ten million signed addresses are gigabytes. Up to a limit they stay in memory; beyond it they go,
packed, to a temporary file that has no name, so that it ends with its process however that ends.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import IO

_SHARES = 1024  # of the range of keys: units are asked for in the order of their keys
_HELD_BYTES = 64 << 20
_SHARES_READ = 8  # that are kept as they were read last
_OVERHEAD_BYTES = 200  # of an entry of a dict and its two texts


class AddressBook:
    """Takes whole addresses in any order, and finds them again by their keys."""

    def __init__(self, held_bytes: int = _HELD_BYTES) -> None:
        self._most_held = held_bytes
        self._held: list[dict[str, str]] = [{} for _ in range(_SHARES)]
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self._pieces: list[list[tuple[int, int]]] = [[] for _ in range(_SHARES)]  # offset, length
        self._read: OrderedDict[int, dict[str, str]] = OrderedDict()

    def take(self, addresses: Sequence[tuple[str, str]]) -> None:
        """Keep addresses under the source keys of their units; a later one counts."""
        for key, whole in addresses:
            share = _share_of(key)
            self._held[share][key] = whole
            self._read.pop(share, None)
            self._held_bytes += len(key) + len(whole) + _OVERHEAD_BYTES
        if self._held_bytes > self._most_held:
            self._write_out()

    def find(self, keys: Sequence[str]) -> list[str | None]:
        """The whole addresses of units; None where a source had nothing to hide."""
        return [self._share(_share_of(key)).get(key) for key in keys]

    def _share(self, share: int) -> dict[str, str]:
        pieces = self._pieces[share]
        if not pieces:
            return self._held[share]
        known = self._read.get(share)
        if known is None:
            known = {}
            for offset, length in pieces:
                known.update(self._unpacked(offset, length))
            known.update(self._held[share])
            self._read[share] = known
            if len(self._read) > _SHARES_READ:
                self._read.popitem(last=False)
        self._read.move_to_end(share)
        return known

    def _write_out(self) -> None:
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115 it is this object's, and ends with it
        for share, held in enumerate(self._held):
            if held:
                packed = zlib.compress(json.dumps([*held.items()]).encode(), 1)
                self._pieces[share].append((self._file.seek(0, 2), len(packed)))
                self._file.write(packed)
                held.clear()
        self._held_bytes = 0

    def _unpacked(self, offset: int, length: int) -> Sequence[tuple[str, str]]:
        assert self._file is not None
        self._file.seek(offset)
        return json.loads(zlib.decompress(self._file.read(length)))


def _share_of(key: str) -> int:
    return int(key[:8], 16) * _SHARES >> 32
