"""A unit that two indexes list is one unit: to be done once, and counted once by everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_outputs import Ended, Output, picture

from sam2ray import repeats
from sam2ray.manifest import Merged, complete, merge_bucket, write_runs
from sam2ray.records import Unit, as_ids
from sam2ray.repeats import FirstTimes
from sam2ray.root import SUCCESS, Selection, due_units, standing
from sam2ray.status import read_status
from sam2ray.storage import LocalStore
from sam2ray.verify import verify_output


def _list_unaware(output: Output, units: list[Unit], index_id: str) -> None:
    """An index by somebody who saw nothing of what others were listing."""
    listed = write_runs(output.store, index_id, 0, units)
    merged = Merged()
    for bucket in range(2):
        merged += merge_bucket(output.store, index_id, listed.runs, (), bucket, 2)
    complete(output.store, index_id, ["/archive"], listed, merged)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Six units, four of them in two indexes and one of these in three."""
    output = Output(LocalStore(tmp_path))
    _list_unaware(output, [picture(n) for n in range(5)], "1")
    _list_unaware(output, [picture(n) for n in range(1, 6)], "2")
    _list_unaware(output, [picture(2)], "3")
    return output


def test_each_unit_is_due_once_also_where_a_limit_cuts_through(output: Output):
    for limit in (None, 4):
        chosen = Selection(3, limit=limit)
        tables = list(due_units(output.store, output.index(), chosen))
        ids = [unit_id for table in tables for unit_id in table["unit_id"].to_pylist()]
        assert len(ids) == len(set(ids)) == (limit or 6)


def test_each_unit_counts_once_for_status_verify_and_the_mark(output: Output):
    output.commit([Ended(picture(n)) for n in range(6)])
    output.finish()
    now = standing(output.store, output.index())
    assert (now.units, now.ok) == (6, 6)
    assert output.store.exists(SUCCESS)
    assert read_status(output.store, watch_s=0.0).standing == now
    findings = verify_output(output.store)
    assert findings.complaints == []
    assert findings.standing == now


def test_a_unit_that_comes_twice_at_once_is_met_once():
    a, b = (picture(name).unit_id for name in "ab")
    met = FirstTimes(as_ids([min(a, b)]))
    both = as_ids([min(a, b), max(a, b), min(a, b)])
    assert met.among(both).tolist() == [True, True, False]
    assert met.among(both).tolist() == [False, True, False]


def test_where_there_is_one_index_no_unit_is_read_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = Output(LocalStore(tmp_path))
    output.list([picture(n) for n in range(5)], "1")
    output.list([picture(n) for n in range(5)], "2")  # adds nothing
    monkeypatch.setattr(repeats, "_ids_in", None)
    assert standing(output.store, output.index()).units == 5
