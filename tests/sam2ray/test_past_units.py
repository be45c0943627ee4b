"""A unit whose version nobody could tell at first, or that is of another kind now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from make_archive import tar_bytes, write_files

from sam2ray.config_file import load_config
from sam2ray.index_facts import superseded_ids
from sam2ray.listing import list_source
from sam2ray.manifest import (
    Merged,
    complete,
    manifest_parts,
    merge_bucket,
    write_runs,
)
from sam2ray.outcomes import index_of
from sam2ray.records import Unit, as_hex
from sam2ray.root import Selection, due_units
from sam2ray.storage import LocalStore

GIF = b"GIF89a"  # nobody opens it here
UNKNOWN = Unit("https://host/a.jpg", "image")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def _index(store: LocalStore, index_id: str, *units: Unit) -> Merged:
    known = manifest_parts(store)
    listed = write_runs(store, index_id, 0, units)
    merged = merge_bucket(store, index_id, listed.runs, known, 0, 1)
    complete(store, index_id, ["https://host/"], listed, merged)
    return merged


def _due(store: LocalStore) -> list[str]:
    tables = due_units(store, index_of([]), Selection(3))
    return [unit_id for table in tables for unit_id in table["unit_id"].to_pylist()]


def _versions(*versions: str) -> list[Unit]:
    return [replace(UNKNOWN, version=version) for version in versions]


def test_a_version_that_is_known_later_makes_no_other_unit(store: LocalStore):
    for number, unit in enumerate(_versions("", "etag1", "", "etag1")):
        merged = _index(store, str(number), unit)
        assert (merged.added, merged.known) == ((0, 1) if number else (1, 0))
        assert _due(store) == [UNKNOWN.unit_id]
    assert len(superseded_ids(store)) == 0


def test_a_version_that_was_told_late_is_what_later_ones_are_compared_with(store: LocalStore):
    *_, second = units = _versions("", "etag1", "etag2")
    added = [_index(store, str(number), unit).superseding for number, unit in enumerate(units)]
    assert added == [0, 0, 1]
    assert as_hex(superseded_ids(store)) == [UNKNOWN.unit_id]
    assert _due(store) == [second.unit_id]


@pytest.mark.parametrize(
    ("before", "now", "superseding"),
    [(5, 6, 1), (5, 5, 0), (None, 6, 0), (5, None, 0)],
)
def test_a_size_tells_that_it_is_another(store, before, now, superseding):
    _index(store, "1", replace(UNKNOWN, length=before))
    merged = _index(store, "2", replace(UNKNOWN, length=now, version="etag1"))
    assert merged.superseding == superseding


def test_other_prompts_are_another_unit_whatever_the_version_is(store: LocalStore):
    _index(store, "1", replace(UNKNOWN, prompts="[1]"))
    merged = _index(store, "2", replace(UNKNOWN, prompts="[2]", version="etag1"))
    assert merged.superseding == 1


def test_damage_is_listed_anew_when_its_version_is_known(store: LocalStore):
    """It counts for mended where a file has another version than it was found in."""
    torn = replace(UNKNOWN, fault="corrupt: torn")
    _index(store, "1", torn)
    assert _index(store, "2", replace(torn, version="etag1")).superseding == 1


@pytest.mark.parametrize("version", ["", "etag1"])
def test_another_kind_takes_the_place_of_what_was_listed(store: LocalStore, version: str):
    picture = replace(UNKNOWN, version=version)
    clip = replace(picture, kind="video")
    found = [_index(store, str(n), one) for n, one in enumerate([picture, clip, clip, picture])]
    assert [(one.added, one.superseding) for one in found] == [(1, 0), (1, 1), (0, 0), (1, 1)]
    (last,) = _due(store)
    assert last == replace(picture, repeat=2).unit_id
    assert as_hex(superseded_ids(store)) == sorted(
        [picture.unit_id, replace(clip, repeat=1).unit_id]
    )


def test_another_kind_counts_where_the_version_was_not_known(store: LocalStore):
    clip = replace(UNKNOWN, kind="video", version="etag1")
    assert [_index(store, "1", UNKNOWN).added, _index(store, "2", clip).superseding] == [1, 1]
    assert _due(store) == [clip.unit_id]


@pytest.mark.parametrize("name", ["a.gif", "a.tar"])
def test_a_moving_picture_that_was_listed_as_a_picture_becomes_a_clip(tmp_path: Path, name: str):
    source, output = tmp_path / "in", tmp_path / "out"
    write_files(source, {name: GIF if name == "a.gif" else tar_bytes([("a.gif", GIF)])})
    store, found = LocalStore(output), []
    for number, mode in enumerate(["auto", "auto_track", "auto_track"]):
        config = load_config(None, (f"mode={mode}",), source=str(source), output=str(output))
        listed, merged = list_source(config, store, str(number))
        found.append((listed.unchanged, merged.added, merged.superseding))
    assert found == [(0, 1, 0), (0, 1, 1), (int(name == "a.tar"), 0, 0)]
    (due,) = due_units(store, index_of([]), Selection(3))
    assert due["kind"].to_pylist() == ["video"]
