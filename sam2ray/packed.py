"""Rows of a few bytes each, millions of them: one array that grows and is sorted where it lies.

Their bytes are what is compared, so the numbers in them are unsigned and big-endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .records import ID_FIELDS, Ids, as_hex

Rows = np.ndarray[Any, np.dtype[Any]]

_FIRST_ROOM = 1024
_GROWTH = 8  # by one part in so many: what is added is touched, and so it is resident
_BLOCK = 1 << 18


class PackedRows:
    """An id and some other numbers a row, collected until all are there.

    `fields` are dtypes by name, in the order in which they count when rows are sorted.
    """

    def __init__(self, **fields: str) -> None:
        self._rows = np.empty(_FIRST_ROOM, np.dtype([*ID_FIELDS, *fields.items()]))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ids: Ids, **numbers: np.ndarray | int) -> None:
        """Take rows of one source."""
        end = self._count + len(ids)
        if end > len(self._rows):
            # The system moves the pages: nothing is copied, and never are there two arrays.
            self._rows.resize(max(end, len(self._rows) * (_GROWTH + 1) // _GROWTH), refcheck=False)
        new = self._rows[self._count : end]
        new["high"], new["low"] = ids["high"], ids["low"]
        for name, values in numbers.items():
            new[name] = values
        self._count = end

    def take(self) -> Rows:
        """All rows, sorted; they are the caller's, and none are left here."""
        rows, self._rows = self._rows, np.empty(0, self._rows.dtype)
        rows.resize(self._count, refcheck=False)
        self._count = 0
        as_bytes(rows).sort()
        return rows


def sorted_ids(parts: Iterable[Ids]) -> Ids:
    """Ids of many parts, each once."""
    collected = PackedRows()
    for part in parts:
        collected.add(part)
    return keep_last_of_each(collected.take())


def is_last_of_its_id(rows: Rows) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which sorted rows are followed by those of another id, or by none."""
    last = np.ones(len(rows), bool)
    last[:-1] = ~same_id(rows[1:], rows[:-1])
    return last


def same_id(rows: Rows, others: Rows) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether two rows, place by place, are of one id."""
    return (rows["high"] == others["high"]) & (rows["low"] == others["low"])


def keep_last_of_each(rows: Rows) -> Rows:
    """Sorted rows without all but the last of each id; the array itself is made shorter."""
    return keep(rows, is_last_of_its_id(rows))


def keep(rows: Rows, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Rows:
    """The chosen rows; they move together in the array itself, which is made shorter."""
    if chosen.all():
        return rows
    count = 0
    for block, taken in zip(blocks(rows), blocks(chosen), strict=True):
        kept = block[taken]
        rows[count : count + len(kept)] = kept
        count += len(kept)
    rows.resize(count, refcheck=False)
    return rows


def first_places(rows: Rows, ids: Ids) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Where the first row of each id is among sorted rows, or would be."""
    wanted = np.zeros(len(ids), rows.dtype)  # zeros come before all that may follow an id
    wanted["high"], wanted["low"] = ids["high"], ids["low"]
    return np.searchsorted(as_bytes(rows), as_bytes(wanted))


def is_in(ids: Ids, sorted_ids: Rows) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which ids are among those of sorted rows."""
    found = [_is_in(block, sorted_ids) for block in blocks(ids)]
    return np.concatenate([np.zeros(0, bool), *found])


def _is_in(ids: Ids, sorted_ids: Rows) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if not len(sorted_ids):
        return np.zeros(len(ids), bool)
    places = first_places(sorted_ids, ids).clip(max=len(sorted_ids) - 1)
    return same_id(sorted_ids[places], ids)


def blocks(rows: Rows) -> Iterator[Rows]:
    """Some of the rows at a time: what is made of them is larger than they are."""
    return (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))


def hex_ids(rows: Rows) -> list[str]:
    """The ids of rows as tables and people write them."""
    return as_hex(rows[[name for name, _ in ID_FIELDS]])


def first_id(rows: Rows) -> str:
    """One of them, to be named as an example."""
    return hex_ids(rows[:1])[0]


def as_bytes(rows: Rows) -> np.ndarray[Any, np.dtype[np.bytes_]]:
    """The same memory as texts of one length, which numpy sorts and finds fifty times as fast.

    Only to be compared: numpy takes the zeros off the end of what is read out of such an array.
    """
    assert rows.dtype["high"] == ID_FIELDS[0][1], "np.concatenate turns big-endian numbers round"
    return rows.view(f"S{rows.dtype.itemsize}")
