"""A write that is run again, of what was made again: each unit is in one file, as it was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_outcomes import mask_rows, outcome, unit_id

from sam2ray import lease
from sam2ray.outcomes import result_names
from sam2ray.sinks.commit import Committer
from sam2ray.sinks.result_files import MASKS, UNITS, ResultPlace, read_outcomes, units_name
from sam2ray.stages.columns import pack_rows
from sam2ray.stages.outcome_rows import labelled_table
from sam2ray.storage import LocalStore


class _Tally:
    """The ledger, as far as the sink knows it."""

    def __init__(self) -> None:
        self.ended = 0

    def report(self, endings: list) -> None:
        self.ended += len(endings)
        assert all(np.isfinite(value) for one in endings for value in one.seconds.values())


@pytest.fixture
def store(tmp_path) -> LocalStore:
    store = LocalStore(tmp_path)
    lease.acquire(store, lease.this_process("run")).close()
    return store


def _committer(store: LocalStore, units: int = 2) -> Committer:
    return Committer(ResultPlace(store, MASKS, "run"), lease.newest(store), units, 1 << 20, "zstd")


def _labelled(names: str, failed: str = "", skipped: str = "") -> pa.Table:
    rows = []
    for name in names:
        row = outcome(name, error_class="io" if name in failed else None, masks=1)
        packed = None if name in failed else pack_rows(mask_rows(name))
        rows.append({**row, "rows": packed, "is_committed": False, "skipped": name in skipped})
    return labelled_table(rows)


def _commit(store: LocalStore, labelled: pa.Table, units: int = 2) -> int:
    tally = _Tally()
    assert _committer(store, units).commit(labelled, tally) <= len(labelled)  # pyright: ignore[reportArgumentType]
    return tally.ended


def _found(store: LocalStore) -> dict[str, str]:
    """How each unit ended; every one is in one file, and copies say what footers do."""
    ended: dict[str, str] = {}
    for name in result_names(store):
        outcomes = read_outcomes(store, name)
        with store.open(units_name(name)) as file:
            assert pq.read_table(file).equals(outcomes)
        for row in outcomes.to_pylist():
            assert row["unit_id"] not in ended, "a unit is there twice"
            ended[row["unit_id"]] = row["status"]
    return ended


def _all(names: str, failed: str = "") -> dict[str, str]:
    return {unit_id(n): "failed" if n in failed else "ok" for n in names}


def test_units_are_committed_in_files_of_a_size(store):
    assert _commit(store, _labelled("abcde")) == 5
    assert len([*result_names(store)]) == 3
    assert _found(store) == _all("abcde")


@pytest.mark.parametrize("left", [1, 2, 3])
def test_a_write_that_is_run_again_writes_what_is_missing(store, left: int):
    _commit(store, _labelled("abcde"))
    names = sorted(result_names(store), key=lambda name: (len(name), name))
    for name in names[left:]:
        store.delete(name)
        store.delete(units_name(name))
    store.delete(units_name(names[left - 1]))  # killed before the copy
    assert _commit(store, _labelled("abcde")) == 5
    assert _found(store) == _all("abcde")


def test_what_was_made_again_and_ended_otherwise_changes_nothing_that_is_there(store):
    _commit(store, _labelled("abcde"))
    names = sorted(result_names(store), key=lambda name: (len(name), name))
    store.delete(names[2])
    store.delete(units_name(names[2]))
    # This time two of them cannot be fetched, files are larger, and the run is about to stop.
    again = _labelled("abcde", failed="ae", skipped="b")
    _commit(store, again, units=5)
    assert _found(store) == _all("abcde", failed="e")
    _commit(store, again, units=1)
    assert _found(store) == _all("abcde", failed="e")


def test_nothing_is_left_of_a_table_that_was_skipped(store):
    assert _commit(store, _labelled("ab", skipped="ab")) == 0
    assert not [*result_names(store)]
    assert not [*store.list(UNITS)]


def test_a_store_is_asked_once_whether_a_file_is_there(store, monkeypatch):
    asked: list[str] = []
    exists = LocalStore.exists
    monkeypatch.setattr(LocalStore, "exists", lambda s, name: asked.append(name) or exists(s, name))
    _commit(store, _labelled("abcde"), units=5)
    assert len(asked) == len(set(asked)) == 1
