"""Parquet files that hold pictures: a unit a row, and the bytes of any row."""

import threading
from itertools import groupby, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_archive import found_in, jpeg, write_files, write_parquet, write_picture_table

from sam2ray.errors import UnitFailed, UsageError
from sam2ray.readers.locate import read_unit
from sam2ray.readers.parquet_files import ParquetTable
from sam2ray.readers.parquet_rows import RowPlace, row_place
from sam2ray.readers.prompts import PromptSource
from sam2ray.readers.sources import open_source
from sam2ray.records import ErrorClass, Unit
from sam2ray.storage import Entry


def test_each_row_is_a_unit_whose_bytes_are_found_again(tmp_path):
    pictures = [jpeg(seed=n) for n in range(30)]
    path = write_picture_table(tmp_path / "x.parquet", pictures, row_group=7)
    units, _ = found_in(open_source(str(path), keep=["caption"]))
    assert [unit.member for unit in units] == [f"row {n}" for n in range(30)]
    assert [unit.offset for unit in units] == list(range(30))
    assert units[4].user == {"caption": "caption 4"}
    assert len({unit.unit_id for unit in units}) == 30
    assert [read_unit(unit, {}) for unit in units] == pictures
    for n in (29, 0, 15, 14, 3, 28):
        assert read_unit(units[n], {}) == pictures[n]


def test_the_rows_of_a_row_group_are_asked_for_together_and_in_their_order(tmp_path):
    pictures = [jpeg(seed=n) for n in range(30)]
    for name in ("x.parquet", "y.parquet"):
        write_picture_table(tmp_path / name, pictures, row_group=7)
    units, _ = found_in(open_source(str(tmp_path), keep=["caption"]))
    assert [unit.row_group for unit in units[:30]] == [n // 7 for n in range(30)]
    as_asked_for = sorted(units, key=lambda unit: unit.source_key)
    groups = [(unit.source_uri, unit.row_group) for unit in as_asked_for]
    assert sum(a != b for a, b in pairwise(groups)) == 2 * 5 - 1, "each group in one piece"
    for _, rows in groupby(as_asked_for, key=lambda unit: (unit.source_uri, unit.row_group)):
        numbers = [unit.offset for unit in rows]
        assert numbers == sorted(numbers)
    assert len({unit.source_key for unit in units}) == len(units)
    assert [group for _, group in groups] != sorted(group for _, group in groups), "spread"


@pytest.mark.parametrize("type_", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_may_have_any_binary_type(tmp_path, type_):
    path = write_parquet(tmp_path / "x.parquet", {"image": pa.array([b"1", b"22"], type_)})
    units, _ = found_in(open_source(str(path)))
    assert [read_unit(unit, {}) for unit in units] == [b"1", b"22"]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["image", "depth"], "image"),
        (["bytes"], "image"),
        (["video"], "video"),
        (["mp4"], "video"),
        (["thumb"], "image"),
    ],
)
def test_the_column_of_bytes_is_known_by_its_type_and_name(tmp_path, names, kind):
    columns = {name: [name.encode()] for name in names}
    path = write_parquet(tmp_path / "x.parquet", {"id": [1], **columns})
    ((unit,), _) = found_in(open_source(str(path)))
    assert (read_unit(unit, {}), unit.kind) == (names[0].encode(), kind)


def test_where_two_columns_hold_bytes_the_user_says_which(tmp_path):
    path = str(write_parquet(tmp_path / "x.parquet", {"left": [b"l"], "right eye": [b"r"]}))
    with pytest.raises(UsageError, match="left, right eye all hold bytes"):
        open_source(path)
    ((unit,), _) = found_in(open_source(path, bytes_column="right eye"))
    assert read_unit(unit, {}) == b"r"
    with pytest.raises(UsageError, match="no column up"):
        open_source(path, bytes_column="up")
    path = str(write_parquet(tmp_path / "y.parquet", {"left": [b"l"], "text": ["t"]}))
    with pytest.raises(UsageError, match="text holds string, and not bytes"):
        open_source(path, bytes_column="text")


