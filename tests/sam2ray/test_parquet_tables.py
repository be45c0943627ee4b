"""Reading Parquet files: by the one thread that asks, or a process may be aborted when it ends."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sam2ray.parquet_tables import read_between, read_table

ROWS = 100_000


class _Watched(io.BytesIO):
    """A file that knows which threads read it, and which one let go of it."""

    def __init__(self, content: bytes, threads: set[int]) -> None:
        super().__init__(content)
        self._threads = threads

    def read(self, size: int | None = -1, /) -> bytes:
        self._threads.add(threading.get_ident())
        return super().read(size)

    def __del__(self) -> None:
        self._threads.add(threading.get_ident())


@pytest.fixture(scope="module")
def content() -> bytes:
    file = io.BytesIO()
    columns = {f"column {n}": range(ROWS) for n in range(8)}
    table = pa.table({**columns, "key": [f"{n:05x}" for n in range(ROWS)]})
    pq.write_table(table, file, row_group_size=ROWS // 10)
    return file.getvalue()


@pytest.mark.parametrize("columns", [None, ["column 3", "column 1"]])
def test_only_the_thread_that_asks_has_the_file(content, columns):
    threads: set[int] = set()
    table = read_table(_Watched(content, threads), columns)
    gc.collect()
    assert threads == {threading.get_ident()}
    assert table.equals(pq.read_table(io.BytesIO(content), columns=columns))


@pytest.mark.parametrize("columns", [None, ["column 3", "key"], ["column 1"]])
@pytest.mark.parametrize(
    ("low", "high"),
    [("", None), ("00", "02f"), ("035", "036"), ("0351", "0352"), ("zz", None), ("1869f", "186a")],
)
def test_rows_between_two_keys_are_read_by_that_thread_too(content, low, high, columns):
    threads: set[int] = set()
    table = read_between(_Watched(content, threads), "key", low, high, columns)
    gc.collect()
    assert threads == {threading.get_ident()}
    inside = pc.field("key") >= low
    if high is not None:
        inside &= pc.field("key") < high
    assert table.equals(pq.read_table(io.BytesIO(content), columns=columns, filters=inside))


_ENDS_AT_ONCE = """
import io, sys, time
import pyarrow.dataset as pads
from fsspec.implementations.memory import MemoryFileSystem
from sam2ray.live_datasets import arrow_place

content = open(sys.argv[1], "rb").read()

class SlowToGo(io.BytesIO):
    def __del__(self):
        time.sleep(0.02)

MemoryFileSystem().pipe_file("/out/a.parquet", content)
MemoryFileSystem._open = lambda *args, **options: SlowToGo(content)
place = arrow_place("memory://out", {})
table = pads.dataset([place.path("a.parquet")], filesystem=place.system).to_table()
print(len(table), flush=True)
"""


def test_a_program_that_ends_behind_a_scan_of_a_store_ends_well(content, tmp_path):
    (tmp_path / "a.parquet").write_bytes(content)
    command = [sys.executable, "-c", _ENDS_AT_ONCE, str(tmp_path / "a.parquet")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{ROWS}\n"), ended.stderr
