"""What is left to do in an output, in waves; and which config it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_outcomes import outcome, outcome_table

from sam2_core import RELEASED
from sam2ray import manifest, root
from sam2ray.config_file import load_config
from sam2ray.errors import RootRefused
from sam2ray.kept_config import kept_config, pin_config
from sam2ray.manifest import Listed, Merged, complete, merge_bucket, write_runs
from sam2ray.outcomes import index_of
from sam2ray.records import Unit
from sam2ray.root import (
    SUCCESS,
    Selection,
    Standing,
    allowed_attempts,
    mark_success,
    note_vain_run,
    standing,
    write_waves,
)
from sam2ray.storage import LocalStore

WEIGHTS = "cd" * 32


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def _unit(n: int, version: str = "1") -> Unit:
    return Unit(source_uri=f"/a/{n}.jpg", kind="image", version=version)


def _list(store: LocalStore, units: list[Unit], index_id: str = "1", known: tuple = ()) -> None:
    listed = write_runs(store, index_id, 0, units)
    merged = merge_bucket(store, index_id, listed.runs, known, 0, 1)
    complete(store, index_id, ["/a"], listed, merged)


def _outcomes(*units: Unit, error_class: str | None = None):
    rows = [{**outcome(0, error_class=error_class), "unit_id": unit.unit_id} for unit in units]
    return index_of([outcome_table(rows)] if rows else [])


def _waves(store: LocalStore, outcomes, *, wave_units: int = 100, limit: int | None = None):
    chosen = Selection(3, limit=limit)
    waves = []
    for wave in write_waves(store, "run", outcomes, chosen, wave_units):
        with store.open(wave.name) as file:
            waves.append(pq.read_table(file))
        assert len(waves[-1]) == wave.units
        kinds = set(waves[-1]["kind"].to_pylist())
        assert kinds <= ({"video", "frames"} if wave.are_clips else {"image"})
    return waves


def test_all_units_are_due_in_waves_of_a_size(store: LocalStore):
    _list(store, [_unit(n) for n in range(25)])
    waves = _waves(store, _outcomes(), wave_units=10)
    assert [len(wave) for wave in waves] == [10, 10, 5]
    ids = [i for wave in waves for i in wave["unit_id"].to_pylist()]
    assert len(set(ids)) == 25
    assert set(waves[0]["attempt"].to_pylist()) == {1}


@pytest.mark.parametrize(
    ("most_bytes", "sizes"), [(1, [1] * 8), (2500, [2] * 4), (3500, [3, 3, 2]), (99_999, [5, 3])]
)
def test_units_with_long_prompts_make_smaller_waves_in_the_same_order(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, most_bytes: int, sizes: list[int]
):
    _list(store, [replace(_unit(n), prompts=f'"{n % 10}{"x" * 900}"') for n in range(8)])
    (whole,) = _waves(store, _outcomes())
    monkeypatch.setattr(root, "WAVE_BYTES", most_bytes)
    waves = _waves(store, _outcomes(), wave_units=5)
    assert [len(wave) for wave in waves] == sizes
    assert pa.concat_tables(waves).equals(whole)


def test_only_what_is_left_is_due(store: LocalStore):
    units = [_unit(n) for n in range(6)]
    _list(store, units)
    (wave,) = _waves(store, _outcomes(*units[:4]))
    assert set(wave["unit_id"].to_pylist()) == {unit.unit_id for unit in units[4:]}


def test_nothing_is_due_when_all_is_done(store: LocalStore):
    units = [_unit(n) for n in range(3)]
    _list(store, units)
    assert _waves(store, _outcomes(*units)) == []


def test_a_failure_that_may_pass_is_due_for_its_next_attempt(store: LocalStore):
    _list(store, [_unit(1)])
    (wave,) = _waves(store, _outcomes(_unit(1), error_class="throttled"))
    assert wave["attempt"].to_pylist() == [2]


def test_a_run_in_vain_costs_no_unit_an_attempt(store: LocalStore):
    assert allowed_attempts(store, 3) == 3
    for run_id in ("first", "second"):
        note_vain_run(store, run_id)
    assert allowed_attempts(store, 3) == 5


def test_what_was_superseded_is_not_due_and_does_not_count(store: LocalStore):
    _list(store, [_unit(1), _unit(2)])
    known = tuple(e.name for e in store.list("_sam2ray/manifest") if "part" in e.name)
    _list(store, [_unit(1, "2"), _unit(2)], "2", known)
    (wave,) = _waves(store, _outcomes(_unit(1)))
    assert set(wave["unit_id"].to_pylist()) == {_unit(1, "2").unit_id, _unit(2).unit_id}
    assert standing(store, _outcomes(_unit(1), _unit(2))) == Standing(2, {"ok": 1})


def test_what_is_left_here_and_there_travels_in_one_piece(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(manifest, "_ROW_GROUP", 10)
    units = [_unit(n) for n in range(200)]
    _list(store, units)
    (wave,) = write_waves(store, "run", _outcomes(*units[::2]), Selection(3), 1000)
    with store.open(wave.name) as file:
        assert pq.ParquetFile(file).num_row_groups == 1
    assert wave.units == 100


def _mixed(pictures: int, videos: int) -> list[Unit]:
    clips = [replace(_unit(n), kind="video") for n in range(100, 100 + videos)]
    return [*(_unit(n) for n in range(pictures)), *clips]


@pytest.mark.parametrize(
    ("pictures", "videos", "limit", "sizes"),
    [
        (7, 5, None, [3, 2, 3, 3, 1]),
        (7, 0, None, [3, 3, 1]),
        (0, 5, None, [3, 2]),
        (7, 5, 6, [3, 2, 1]),
        (7, 5, 5, [3, 2]),
        (7, 5, 2, [2]),
    ],
)
def test_clips_come_first_and_never_beside_pictures(store, pictures, videos, limit, sizes):
    _list(store, _mixed(pictures, videos))
    waves = _waves(store, _outcomes(), wave_units=3, limit=limit)
    assert [len(wave) for wave in waves] == sizes
    ids = [i for wave in waves for i in wave["unit_id"].to_pylist()]
    assert len(set(ids)) == sum(sizes)


def test_a_limit_takes_so_many(store: LocalStore):
    _list(store, [_unit(n) for n in range(9)])
    assert [len(wave) for wave in _waves(store, _outcomes(), wave_units=3, limit=4)] == [3, 1]


def test_success_is_marked_when_all_units_have_ended_and_taken_back_when_more_come(
    store: LocalStore,
):
    mark_success(store, Standing(3, {"ok": 2, "corrupt": 1}))
    assert store.exists(SUCCESS)
    mark_success(store, Standing(4, {"ok": 2, "corrupt": 1}))
    assert not store.exists(SUCCESS)


@pytest.mark.parametrize(
    ("ended", "is_done"),
    [
        ({"ok": 3}, True),
        ({"ok": 1, "forbidden": 2}, True),
        ({"corrupt": 1, "forbidden": 2}, True),
        ({"forbidden": 2, "throttled": 1}, False),
        ({"ok": 0, "not_found": 3}, False),
        ({"ok": 2}, False),
    ],
)
def test_a_store_that_said_no_to_everything_makes_no_archive_done(ended, is_done):
    assert Standing(3, ended).earns_mark is is_done


# ---------------------------------------------------------------- the config of an output


def _config(*assignments: str):
    return load_config(None, assignments, source="/a", output="/b", model="nano")


def test_an_output_keeps_its_config_and_takes_it_again(store: LocalStore):
    first = pin_config(store, _config(), WEIGHTS)
    assert pin_config(store, _config(), WEIGHTS) == first
    assert pin_config(store, _config("resources.batch_size=2"), WEIGHTS) == first
    spelled_out = f"masks.points_per_side={RELEASED['nano'].points_per_side}"
    assert pin_config(store, _config(spelled_out), WEIGHTS) == first


def test_another_config_is_refused_with_what_differs(store: LocalStore):
    pin_config(store, _config(), WEIGHTS)
    _list(store, [_unit(1)])
    with pytest.raises(RootRefused, match=r"differs: masks\.points_per_side\."):
        pin_config(store, _config("masks.points_per_side=12"), WEIGHTS)
    with pytest.raises(RootRefused, match=r"differs: the weights\."):
        pin_config(store, _config(), "ab" * 32)
    with pytest.raises(RootRefused, match="the head"):
        pin_config(store, _config(), WEIGHTS, "ab" * 32)


def test_a_run_that_came_to_nothing_binds_nobody(store: LocalStore):
    pin_config(store, _config("masks.points_per_side=12"), WEIGHTS)
    own = pin_config(store, _config(), WEIGHTS)
    assert kept_config(store).config_id == own
    _list(store, [_unit(1)])
    with pytest.raises(RootRefused, match="differs"):
        pin_config(store, _config("masks.points_per_side=12"), WEIGHTS)
    assert kept_config(store).config_id == own


def test_merged_counts_add_up():
    assert Merged(1, 2, 3, 4, ("a",)) + Merged(1, 1, 1, 1, ("b",)) == Merged(2, 3, 4, 5, ("a", "b"))
    assert (Listed(1, {"x": 1}) + Listed(2, {"x": 2})).ignored == {"x": 3}