def test_a_table_without_bytes_is_told_from_one_with_them(tmp_path):
    path = str(write_parquet(tmp_path / "x.parquet", {"text": ["t"]}))
    with pytest.raises(UsageError, match=r"no column of bytes\. It has: text"):
        open_source(path, kind="parquet")
    with pytest.raises(UsageError, match="no column names the files"):
        open_source(path)


def test_columns_of_the_same_row_may_hold_its_prompts(tmp_path):
    columns = {"image": [jpeg(), jpeg()], "box": [[1.0, 2, 3, 4], None]}
    path = write_parquet(tmp_path / "x.parquet", columns)
    source = open_source(str(path), prompts=PromptSource(coordinates="pixels"))
    units, _ = found_in(source)
    assert units[0].prompts == '[{"box":[1.0,2.0,3.0,4.0],"frame":0,"object_id":1}]'
    assert units[1].prompts is None


def test_a_row_without_bytes_fails_its_own_unit(tmp_path):
    cells = [{"bytes": b"1", "path": "a"}, {"bytes": None, "path": "b"}, None, {"bytes": b"2"}]
    path = write_parquet(tmp_path / "x.parquet", {"image": cells})
    units, _ = found_in(open_source(str(path)))
    assert read_unit(units[0], {}) == b"1"
    for unit in units[1:3]:
        with pytest.raises(UnitFailed, match=r"corrupt: image of row [0-9] holds no bytes"):
            read_unit(unit, {})
    assert read_unit(units[3], {}) == b"2"


def failure_of(unit: Unit) -> UnitFailed:
    with pytest.raises(UnitFailed) as failed:
        read_unit(unit, {})
    return failed.value


