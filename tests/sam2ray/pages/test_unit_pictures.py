"""Pictures of units, read again from wherever units come from, or the reason why not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from make_archive import jpeg, tar_bytes, write_files, write_picture_table
from make_video import number_of, write_video
from PIL import Image

from sam2ray.config_file import load_config
from sam2ray.pages import unit_pictures
from sam2ray.pages.unit_pictures import Frame, SeenUnit, reading_spec, see_unit
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit
from sam2ray.storage import Options, Store


def _units(source: Path | str, options: Options | None = None, **how: str) -> list[Unit]:
    found = open_source(str(source), options, **how).all_units()
    return sorted(
        (u for u in found if isinstance(u, Unit)), key=lambda u: (u.source_uri, u.offset or 0)
    )


def _see(
    unit: Unit, frames: list[Frame] | None = None, options: Options | None = None, **settings: int
) -> SeenUnit:
    assigned = [f"decode.{name}={value}" for name, value in settings.items()]
    config = load_config(None, assigned, source="/archive", output="/out", model="nano")
    return see_unit(unit, frames or [None], reading_spec(config, options or {}), 640)


def _size(seen: SeenUnit) -> tuple[int, int]:
    assert seen.why_not is None
    return seen.pictures[None].size


def test_a_picture_comes_small_and_upright(tmp_path):
    image, exif = Image.new("RGB", (1600, 800), "red"), Image.Exif()
    exif[0x0112] = 6  # on its side
    image.save(tmp_path / "phone.jpg", exif=exif)
    (unit,) = _units(tmp_path)
    seen = _see(unit)
    assert _size(seen) == (320, 640)
    assert seen.sizes_hw == {None: (1600, 800)}


def test_members_of_shards_and_rows_of_tables_are_pictures_too(tmp_path):
    (tmp_path / "a.tar").write_bytes(tar_bytes([("x.jpg", jpeg(30, 20)), ("y.jpg", jpeg(40, 20))]))
    assert [_size(_see(unit)) for unit in _units(tmp_path / "a.tar")] == [(30, 20), (40, 20)]
    write_picture_table(tmp_path / "t.parquet", [jpeg(50 + n, 20) for n in range(3)], row_group=2)
    assert [_size(_see(unit)) for unit in _units(tmp_path / "t.parquet")] == [
        (50, 20),
        (51, 20),
        (52, 20),
    ]


def test_pictures_on_s3_are_reached_as_outputs_are(s3_options, store: Store):
    if not store.uri.startswith("s3://"):
        pytest.skip("local files have tests of their own")
    store.put("photos/a.jpg", jpeg(60, 30))
    (unit,) = _units(f"{store.uri}/photos", s3_options)
    assert _size(_see(unit, options=s3_options)) == (60, 30)


def test_frames_of_a_video_are_those_that_are_asked_for(tmp_path):
    write_video(tmp_path / "clip.mp4", 40, b_frames=2)
    (unit,) = _units(tmp_path)
    seen = _see(unit, [3, 20, 39])
    assert seen.why_not is None
    assert [number_of(np.array(image)) for image in seen.pictures.values()] == [3, 20, 39]


def test_a_video_in_a_shard_is_brought_here_and_removed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    video = write_video(tmp_path / "clip.mp4", 12).read_bytes()
    (tmp_path / "a.tar").write_bytes(tar_bytes([("clip.mp4", video)]))
    (unit,) = _units(tmp_path / "a.tar")
    assert number_of(np.array(_see(unit, [7]).pictures[7])) == 7
    assert not [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()]


def test_frames_of_a_folder_are_those_that_are_asked_for(tmp_path):
    write_files(tmp_path / "clip", {f"{n}.jpg": jpeg(20 + n, 10) for n in range(12)})
    (unit,) = _units(tmp_path, kind="frames")
    seen = _see(unit, [0, 11])
    assert [image.size for image in seen.pictures.values()] == [(20, 10), (31, 10)]
    assert "ends before" in (_see(unit, [0, 12]).why_not or "")


def test_a_clip_that_is_shorter_now_shows_what_it_has(tmp_path):
    write_video(tmp_path / "clip.mp4", 10)
    (unit,) = _units(tmp_path)
    seen = _see(unit, [0, 50])
    assert list(seen.pictures) == [0]
    assert seen.why_not is not None


def test_what_is_gone_changed_or_broken_has_a_reason(tmp_path):
    write_files(tmp_path, ["gone.jpg", "new.jpg"])
    gone, new = _units(tmp_path)
    (tmp_path / "gone.jpg").unlink()
    (tmp_path / "new.jpg").write_bytes(jpeg(seed=9) + b"more")
    os.utime(tmp_path / "new.jpg", (1, 1))
    assert "not_found" in (_see(gone).why_not or "")
    assert "changed since" in (_see(new).why_not or "")
    (tmp_path / "torn.jpg").write_bytes(jpeg()[:200])
    torn = next(unit for unit in _units(tmp_path) if "torn" in unit.source_uri)
    assert "truncated" in (_see(torn).why_not or "")
    assert _see(torn).pictures == {}


def test_a_bad_address_or_kind_costs_a_picture_and_not_the_page():
    nowhere = Unit("gopher://host/a.jpg", "image")
    assert "gopher" in (_see(nowhere).why_not or "")
    assert "not_found" in (_see(Unit("/nowhere/a.mp4", "video"), [0]).why_not or "")
    assert _see(Unit("/nowhere/clip", "frames"), [0]).why_not is not None


def test_a_clip_that_lies_elsewhere_is_fetched_up_to_a_size(tmp_path, monkeypatch):
    video = write_video(tmp_path / "clip.mp4", 12).read_bytes()
    (tmp_path / "a.tar").write_bytes(tar_bytes([("clip.mp4", video)]))
    (unit,) = _units(tmp_path / "a.tar")
    monkeypatch.setattr(unit_pictures, "_MOST_FETCHED", 1000)
    assert "not fetched for a page" in (_see(unit, [0]).why_not or "")
    assert _see(Unit(str(tmp_path / "clip.mp4"), "video"), [0]).why_not is None


def test_nothing_larger_than_the_run_took_is_decoded(tmp_path):
    write_files(tmp_path, ["large.jpg"])
    (unit,) = _units(tmp_path)
    assert "bomb" in (_see(unit, max_pixels=100).why_not or "")
    assert "too_large" in (_see(unit, max_bytes=100).why_not or "")
