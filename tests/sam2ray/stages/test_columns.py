"""Values of a column of bytes are read where they lie."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sam2ray.stages.columns import bytes_of, pack_rows, unpack_rows

VALUES = [b"abc", None, b"", b"defgh", None, b"i"]


def _column(*parts: list[bytes | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(part, pa.large_binary()) for part in parts])


def _read(column: pa.ChunkedArray) -> list[bytes | None]:
    return [None if value is None else value.to_pybytes() for value in bytes_of(column)]


@pytest.mark.parametrize("start", range(len(VALUES)))
@pytest.mark.parametrize("length", [0, 1, 4, 9])
def test_any_part_of_a_column_gives_its_own_values(start, length):
    column = _column(VALUES[:2], [], VALUES[2:])
    assert _read(column.slice(start, length)) == VALUES[start : start + length]


@pytest.mark.parametrize("values", [[], [None], [b""], [None, None]])
def test_columns_without_a_byte_are_columns_too(values):
    assert _read(_column(values)) == values


def test_values_are_not_copied():
    column = _column([b"x" * 1000, b"y" * 1000])
    content = column.chunk(0).buffers()[2]
    assert [value.address - content.address for value in bytes_of(column)] == [0, 1000]


def test_a_packed_table_is_the_same_table_again():
    table = pa.table({"a": [1, 2, None], "b": ["x", None, "z"]})
    assert unpack_rows(pack_rows(table)) == table
