"""A table that is written anew, in other row groups: its rows are the same sources as before."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from make_archive import found_in, jpeg, write_picture_table

from sam2ray.config_file import load_config
from sam2ray.index_facts import superseded_ids
from sam2ray.listing import list_source
from sam2ray.manifest import read_manifest
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit, as_hex
from sam2ray.storage import LocalStore


@pytest.mark.parametrize("row_groups", [(10, 5), (5, 10), (7, 3)])
def test_rows_in_other_row_groups_take_the_place_of_what_they_were(
    tmp_path: Path, row_groups: tuple[int, int]
):
    store, source = LocalStore(tmp_path / "out"), tmp_path / "in"
    source.mkdir()
    config = load_config(None, (), source=str(source), output=str(tmp_path / "out"))
    added = []
    for number, row_group in enumerate(row_groups):
        pictures = [jpeg(seed=10 * number + row) for row in range(10)]
        write_picture_table(source / "x.parquet", pictures, row_group=row_group)
        _, merged = list_source(config, store, str(number))
        added.append((merged.added, merged.superseding))
    assert added == [(10, 0), (10, 10)]
    units = {
        one for table in read_manifest(store, ["unit_id"]) for one in table["unit_id"].to_pylist()
    }
    assert len(units - {*as_hex(superseded_ids(store))}) == 10


def test_rows_are_found_again_whatever_their_row_groups_are(tmp_path: Path):
    keys = []
    for row_group in (10, 3):
        path = write_picture_table(tmp_path / "x.parquet", [jpeg(seed=1)] * 10, row_group)
        units, _ = found_in(open_source(str(path)))
        keys.append([unit.source_key for unit in units])
    assert keys[0] == keys[1]


def test_rows_of_a_huge_table_lie_in_many_ranges_of_keys():
    """A range of keys is what a merge holds at a time."""
    rows = range(0, 10_000_000, 10_000)
    units = [Unit("/x.parquet", "image", f"row {n}", n, row_group=0) for n in rows]
    ranges = [int(unit.source_key[:8], 16) * 50 >> 32 for unit in units]
    assert all(ranges.count(number) < len(units) // 10 for number in set(ranges))
    assert all(len(unit.source_key) == 32 for unit in units)
    followed = sum(a.source_key < b.source_key for a, b in pairwise(units))
    assert followed > len(units) // 2, "those of a block follow each other"
