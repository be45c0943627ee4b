"""Parquet files that hold pictures: a unit a row, and the bytes of any row."""

import threading
from itertools import groupby, pairwise

import pyarrow as pa
import pytest
from make_archive import found_in, jpeg, write_files, write_parquet, write_picture_table

from sam2ray.errors import UnitFailed, UsageError
from sam2ray.readers.locate import read_unit
from sam2ray.readers.parquet_rows import RowPlace, row_place
from sam2ray.readers.prompts import PromptSource
from sam2ray.readers.sources import open_source


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


def test_a_damaged_page_fails_as_corrupt(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", {"image": [bytes([n]) * 5000 for n in range(20)]})
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56  # the header of the first page
    path.write_bytes(content)
    units, _ = found_in(open_source(str(path)))
    with pytest.raises((UnitFailed, OSError)):
        read_unit(units[0], {})


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
