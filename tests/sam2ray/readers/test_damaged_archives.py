"""Every damaged shard and table of the bad corpus, read without a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_archives import PICTURES, damaged_shards, damaged_tables, sound_archives
from make_archive import found_in

from sam2ray.errors import UnitFailed
from sam2ray.readers.locate import read_unit
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit
from sam2ray.stages.decode import PictureLimits, decode_picture

ARCHIVES = [*damaged_shards(), *damaged_tables()]


def end_of(unit: Unit) -> tuple[str, bytes]:
    """How a unit ends, and its bytes."""
    try:
        content = read_unit(unit, {})
        decode_picture(content, mode="exact", model_px=None, limits=PictureLimits())
    except UnitFailed as failure:
        return failure.error_class.value, b""
    return "ok", content


@pytest.mark.parametrize("archive", ARCHIVES, ids=[archive.name for archive in ARCHIVES])
def test_each_unit_of_a_damaged_archive_ends_as_it_must(tmp_path: Path, archive):
    place = tmp_path / archive.name
    place.write_bytes(archive.data)
    twin = next(one for one in sound_archives() if place.suffix in one.name)
    (tmp_path / twin.name).write_bytes(twin.data)
    units, ignored = found_in(open_source(str(tmp_path)))
    assert not ignored
    found = {unit.member: end_of(unit) for unit in units if unit.source_uri == str(place)}
    assert {member: how for member, (how, _) in found.items()} == archive.ends
    for member, (how, content) in found.items():
        if how == "ok":
            number = int(str(member).removeprefix("row ").removesuffix(".jpg"))
            assert content == PICTURES[number]
    beside = [end_of(unit)[0] for unit in units if unit.source_uri != str(place)]
    assert beside == ["ok"] * len(PICTURES)