def with_broken_page(path: Path, row: int, column: int = 0) -> Path:
    """The same file with nonsense where the pages of a column of a row's group begin."""
    content, facts = bytearray(path.read_bytes()), pq.read_metadata(path)
    place = facts.row_group(row // facts.row_group(0).num_rows).column(column).data_page_offset
    content[place : place + 40] = b"\xff" * 40
    path.write_bytes(content)
    return path


def test_a_broken_page_fails_the_rows_of_its_group_for_good_and_no_others(tmp_path):
    columns = {"image": pa.array([bytes([n]) * 500 for n in range(30)])}
    pq.write_table(
        pa.table(columns), tmp_path / "x.parquet", row_group_size=10, use_dictionary=False
    )
    with_broken_page(tmp_path / "x.parquet", 10)
    units, _ = found_in(open_source(str(tmp_path)))
    assert len(units) == 30
    for turn in range(2):
        for n in range(29, -1, -1) if turn else range(30):
            if n // 10 == 1:
                failure = failure_of(units[n])
                assert failure.error_class is ErrorClass.CORRUPT
                assert "the Parquet file is damaged" in failure.message
            else:
                assert read_unit(units[n], {}) == bytes([n]) * 500


BROKEN_FILES = {
    "nothing": (lambda sound: b"", "truncated"),
    "the first half": (lambda sound: sound[: len(sound) // 2], "truncated"),
    "all but the last byte": (lambda sound: sound[:-1], "truncated"),
    "no footer that makes sense": (
        lambda sound: sound[:-60] + b"\xff" * 50 + sound[-10:],
        "corrupt",
    ),
    "a page of a store": (lambda sound: b"<?xml version='1.0'?><Error/>" * 9, "unsupported"),
    "text": (lambda sound: b"no parquet", "unsupported"),
    "another table": (lambda sound: table_bytes({"text": ["a", "b"]}), "unsupported"),
    "bytes under another name twice": (
        lambda sound: table_bytes({"left": [b"1"], "right": [b"2"]}),
        "unsupported",
    ),
}


def table_bytes(columns) -> bytes:
    file = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), file)
    return file.getvalue().to_pybytes()


@pytest.mark.parametrize("name", BROKEN_FILES)
@pytest.mark.parametrize("keep", [[], ["caption"]])
def test_a_broken_file_is_one_failed_unit_and_the_others_are_read(tmp_path, name, keep):
    broken, error_class = BROKEN_FILES[name]
    sound = write_picture_table(tmp_path / "1.parquet", [jpeg(seed=n) for n in range(6)])
    content = broken(sound.read_bytes())
    # Readable tables settle what a source is: these come behind the sound one.
    path = tmp_path / ("2.parquet" if error_class == "unsupported" else "0.parquet")
    path.write_bytes(content)
    units, ignored = found_in(open_source(str(tmp_path), keep=keep))
    assert not ignored
    assert sum(unit.fault is None for unit in units) == 6
    (damage,) = (unit for unit in units if unit.fault is not None)
    assert (damage.source_uri, damage.member) == (str(path), None)
    failure = failure_of(damage)
    assert failure.error_class.value == error_class, failure
    assert str(path) in failure.message
    assert failure.message.endswith("put a sound file in its place and run the same command again")


def test_a_file_without_a_column_that_the_others_have_fails_by_itself(tmp_path):
    write_picture_table(tmp_path / "0.parquet", [jpeg()])
    write_parquet(tmp_path / "1.parquet", {"image": [b"1"], "title": ["a"]})
    units, _ = found_in(open_source(str(tmp_path), keep=["caption"]))
    assert [unit.fault is None for unit in units] == [True, False]
    assert "has no column caption" in failure_of(units[1]).message
    assert failure_of(units[1]).error_class is ErrorClass.UNSUPPORTED


def test_a_broken_page_of_what_is_kept_costs_the_rows_behind_it_in_its_group(tmp_path):
    columns = {"image": [jpeg(seed=n) for n in range(9)], "caption": [f"c{n}" for n in range(9)]}
    path = write_parquet(tmp_path / "x.parquet", columns, 3)
    with_broken_page(path, 3, column=1)
    units, _ = found_in(open_source(str(path), keep=["caption"]))
    assert [unit.member for unit in units] == [
        *("row 0", "row 1", "row 2", "rows 3 to 5", "row 6", "row 7", "row 8")
    ]
    assert units[4].user == {"caption": "c6"}
    failure = failure_of(units[3])
    assert failure.error_class is ErrorClass.CORRUPT
    assert f"{path}, rows 3 to 5: " in failure.message
    assert len({unit.source_key for unit in units}) == 7


def test_a_cell_that_has_no_value_in_python_costs_its_own_row(tmp_path):
    times = pa.array([0, -(10**14), 5], pa.timestamp("ms"))  # Python's years begin with 1
    path = write_parquet(tmp_path / "x.parquet", {"image": [b"0", b"1", b"2"], "taken": times})
    units, _ = found_in(open_source(str(path), keep=["taken"]))
    assert [unit.member for unit in units] == ["row 0", "row 1", "row 2"]
    assert [unit.fault is None for unit in units] == [True, False, True]
    assert failure_of(units[1]).error_class is ErrorClass.UNSUPPORTED
    assert read_unit(units[2], {}) == b"2"


def test_an_error_of_the_store_is_none_of_the_file(tmp_path):
    path = write_picture_table(tmp_path / "x.parquet", [jpeg()])
    entry = Entry(str(path), path.stat().st_size, "1")
    path.write_bytes(path.read_bytes()[:-20])  # it has become shorter since it was listed
    with pytest.raises(OSError, match=r"bytes at byte .* came"):
        ParquetTable(entry, {})


def test_threads_that_ask_out_of_turn_all_get_their_own_bytes(tmp_path):
    pictures = [bytes([n]) * 100 for n in range(200)]
    path = write_parquet(tmp_path / "x.parquet", {"image": pictures}, 50)
    units, _ = found_in(open_source(str(path)))
    wrong = []

    def ask(first):
        mine = range(first, 200, 4)
        wrong.extend(n for n in mine if read_unit(units[n], {}) != pictures[n])

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_folder_of_tables_has_a_slice_for_each(tmp_path):
    for n in range(3):
        write_picture_table(tmp_path / f"{n}.parquet", [jpeg(seed=n)] * 2)
    write_files(tmp_path, {"README.md": b""})
    source = open_source(str(tmp_path))
    units, ignored = found_in(source)
    assert (len(list(source.slices())), len(units)) == (4, 6)
    assert [item.reason for item in ignored] == [".md"]


def test_the_name_of_a_row_is_read_back():
    assert row_place("row 17") == RowPlace(17, None)
    assert row_place("row 0 of my column of rows") == RowPlace(0, "my column of rows")
    with pytest.raises(ValueError, match="names no row"):
        row_place("a.jpg")
