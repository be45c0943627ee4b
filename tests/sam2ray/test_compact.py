"""A compacted output says what the old one said, in fewer files, or is no output at all."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_outputs import Ended, Output, clip, make_output, picture

import sam2ray
from sam2ray import compact, lease
from sam2ray.compact import MARK, compact_output
from sam2ray.errors import RootRefused, StorageError, UsageError
from sam2ray.root import SUCCESS, Selection, due_units
from sam2ray.row_digests import unit_digests
from sam2ray.sinks.result_files import EMBEDDINGS
from sam2ray.storage import LocalStore, Store
from sam2ray.verify import verify_output


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Many small files, a clip, a unit that failed twice, one that failed, one superseded."""
    output = Output(LocalStore(tmp_path / "out"))
    units = [*(picture(n) for n in range(12)), clip("street"), picture("bad"), picture("flaky")]
    output.list(units, "1")
    for unit in units[:12]:
        output.commit([Ended(unit, masks=int(unit.source_uri[9]))], "run-1")
    output.commit([Ended(units[12]), Ended(units[13], error_class="bomb")], "run-1")
    output.commit([Ended(units[14], error_class="io")], "run-1")
    output.commit([Ended(units[14], attempt=2)], "run-2")
    newer = picture(3, "2", supersedes=units[3].unit_id)
    output.list([*units[:3], picture(3, "2")], "2")
    output.commit([Ended(newer, masks=1)], "run-2")
    output.store.put("_sam2ray/runs/run-1.json", b"{}")
    output.finish()
    return output


@pytest.fixture
def new(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "new")


def _content(store: Store) -> dict[str, tuple]:
    dataset = sam2ray.open(store.uri)
    masks = {u.unit_id: u.digest for u in unit_digests([dataset.masks().read_all()])}
    units = dataset.units().read_all().to_pylist()
    return {row["unit_id"]: (row, masks.get(row["unit_id"])) for row in units}


def test_a_compacted_output_says_the_same_in_fewer_files(output: Output, new: LocalStore):
    compacted = compact_output(output.store, new)
    assert _content(new) == _content(output.store)
    assert (compacted.files_before, compacted.files_after) == (16, 1)
    assert compacted.units == 15
    assert compacted.masks == len(sam2ray.open(new.uri).masks().read_all())
    assert compacted.bytes_after < compacted.bytes_before
    assert new.exists(SUCCESS)


def test_a_compacted_output_is_consistent_and_has_no_trace_of_the_past(
    output: Output, new: LocalStore
):
    compact_output(output.store, new)
    findings = verify_output(new)
    assert findings.complaints == []
    assert findings.standing == verify_output(output.store).standing
    (file,) = [e.name for e in new.list("units")]
    rows = pq.read_table(Path(new.uri) / file).to_pylist()
    assert len(rows) == 15
    assert {row["attempt"] for row in rows if row["source_uri"].endswith("flaky.jpg")} == {2}
    assert picture(3).unit_id not in {row["unit_id"] for row in rows}


def test_a_later_run_has_nothing_to_do_in_it_and_knows_what_was(output: Output, new: LocalStore):
    compact_output(output.store, new)
    after = Output(new)  # the same config, or it would be refused
    assert list(due_units(new, after.index(), Selection(3))) == []
    after.list([picture(3)], "3")  # as it was before it changed
    (due,) = due_units(new, after.index(), Selection(3))
    assert due["repeat"].to_pylist() == [1]
    assert new.read("_sam2ray/runs/run-1.json") == b"{}"


