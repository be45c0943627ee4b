"""Rows of a result file -> where each unit's rows start and end, and a digest of what they say.

A digest does not depend on how rows are cut into row groups, files or chunks of memory, so that the
same rows in another file have the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .records import ID_BYTES


@dataclass(frozen=True, slots=True)
class UnitRun:
    """Rows of a table that follow one another and belong to one unit."""

    unit_id: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class UnitDigest:
    """What the rows of one unit say, in 16 bytes."""

    unit_id: str
    rows: int
    digest: bytes


def unit_runs(ids: pa.ChunkedArray) -> list[UnitRun]:
    """Cut a column of unit ids where the unit changes."""
    if not len(ids):
        return []
    coded = ids.combine_chunks().dictionary_encode("encode")
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    borders = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    return [UnitRun(str(names[codes[a]]), a, b) for a, b in pairwise(borders)]


def unit_digests(tables: Iterable[pa.Table]) -> Iterator[UnitDigest]:
    """Digests of units whose rows come one after another; a unit may go on in the next table."""
    unit_id: str | None = None
    rows = 0
    hashes: list[blake2b] = []
    for table in tables:
        streams = _streams(table)
        for run in unit_runs(table["unit_id"]):
            if run.unit_id != unit_id:
                if unit_id is not None:
                    yield _closed(unit_id, rows, hashes)
                unit_id, rows = run.unit_id, 0
                hashes = [blake2b(digest_size=ID_BYTES) for _ in streams]
            rows += run.stop - run.start
            for stream, own in zip(streams, hashes, strict=True):
                own.update(stream.between(run.start, run.stop))
    if unit_id is not None:
        yield _closed(unit_id, rows, hashes)


def _closed(unit_id: str, rows: int, hashes: list[blake2b]) -> UnitDigest:
    every = b"".join(own.digest() for own in hashes)
    return UnitDigest(unit_id, rows, blake2b(every, digest_size=ID_BYTES).digest())


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    """Bytes of some columns, row after row."""

    cells: np.ndarray  # uint8 [cells, bytes of one]
    offsets: np.ndarray | None = None  # int64 [rows + 1], where a row may have any number of cells

    def between(self, start: int, stop: int) -> memoryview:
        if self.offsets is not None:
            start, stop = self.offsets[start], self.offsets[stop]
        return self.cells[start:stop].data


def _streams(table: pa.Table) -> list[_Stream]:
    """All columns: what has a width side by side, each other column by itself."""
    fixed, varying = [], []
    for column in table.columns:
        array = column.combine_chunks()
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            varying.append(_text_stream(array))
        elif pa.types.is_list(array.type):
            varying.append(_list_stream(array))
        else:
            fixed.append(_cells(array))
            continue
        lengths = np.diff(varying[-1].offsets).astype("<i8")
        fixed += [_as_bytes(lengths), _validity(array)]
    return [_Stream(np.ascontiguousarray(np.hstack(fixed))), *varying]


def _text_stream(array: pa.Array) -> _Stream:
    lengths = pc.call_function("binary_length", [array]).fill_null(0).to_numpy()
    text = "".join(array.fill_null("").to_pylist()).encode()
    return _Stream(np.frombuffer(text, np.uint8).reshape(-1, 1), _offsets(lengths))


def _list_stream(array: pa.Array) -> _Stream:
    lengths = pc.call_function("list_value_length", [array]).fill_null(0).to_numpy()
    return _Stream(_cells(array.flatten()), _offsets(lengths))


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _cells(array: pa.Array) -> np.ndarray:
    """Values of a fixed width, and beside each whether it is there."""
    values = np.ascontiguousarray(array.fill_null(0).to_numpy(zero_copy_only=False))
    return np.hstack([_as_bytes(values), _validity(array)])


def _validity(array: pa.Array) -> np.ndarray:
    return _as_bytes(array.is_valid().to_numpy(zero_copy_only=False))


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return values.view(np.uint8).reshape(len(values), values.dtype.itemsize)
