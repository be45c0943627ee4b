"""Tables of every format, sound and not, give the same rows."""

import gzip
import json

import pyarrow as pa
import pytest
from make_archive import write_files, write_parquet

from sam2ray.errors import UsageError
from sam2ray.readers.listing import entry_at
from sam2ray.readers.slices import Ignored
from sam2ray.readers.tables import column_names, read_chunks, table_suffix
from sam2ray.storage import Entry

ROWS = [{"path": f"{n}.jpg", "text": f'a "quoted", cell\n{n}', "number": str(n)} for n in range(5)]


def csv_of(rows, delimiter=",") -> bytes:
    def cell(value):
        return '"' + value.replace('"', '""') + '"'

    lines = [delimiter.join(rows[0])] + [delimiter.join(map(cell, row.values())) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def jsonl_of(rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def entry(path) -> Entry:
    found = entry_at(str(path), {})
    return Entry(str(path), found.size, found.version)


def rows_of(path, columns=("path", "text")) -> tuple[list[dict], list[Ignored]]:
    chunks = list(read_chunks(entry(path), list(columns), {}))
    assert [chunk.first_row for chunk in chunks] == [
        sum(len(before.rows) for before in chunks[:n]) for n in range(len(chunks))
    ]
    rows = [dict(row) for chunk in chunks for row in chunk.rows]
    return rows, [item for chunk in chunks for item in chunk.ignored]


FORMATS = {
    "a.csv": csv_of(ROWS),
    "a.CSV": csv_of(ROWS),
    "bom.csv": b"\xef\xbb\xbf" + csv_of(ROWS),
    "crlf.csv": csv_of(ROWS).replace(b"\n1", b"\n1").replace(b'"\n"', b'"\r\n"'),
    "a.tsv": csv_of(ROWS, "\t"),
    "a.csv.gz": gzip.compress(csv_of(ROWS)),
    "a.jsonl": jsonl_of(ROWS),
    "blank lines.ndjson": b"\n" + jsonl_of(ROWS).replace(b"}\n", b"}\n\n"),
    "a.jsonl.gz": gzip.compress(jsonl_of(ROWS)),
}


@pytest.mark.parametrize("name", [*FORMATS, "a.parquet"])
def test_every_format_gives_the_rows_that_were_written(tmp_path, name):
    if name == "a.parquet":
        write_parquet(tmp_path / name, {key: [row[key] for row in ROWS] for key in ROWS[0]}, 2)
    else:
        write_files(tmp_path, {name: FORMATS[name]})
    assert column_names(entry(tmp_path / name), {}) == ["path", "text", "number"]
    expected = [{"path": row["path"], "text": row["text"]} for row in ROWS]
    assert rows_of(tmp_path / name) == (expected, [])


@pytest.mark.parametrize("name", ["many.csv", "many.jsonl", "many.parquet"])
def test_tables_longer_than_a_chunk_are_numbered_through(tmp_path, name):
    rows = [{"path": f"{n}.jpg"} for n in range(20_000)]
    if name.endswith("parquet"):
        write_parquet(tmp_path / name, {"path": [row["path"] for row in rows]}, 7000)
    else:
        content = csv_of(rows) if name.endswith("csv") else jsonl_of(rows)
        write_files(tmp_path, {name: content})
    assert rows_of(tmp_path / name, ["path"]) == (rows, [])


def test_cells_of_csv_stay_text(tmp_path):
    write_files(tmp_path, {"a.csv": b"path,n\n007,1e3\nTrue,\n"})
    rows, _ = rows_of(tmp_path / "a.csv", ["path", "n"])
    assert rows == [{"path": "007", "n": "1e3"}, {"path": "True", "n": ""}]


def test_rows_with_too_many_or_too_few_cells_are_ignored_with_their_text(tmp_path):
    write_files(tmp_path, {"a.csv": b"path,text\na.jpg,1\nb.jpg\nc.jpg,1,2\nd.jpg,2\n"})
    rows, ignored = rows_of(tmp_path / "a.csv")
    assert [row["path"] for row in rows] == ["a.jpg", "d.jpg"]
    assert [(item.reason, item.detail) for item in ignored] == [
        ("broken row", "1 cells instead of 2"),
        ("broken row", "3 cells instead of 2"),
    ]
    assert "b.jpg" in ignored[0].name


@pytest.mark.parametrize(
    "line", [b"{not json}", b"[1]", b'"text"', b"\xff\xfe\xfd", b"[" * 100_000, b"null"]
)
def test_lines_that_are_no_json_objects_are_ignored(tmp_path, line):
    good = b'{"path": "a.jpg", "text": "x"}\n'
    write_files(tmp_path, {"a.jsonl": good + line + b"\n" + good})
    rows, ignored = rows_of(tmp_path / "a.jsonl")
    assert len(rows) == 2
    assert [item.reason for item in ignored] == ["broken row"]
    assert ignored[0].name.endswith("a.jsonl: row 1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1 and so on"),
        ("a.parquet", b""),
        ("latin1.csv", "path,text\nä.jpg,é\n".encode("latin-1")),
        ("a.csv.gz", b"no gzip"),
        ("a.csv", b""),
    ],
)
def test_a_table_that_cannot_be_read_is_a_usage_error_with_its_address(tmp_path, name, content):
    write_files(tmp_path, {name: content})
    with pytest.raises(UsageError, match=name):
        rows_of(tmp_path / name)


def test_the_suffix_says_which_tables_are_read():
    assert table_suffix("x/a.CSV") == ".csv"
    assert table_suffix("https://host/a.csv.gz?x=1") == ".csv"
    assert table_suffix("a.parquet.gz") is None
    assert table_suffix("a.txt") is None


def test_cells_of_parquet_may_have_any_type(tmp_path):
    columns = {"path": pa.array(["a"]), "text": pa.array([[{"x": 1}]])}
    write_parquet(tmp_path / "a.parquet", columns)
    assert rows_of(tmp_path / "a.parquet")[0] == [{"path": "a", "text": [{"x": 1}]}]
