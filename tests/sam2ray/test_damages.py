"""Damage in archives, from listing to listing: it counts as long as the file is what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_outputs import Ended, Output
from make_archive import jpeg, tar_bytes, write_picture_table

from sam2ray.config_file import load_config
from sam2ray.index_facts import superseded_ids
from sam2ray.index_table import index_table
from sam2ray.listing import list_source
from sam2ray.manifest import Listed, Merged, manifest_parts, read_manifest
from sam2ray.outcomes import latest_outcomes
from sam2ray.records import UNIT_COLUMNS, ErrorClass, Failure, Unit, as_hex
from sam2ray.root import Selection, due_units
from sam2ray.status import read_status
from sam2ray.storage import LocalStore
from sam2ray.unit_rows import unit_of
from sam2ray.verify import verify_output

SOUND = tar_bytes([(f"{n}.jpg", jpeg(seed=n)) for n in range(3)])
BROKEN = SOUND[:150] + b"\xff" * 4 + SOUND[154:]  # in the checksum of 0.jpg
DAMAGE = "damage at byte 0"


class Archive:
    """One file that is listed again and again, into one output."""

    def __init__(self, path: Path, output: Path, *settings: str) -> None:
        path.parent.mkdir()
        self.path, self.listings = path, 0
        self.output = Output(LocalStore(output))
        source = str(path.parent)
        self.config = load_config(None, settings, source=source, output=str(output))

    def put(self, content: bytes, version: int) -> None:
        """Other content; a version is known by its time."""
        self.path.write_bytes(content)
        os.utime(self.path, ns=(version * 10**9, version * 10**9))

    def list(self) -> tuple[Listed, Merged]:
        """One more listing."""
        self.listings += 1
        return list_source(self.config, self.output.store, str(self.listings))

    def due(self, *retried: ErrorClass) -> list[Unit]:
        """What a run would take now."""
        chosen = Selection(max_attempts=3, retried=frozenset(retried))
        tables = due_units(self.output.store, latest_outcomes(self.output.store), chosen)
        return [unit_of(row) for table in tables for row in table.to_pylist()]

    def run(self) -> None:
        """End what is due, as a run would."""
        ended = [
            Ended(
                one, error_class=Failure.of_text(one.fault).error_class.value if one.fault else None
            )
            for one in self.due()
        ]
        self.output.commit(ended, f"run-{self.listings}")
        self.output.finish()

    def members(self) -> list[str]:
        """Of the units that count."""
        hidden = {*as_hex(superseded_ids(self.output.store))}
        rows = [row for table in read_manifest(self.output.store) for row in table.to_pylist()]
        return sorted(str(row["member"]) for row in rows if row["unit_id"] not in hidden)

    def require_agreement(self, ok: int, failed: int) -> None:
        """`status` and `verify` see the same, and nothing is wrong."""
        found = verify_output(self.output.store)
        assert found.complaints == []
        assert found.standing == read_status(self.output.store, watch_s=0).standing
        assert (found.standing.ok, found.standing.failed) == (ok, failed)


@pytest.fixture
def shard(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "in" / "x.tar", tmp_path / "out")


def test_a_damaged_shard_is_looked_at_again_and_its_damage_stays_one_failed_unit(shard: Archive):
    shard.put(BROKEN, 1)
    listed, merged = shard.list()
    assert (listed.units, listed.damaged, merged.added) == (3, 1, 3)
    assert shard.members() == ["1.jpg", "2.jpg", DAMAGE]
    shard.run()
    shard.require_agreement(ok=2, failed=1)
    listed, merged = shard.list()
    assert (listed.unchanged, listed.damaged, merged.added, merged.known) == (0, 1, 0, 3)
    assert shard.due() == []
    shard.require_agreement(ok=2, failed=1)


def test_a_damage_that_is_tried_again_is_the_same_unit(shard: Archive):
    shard.put(BROKEN, 1)
    shard.list()
    shard.run()
    (again,) = shard.due(ErrorClass.CORRUPT)
    assert again.member == DAMAGE
    assert again.fault is not None
    assert "no tar header stands here" in again.fault


def test_a_shard_that_is_mended_has_its_members_and_no_damage(shard: Archive):
    shard.put(BROKEN, 1)
    shard.list()
    shard.run()
    shard.put(SOUND, 2)
    _, merged = shard.list()
    assert (merged.added, merged.superseding) == (3, 2)
    assert shard.members() == ["0.jpg", "1.jpg", "2.jpg"]
    shard.run()
    shard.require_agreement(ok=3, failed=0)
    listed, _ = shard.list()
    assert listed.unchanged == 1
    shard.require_agreement(ok=3, failed=0)


def test_a_shard_that_is_mended_to_nothing_has_no_damage(shard: Archive):
    shard.put(BROKEN[:2048], 1)
    shard.list()
    shard.run()
    shard.put(tar_bytes([]), 2)
    shard.list()
    assert DAMAGE not in shard.members()


def test_a_damage_counts_again_where_a_shard_goes_back_to_what_it_was(shard: Archive):
    for version, content in ((1, BROKEN), (2, SOUND), (1, BROKEN), (1, BROKEN)):
        shard.put(content, version)
        shard.list()
        shard.run()
    assert shard.members() == ["0.jpg", "1.jpg", "2.jpg", DAMAGE]
    assert shard.list()[0].unchanged == 0


def test_other_damage_of_other_content_takes_the_place_of_the_first(shard: Archive):
    shard.put(BROKEN, 1)
    shard.list()
    shard.run()
    shard.put(SOUND[:-600] + b"\1" * 600, 2)  # behind the end of the shard
    shard.list()
    damages = [member for member in shard.members() if "damage" in member]
    assert len(damages) == 1
    assert damages != [DAMAGE]


def test_a_cut_member_that_is_whole_again_is_superseded(shard: Archive):
    shard.put(SOUND[:600], 1)
    shard.list()
    shard.run()
    shard.require_agreement(ok=0, failed=1)
    shard.put(SOUND, 2)
    _, merged = shard.list()
    assert merged.superseding == 1
    shard.run()
    shard.require_agreement(ok=3, failed=0)


def test_a_broken_table_beside_a_sound_one_is_one_failed_unit_until_it_is_mended(tmp_path: Path):
    archive = Archive(tmp_path / "in" / "0.parquet", tmp_path / "out")
    sound = write_picture_table(tmp_path / "in" / "1.parquet", [jpeg(seed=n) for n in range(3)])
    archive.put(sound.read_bytes()[:-9], 1)
    for _ in range(2):
        archive.list()
        archive.run()
        archive.require_agreement(ok=3, failed=1)
    archive.put(sound.read_bytes(), 2)
    archive.list()
    archive.run()
    archive.require_agreement(ok=6, failed=0)


def test_damage_is_shown_where_an_archive_is_listed(shard: Archive):
    shard.put(BROKEN, 1)
    table = index_table("out", *shard.list())
    assert "damaged places" in [*table.columns[0].cells]


def test_a_manifest_of_before_there_was_damage_is_read_and_goes_on(shard: Archive):
    shard.put(SOUND, 1)
    shard.list()
    (name,) = manifest_parts(shard.output.store)
    path = Path(shard.output.store.uri) / name
    pq.write_table(pq.read_table(path).drop_columns(["fault"]), path)
    rows = pa.concat_tables(read_manifest(shard.output.store))
    assert rows.schema.names == UNIT_COLUMNS.names
    assert [unit.fault for unit in shard.due()] == [None] * 3
    assert shard.list()[0].unchanged == 1
    shard.put(BROKEN, 2)
    shard.list()
    assert DAMAGE in shard.members()
