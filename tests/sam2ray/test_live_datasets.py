"""The datasets of pyarrow that an output gives hold just the rows that its batches have."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest
from made_outputs import Ended, Output, clip, make_output, picture

import sam2ray
from sam2ray.records import MASK_SCHEMA, OUTCOME_SCHEMA
from sam2ray.sinks.result_files import EMBEDDINGS
from sam2ray.storage import LocalStore, Store


def _with_a_past(store: Store) -> Output:
    """A picture that changed, one that failed twice, a clip, a copy that is lost."""
    output = Output(store)
    old = [picture("changed"), picture("same"), picture("flaky"), picture("bad")]
    output.list(old, "1")
    output.commit([Ended(unit) for unit in old[:2]], "run-1")
    output.commit([Ended(old[2], error_class="io"), Ended(old[3], error_class="corrupt")], "run-1")
    output.list([picture("changed", "2"), *old[1:], clip("street")], "2")
    output.commit([Ended(old[2], attempt=2, error_class="io")], "run-2")
    again = picture("changed", "2", supersedes=old[0].unit_id)
    lost = output.commit([Ended(old[2], attempt=3, masks=5), Ended(again, masks=3)], "run-3")
    output.commit([Ended(clip("street"), masks=2)], "run-3")
    output.store.delete(lost.replace("masks/", "units/"))
    return output


def _rows(table: pa.Table) -> list[str]:
    return sorted(map(str, table.to_pylist()))


def _agree(data: sam2ray.Dataset) -> None:
    pairs = [
        (data.masks_dataset(), data.masks()),
        (data.units_dataset(), data.units()),
        (data.embeddings_dataset(), data.embeddings()),
    ]
    for dataset, batches in pairs:
        assert isinstance(dataset, pads.Dataset)
        expected = batches.read_all()
        assert dataset.schema.equals(expected.schema)
        assert _rows(dataset.to_table()) == _rows(expected)
        assert dataset.count_rows() == len(expected)


def test_what_is_hidden_from_batches_is_hidden_from_datasets(
    store: Store, s3_options: dict, tmp_path: Path
):
    _with_a_past(store)
    data = sam2ray.open(store.uri, s3_options)
    _agree(data)
    assert data.masks_dataset().count_rows() == 3 + 2 + 5 + 6
    attempts = data.units_dataset().to_table(["attempt"])["attempt"].to_pylist()
    assert sorted(attempts) == [1, 1, 1, 1, 3]


def test_columns_and_rows_can_be_chosen(tmp_path: Path):
    data = sam2ray.open(_with_a_past(LocalStore(tmp_path)).store.uri)
    masks = data.masks_dataset()
    where = pc.field("source_uri") == "/archive/changed.jpg"
    assert len(masks.to_table(["area"], filter=where)) == 3
    assert masks.filter(where).count_rows() == 3
    assert sum(len(batch) for batch in masks.scanner(columns=["rle_counts"]).to_batches()) == 16
    assert (masks.schema, data.units_dataset().schema) == (MASK_SCHEMA, OUTCOME_SCHEMA)


def test_duckdb_scans_them(tmp_path: Path):
    duckdb = pytest.importorskip("duckdb")
    data = sam2ray.open(_with_a_past(LocalStore(tmp_path)).store.uri)
    for dataset, count in ((data.masks_dataset(), 16), (data.units_dataset(), 5)):
        (row,) = duckdb.from_arrow(dataset).aggregate("count(*)").fetchall()
        assert row == (count,)


def test_embeddings_are_a_dataset_too_and_nothing_is_an_empty_one(tmp_path: Path):
    output = Output(LocalStore(tmp_path / "a"), ["mode=embed"])
    output.list([picture(1), clip(2)], "1")
    output.commit([Ended(picture(1)), Ended(clip(2))], folder=EMBEDDINGS)
    _agree(sam2ray.open(str(tmp_path / "a")))
    Output(LocalStore(tmp_path / "b")).list([picture(1)], "1")
    _agree(sam2ray.open(str(tmp_path / "b")))


def test_a_file_that_was_copied_under_another_name_counts_once(tmp_path: Path):
    output = make_output(tmp_path)
    for folder in ("masks", "units"):
        (name,) = [e.name for e in output.store.list(folder)][:1]
        output.store.put(name.replace(".parquet", "-copy.parquet"), output.store.read(name))
    _agree(sam2ray.open(str(tmp_path)))


def test_units_that_two_files_share_are_refused_as_no_filter_tells_them_apart(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    units = [picture(n) for n in range(3)]
    output.list(units, "1")
    output.commit([Ended(unit) for unit in units[:2]], "run-1")
    output.commit([Ended(unit) for unit in units[1:]], "run-2")
    data = sam2ray.open(str(tmp_path))
    assert len(data.masks().read_all()) == 6
    for dataset in (data.masks_dataset, data.units_dataset):
        with pytest.raises(sam2ray.UsageError, match=r"repeats units of other files.*compact"):
            dataset()