def test_files_have_about_the_size_that_was_asked_for_and_hold_whole_units(
    tmp_path: Path, new: LocalStore
):
    output = Output(LocalStore(tmp_path / "out"))
    units = [picture(n) for n in range(8)]
    output.list(units, "1")
    for pair in (units[:4], units[4:]):
        output.commit([Ended(unit, masks=300) for unit in pair])
    output.finish()
    sizes = [e.size for e in output.store.list("masks")]
    compacted = compact_output(output.store, new, target_bytes=sizes[0] * 3 // 8)
    assert compacted.files_after == 4
    assert max(e.size for e in new.list("masks")) < 0.8 * sizes[0]
    assert verify_output(new).is_consistent


def test_a_footer_does_not_grow_without_end(
    output: Output, new: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compact, "_MOST_UNITS", 4)
    assert compact_output(output.store, new).files_after == 4
    assert _content(new) == _content(output.store)


def test_an_output_on_a_store_is_compacted_alike(store: Store, s3_options: dict, tmp_path: Path):
    output = Output(store)
    output.list([picture(1), picture(2)], "1")
    for number in (1, 2):
        output.commit([Ended(picture(number))])
    output.finish()
    new = LocalStore(tmp_path / "new root")
    compact_output(store, new)
    back = LocalStore(tmp_path / "back")
    compact_output(new, back)
    assert verify_output(back).is_consistent
    assert _content(back) == _content(new)


def test_an_unfinished_output_is_compacted_and_not_marked_as_complete(
    output: Output, new: LocalStore
):
    output.list([picture("waiting")], "9")
    assert not compact_output(output.store, new).is_complete
    assert not new.exists(SUCCESS)
    (complaint,) = verify_output(new).complaints
    assert "1 of 16 units have not ended" in complaint


def test_embeddings_are_compacted_too(tmp_path: Path, new: LocalStore):
    output = Output(LocalStore(tmp_path / "out"), ["mode=embed"])
    units = [picture(1), clip(2)]
    output.list(units, "1")
    for unit in units:
        output.commit([Ended(unit)], folder=EMBEDDINGS)
    output.finish()
    compact_output(output.store, new)
    assert verify_output(new).is_consistent
    assert len(sam2ray.open(new.uri).embeddings().read_all()) == 4


def test_the_old_output_is_not_touched(output: Output, new: LocalStore):
    def results() -> dict[str, str]:
        entries = output.store.list()
        return {e.name: e.version for e in entries if "/lease/" not in e.name}

    before = results()
    compact_output(output.store, new)
    assert results() == before


# ---------------------------------------------------------------- what is refused


def test_a_root_that_holds_anything_is_refused(output: Output, new: LocalStore):
    new.put("notes.txt", b"mine")
    with pytest.raises(RootRefused, match="is not empty, and nothing is written over"):
        compact_output(output.store, new)
    assert [e.name for e in new.list()] == ["notes.txt"]


@pytest.mark.parametrize("place", ["out", "out/inside", ""])
def test_a_root_inside_the_old_one_or_around_it_is_refused(
    output: Output, tmp_path: Path, place: str
):
    with pytest.raises(UsageError, match="must lie outside"):
        compact_output(output.store, LocalStore(tmp_path / place))


def test_what_is_no_output_is_refused(new: LocalStore, tmp_path: Path):
    with pytest.raises(UsageError, match="is no output of sam2ray"):
        compact_output(LocalStore(tmp_path / "nothing"), new)


def test_an_output_that_a_run_holds_is_refused(
    output: Output, new: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    with (
        closing(lease.acquire(output.store, lease.this_process("run-7"))),
        pytest.raises(RootRefused, match="run run-7 is writing to it"),
    ):
        compact_output(output.store, new)
    assert list(new.list()) == []


def test_a_run_cannot_begin_while_it_lasts(
    output: Output, new: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    refused = []

    def run_in_between(*_: object) -> None:
        for store in (output.store, new):
            if len(refused) < 2:
                with pytest.raises(RootRefused) as error:
                    lease.acquire(store, lease.this_process("run-8"))
                refused.append(error)

    compact_output(output.store, new, watch=run_in_between)
    assert len(refused) == 2


# ---------------------------------------------------------------- what breaks


@pytest.mark.parametrize(
    ("stage", "at_its_end"),
    [("written", False), ("written", True), ("read", False), ("compared", False)],
)
def test_a_compaction_that_breaks_off_leaves_nothing_that_passes_for_whole(
    output: Output,
    new: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    at_its_end: bool,
):
    monkeypatch.setattr(compact, "_MOST_UNITS", 5)

    class Killed(BaseException):
        pass

    def kill(what: str, done: int, of: int) -> None:
        if what == stage and done == (of if at_its_end else 1):
            raise Killed

    with pytest.raises(Killed):
        compact_output(output.store, new, watch=kill)
    _expect_remains(output, new)


def test_a_compaction_that_is_killed_leaves_the_same(output: Output, new: LocalStore):
    code = f"""
import os
from sam2ray.compact import compact_output
from sam2ray.storage import open_store
old, new = open_store({output.store.uri!r}), open_store({new.uri!r})
compact_output(old, new, watch=lambda what, *_: what == "read" and os._exit(9))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    _expect_remains(output, new)


def _expect_remains(output: Output, new: LocalStore) -> None:
    assert not new.exists(SUCCESS)
    assert any("a compaction into this root broke off" in c for c in verify_output(new).complaints)
    with pytest.raises(RootRefused, match=r"broke off\. Delete it, or name another root"):
        compact_output(output.store, new)
    compact_output(output.store, LocalStore(Path(new.uri).with_name("another")))


def test_rows_that_change_on_their_way_are_found(
    output: Output, new: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    files = []

    def edit(what: str, done: int, of: int) -> None:
        if what == "read" and done == of:
            (path,) = (Path(new.uri) / "masks").iterdir()
            footer = {k: v for k, v in pq.read_metadata(path).metadata.items() if k[:3] == b"sam"}
            rows = pq.read_table(path)
            areas = pa.array([1, *rows["area"].to_pylist()[1:]])
            with pq.ParquetWriter(path, rows.schema) as writer:
                writer.write_table(rows.set_column(11, rows.field(11), areas))
                writer.add_key_value_metadata(footer)
            files.append(path)

    with pytest.raises(StorageError, match="1 units differ from those of"):
        compact_output(output.store, new, watch=edit)
    assert files
    assert not new.exists(SUCCESS)
    assert json.loads(new.read(MARK))["ended"] is False


def test_a_damaged_source_is_not_compacted(output: Output, new: LocalStore):
    path = min((Path(output.store.uri) / "masks").iterdir())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(StorageError, match=f"{path.name}: is no Parquet .* `sam2ray verify "):
        compact_output(output.store, new)
    assert not new.exists(SUCCESS)


# ---------------------------------------------------------------- digests of rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    output = make_output(tmp_path_factory.mktemp("rows"))
    return sam2ray.open(output.store.uri).masks().read_all().combine_chunks()


def test_digests_do_not_depend_on_how_rows_are_cut(rows: pa.Table):
    whole = list(unit_digests([rows]))
    assert [unit.rows for unit in whole] == [1, 2, 2, 2]
    one_by_one = [rows.slice(n, 1) for n in range(len(rows))]
    assert list(unit_digests(one_by_one)) == whole
    assert list(unit_digests([pa.concat_tables(one_by_one), rows.slice(0, 0)])) == whole


@pytest.mark.parametrize("column", range(1, 17))
def test_any_cell_that_changes_changes_the_digest(rows: pa.Table, column: int):
    field = rows.field(column)
    values = rows[field.name].to_pylist()
    for value in _others(values[0], field.type):
        changed = rows.set_column(column, field, pa.array([value, *values[1:]], field.type))
        digests = list(unit_digests([changed]))
        assert digests[0] != next(iter(unit_digests([rows])))
        assert digests[1:] == list(unit_digests([rows]))[1:]


def _others(value: object, kind: pa.DataType) -> list[object]:
    if pa.types.is_list(kind):
        others = [[1.0], [1.0, 2.0, None], [], None]
    elif pa.types.is_string(kind):
        others = ["x", "", None]
    else:
        others = [np.random.default_rng(0).integers(1, 99).item(), 0, None]
    return [other for other in others if other != value]
