"""Listings become a manifest: every unit once, what changed takes the place of what was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from peaks import peak_bytes

from sam2ray import manifest
from sam2ray.index_facts import superseded_ids
from sam2ray.manifest import (
    Listed,
    Merged,
    complete,
    encoded,
    manifest_parts,
    merge_bucket,
    read_manifest,
    write_runs,
)
from sam2ray.readers.slices import Ignored
from sam2ray.records import Unit, as_hex
from sam2ray.storage import LocalStore
from sam2ray.unit_rows import unit_of


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def _unit(name: object, version: str = "1", **fields: object) -> Unit:
    return Unit(source_uri=f"/archive/{name}.jpg", kind="image", version=version, **fields)


def _index(
    store: LocalStore, index_id: str, *parts: Iterable[Unit | Ignored], buckets: int = 3
) -> tuple[Listed, Merged]:
    known = manifest_parts(store)
    listed = Listed()
    for number, part in enumerate(parts):
        listed += write_runs(store, index_id, number, part)
    merged = Merged()
    for bucket in range(buckets):
        merged += merge_bucket(store, index_id, listed.runs, known, bucket, buckets)
    complete(store, index_id, ["/archive"], listed, merged)
    return listed, merged


def _units(store: LocalStore) -> list[Unit]:
    rows = [row for table in read_manifest(store) for row in table.to_pylist()]
    return [unit_of(row) for row in rows]


def test_every_unit_is_there_once_whatever_the_order_of_the_listing(store: LocalStore):
    units = [_unit(n) for n in range(100)]
    listed, merged = _index(store, "1", units[50:], units[:50])
    assert listed.units == merged.added == 100
    assert {unit.unit_id for unit in _units(store)} == {unit.unit_id for unit in units}


def test_a_unit_comes_back_as_it_was(store: LocalStore):
    unit = _unit(
        "ä b\n",
        member="x/../y.jpg",
        offset=512,
        length=2**40,
        first_frame=3,
        end_frame=9,
        prompts='[{"box":[1,2,3,4]}]',
        user={"caption": "a cat", "": "empty"},
        pattern="rgb_*.png",
    )
    _index(store, "1", [unit])
    assert _units(store) == [unit]


def _clip(**fields: object) -> Unit:
    return Unit(source_uri="/archive/seq1", kind="frames", version="1", **fields)


def test_a_manifest_that_was_written_before_there_were_patterns_is_read(store: LocalStore):
    _index(store, "1", [_clip()])
    for name in manifest_parts(store):
        with store.open(name) as file:
            table = pq.read_table(file)
        store.put(name, encoded(table.drop_columns(["pattern"])))
    assert _units(store) == [_clip()]
    _, merged = _index(store, "2", [_clip()])
    assert (merged.known, merged.added) == (1, 0)


def test_a_clip_with_a_pattern_takes_the_place_of_one_whose_pattern_was_not_kept(
    store: LocalStore,
):
    _index(store, "1", [_clip()])  # of the frames that fit: no fetch found these alone
    _, merged = _index(store, "2", [_clip(pattern="rgb_*.png")])
    assert (merged.added, merged.superseding) == (1, 1)
    assert _units(store)[-1].supersedes == _clip().unit_id


def test_what_is_ignored_is_counted_with_examples(store: LocalStore):
    found = [Ignored(f"{n}.txt", ".txt") for n in range(9)] + [Ignored("x", "damaged", "torn")]
    listed, merged = _index(store, "1", [*found, _unit(1)])
    assert listed.ignored == {".txt": 9, "damaged": 1}
    assert listed.examples[0] == "0.txt (.txt)"
    assert merged.added == 1


def test_a_source_that_is_listed_twice_is_one_unit(store: LocalStore):
    _, merged = _index(store, "1", [_unit(1), _unit(2)], [_unit(2), _unit(3)])
    assert (merged.added, merged.duplicates) == (3, 1)


def test_a_second_listing_adds_only_what_is_new(store: LocalStore):
    _index(store, "1", [_unit(n) for n in range(10)])
    _, merged = _index(store, "2", [_unit(n) for n in range(5, 12)], buckets=2)
    assert (merged.added, merged.known, merged.superseding) == (2, 5, 0)
    assert len(_units(store)) == 12


def test_changed_content_takes_the_place_of_what_was(store: LocalStore):
    _index(store, "1", [_unit("a"), _unit("b")])
    _, merged = _index(store, "2", [_unit("a", "2"), _unit("b")])
    assert (merged.added, merged.superseding) == (1, 1)
    assert as_hex(superseded_ids(store)) == [_unit("a").unit_id]


def test_changed_prompts_take_the_place_of_what_was_asked(store: LocalStore):
    _index(store, "1", [_unit("a", prompts="[1]")])
    _index(store, "2", [_unit("a", prompts="[2]")])
    assert as_hex(superseded_ids(store)) == [_unit("a", prompts="[1]").unit_id]


def test_a_source_that_goes_back_to_earlier_content_is_a_unit_again(store: LocalStore):
    for number, version in enumerate("1211"):
        _index(store, str(number), [_unit("a", version)])
    units = _units(store)
    assert len({unit.unit_id for unit in units}) == len(units) == 3
    assert [unit.repeat for unit in units] == [0, 0, 1]
    living = {unit.unit_id for unit in units} - {*as_hex(superseded_ids(store))}
    assert living == {replace(_unit("a"), repeat=1).unit_id}


def test_the_order_of_indexes_is_that_in_which_they_were_made_whatever_a_clock_says(
    store: LocalStore,
):
    for index_id, version in [("5-a", "1"), ("3-b", "2"), ("3-c", "3"), ("2-d", "3")]:
        _index(store, index_id, [_unit("a", version)])
    assert [unit.version for unit in _units(store)] == ["1", "2", "3"]
    assert superseded_ids(store).size == 2
    _, merged = _index(store, "7-e", [_unit("a", "3")])
    assert (merged.added, merged.known) == (0, 1)
    names = [entry.name.rpartition("/")[2] for entry in store.list(manifest.FOLDER)]
    markers = sorted(name for name in names if name.endswith(".json"))
    expected = ["5-a", "5-a_000001", "5-a_000002", "5-a_000003", "7-e"]
    assert markers == [f"{name}.json" for name in expected]


def test_a_small_listing_is_compared_with_all_that_is_known(store: LocalStore):
    for number in range(4):
        _index(store, str(number), [_unit(n) for n in range(50 * number, 50 * number + 50)])
    again = [_unit(10), _unit(70, "2"), _unit(199), _unit(200)]
    _, merged = _index(store, "5", again, buckets=1)
    assert (merged.added, merged.superseding, merged.known) == (2, 1, 2)
    assert as_hex(superseded_ids(store)) == [_unit(70).unit_id]
    assert len(_units(store)) == 202


def test_an_index_that_broke_off_does_not_count(store: LocalStore):
    listed = write_runs(store, "1", 0, [_unit(1)])
    merge_bucket(store, "1", listed.runs, [], 0, 1)
    assert _units(store) == []
    _index(store, "2", [_unit(1), _unit(2)])
    assert len(_units(store)) == 2


def test_an_empty_source_is_an_index_of_nothing(store: LocalStore):
    listed, merged = _index(store, "1", [], buckets=0)
    assert (listed.units, merged.added) == (0, 0)
    assert _units(store) == []


def test_runs_are_gone_when_an_index_is_complete(store: LocalStore):
    _index(store, "1", [_unit(1)])
    assert [e.name for e in store.list() if manifest.RUNS in e.name] == []


def test_what_may_be_secret_in_an_address_is_not_kept(store: LocalStore):
    sources = ["https://me:hush@host/a.csv?X-Signature=hush", "s3://bucket/archive"]
    complete(store, "1", sources, Listed(), Merged())
    (text,) = (store.read(entry.name).decode() for entry in store.list())
    assert "hush" not in text
    assert "s3://bucket/archive" in text
    assert "host/a.csv" in text


_INDEXES = """
from pathlib import Path
from tempfile import mkdtemp
from made_outputs import Output
from sam2ray import manifest
from sam2ray.records import Unit
from sam2ray.storage import LocalStore
from sam2ray.unit_rows import unit_of

manifest.UNITS_PER_RUN = 500

def run(folder, count, buckets):
    output = Output(LocalStore(Path(mkdtemp(dir=folder))))
    output.list((Unit(f"/{n}.jpg", "image") for n in range(int(count))), "1", int(buckets))
    assert sum(map(len, manifest.read_manifest(output.store, ["unit_id"]))) == int(count)
"""


def test_memory_does_not_grow_with_the_listing(tmp_path: Path):
    small, large = (peak_bytes(_INDEXES, tmp_path, *size) for size in ((1000, 2), (8000, 16)))
    assert large < 1.7 * small
