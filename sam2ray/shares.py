"""Slices of a source -> shares of work that take some seconds each, judged by files and bytes."""

from __future__ import annotations

from collections.abc import Sequence

from .readers.slices import Slice
from .readers.tables import PARQUET_SUFFIXES, table_suffix

# What a share should take. One share alone is listed by the process that asks: a Ray that is not
# running yet takes longer to start.
_SHARE_S = 2.0
_MOST_SHARES = 2000  # a task and its answer cost some 20 ms of the driver, however small

_FILE_S = 40e-6  # from its name to its row
_FOLDER_S = 0.5  # nobody has looked into it: it may hold nothing, or ten thousand files
_FILE_OPENED_S = 0.1  # a store answers twice or three times
_MEDIA_BYTES_A_S = 256 << 20  # of shards and tables with bytes, most of which are passed over
_TEXT_BYTES_A_S = 2 << 20  # of lists
_PARQUET_BYTES_A_S = _TEXT_BYTES_A_S // 4  # the same rows, packed

_LARGE_LIST_S = 4 * _SHARE_S  # dealing its rows out costs twice what reading them does


def cut(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Shares of slices that follow each other."""
    efforts = [effort_s(piece) for piece in slices]
    most_s = max(_SHARE_S, sum(efforts) / _MOST_SHARES)
    shares: list[list[Slice]] = []
    taken_s = most_s
    for piece, own_s in zip(slices, efforts, strict=True):
        if taken_s >= most_s:
            shares.append([])
            taken_s = 0.0
        shares[-1].append(piece)
        taken_s += own_s
    return shares


def effort_s(piece: Slice) -> float:
    """About how long listing a slice takes."""
    if piece.files is None:
        return _FOLDER_S
    if piece.reader in ("files", "frames"):
        return _FILE_S * len(piece.files)
    if piece.reader == "list":
        return sum(_list_s(entry.name, entry.size) for entry in piece.files)
    return sum(_FILE_OPENED_S + entry.size / _MEDIA_BYTES_A_S for entry in piece.files)


def is_large_list(piece: Slice) -> bool:
    """Whether the rows of a list are worth dealing out to tasks."""
    return piece.reader == "list" and effort_s(piece) > _LARGE_LIST_S


def _list_s(name: str, size: int) -> float:
    suffix = table_suffix(name)
    if suffix is None:
        return 0.0  # it will be ignored
    return size / (_PARQUET_BYTES_A_S if suffix in PARQUET_SUFFIXES else _TEXT_BYTES_A_S)
