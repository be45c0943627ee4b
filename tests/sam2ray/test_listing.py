"""What a config says of its source and its prompts reaches their readers."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from make_archive import webdataset
from PIL import Image

from sam2ray import listing, shares
from sam2ray.config_file import load_config
from sam2ray.errors import UsageError
from sam2ray.listing import list_source, source_of
from sam2ray.manifest import read_manifest
from sam2ray.readers import listing as listings
from sam2ray.readers.sources import Source
from sam2ray.readers.tar_shards import TarReader
from sam2ray.records import Unit
from sam2ray.report import late_in_words
from sam2ray.storage import LocalStore

PROMPTS = ("mode=prompt", "prompts.coordinates=pixels")
ROWS = {
    "where": ["a.jpg", "a.jpg", "b.jpg"],
    "bbox": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [0.0, 0.0, 1.0, 1.0]],
    "points": [[[1.0, 1.0]]] * 3,
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "boxes.parquet"
    pq.write_table(pa.table(ROWS), path)
    return path


def _source(uri: Path, *settings: str) -> Source:
    config = load_config(None, settings, source=str(uri), output=str(uri.parent / "out"))
    return source_of(config)


def _units(source: Source) -> list[Unit]:
    return [unit for unit in source.all_units() if isinstance(unit, Unit)]


def _boxes(prompts: str | None) -> list[Any]:
    assert prompts is not None
    fields = json.loads(prompts)
    assert all("points" not in one for one in fields)
    return [one["box"] for one in fields]


def test_a_list_is_read_by_the_columns_that_a_config_names(table: Path):
    said = ("source.uri_column=where", "prompts.box_format=xywh", "prompts.use=[box]")
    units = _units(_source(table, *PROMPTS, *said))
    assert [Path(unit.source_uri).name for unit in units] == ["a.jpg", "b.jpg"]
    found = [_boxes(unit.prompts) for unit in units]
    assert found == [[[1.0, 2.0, 4.0, 6.0], [5.0, 6.0, 12.0, 14.0]], [[0.0, 0.0, 1.0, 1.0]]]


def test_a_table_of_prompts_is_read_by_the_columns_that_a_config_names(table: Path):
    pictures = table.parent / "pictures"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "a.jpg")
    said = ("prompts.uri_column=where", "prompts.box_format=xyxy", "prompts.use=[box]")
    source = _source(pictures, *PROMPTS, f"prompts.file={table}", *said)
    prompts = list(source.all_prompts())
    assert [one.name for one in prompts] == ["a.jpg", "b.jpg"]
    assert prompts[0].prompts[0]["box"] == [1.0, 2.0, 3.0, 4.0]
    assert "points" not in prompts[0].prompts[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((), r"source\.uri_column=NAME"),
        (("source.uri_column=where",), r"prompts\.box_format=xyxy, xywh or cxcywh"),
        (("source.uri_column=wher",), "no column wher"),
    ],
)
def test_what_is_not_clear_names_the_setting_that_says_it(
    table: Path, settings: tuple[str, ...], words: str
):
    with pytest.raises(UsageError, match=words):
        _source(table, *PROMPTS, *settings)


@pytest.mark.parametrize("setting", ["source.uri_column=where", "source.bytes_column=where"])
def test_a_column_of_a_source_that_has_none_is_refused(tmp_path: Path, setting: str):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=rf"{setting} is of source\.kind=.* read as files"):
        _source(tmp_path, setting)


@pytest.mark.parametrize("setting", ["prompts.box_format=xywh", "prompts.uri_column=where"])
def test_what_only_tables_leave_open_is_refused_beside_a_coco_file(tmp_path: Path, setting: str):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (4, 4)).save(pictures / "a.png")
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"images": [], "annotations": []}))
    words = re.escape(setting.partition("=")[0]) + " are of tables; coco says by itself"
    with pytest.raises(UsageError, match=words):
        _source(pictures, "mode=prompt", f"prompts.file={path}", setting)


def test_of_several_columns_of_bytes_a_config_names_the_one_with_the_pictures(tmp_path: Path):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    cells = [file.getvalue()]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"left": cells, "right": cells}), path)
    with pytest.raises(UsageError, match=r"source\.bytes_column=NAME"):
        _source(path)
    (unit,) = _units(_source(path, "source.bytes_column=right"))
    assert unit.member == "row 0 of right"


# ---------------------------------------------------------------- once more


def test_a_column_that_is_named_too_late_for_some_units_is_said(tmp_path: Path):
    path, store = tmp_path / "list.csv", LocalStore(tmp_path / "out")
    path.write_text("uri,camera,day\n/a/1.jpg,north,1\n")

    def listed(*keep: str) -> tuple[str, ...]:
        settings = [f"source.keep=[{','.join(keep)}]"]
        config = load_config(None, settings, source=str(path), output=str(tmp_path / "out"))
        number = len(list(store.list("_sam2ray/manifest")))
        return list_source(config, store, str(number))[0].late

    assert listed("camera") == ()
    assert listed("camera") == ()
    assert listed("camera", "day") == ("day",)
    assert "without it" in late_in_words(("day",))


def test_a_shard_that_did_not_change_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shards, store = tmp_path / "in", LocalStore(tmp_path / "out")
    shards.mkdir()
    for name, count in (("a.tar", 3), ("b.tar", 2)):
        (shards / name).write_bytes(webdataset(count, json_fields=False))
    config = load_config(None, (), source=str(shards), output=str(tmp_path / "out"))
    read: list[str] = []
    through = TarReader.units

    def units(self, piece, options):
        read.extend(entry.name for entry in piece.files)
        return through(self, piece, options)

    monkeypatch.setattr(TarReader, "units", units)

    def listed(index: str) -> tuple[int, int, int, list[str]]:
        read.clear()
        found, merged = list_source(config, store, index)
        return found.unchanged, merged.added, merged.superseding, sorted(read)

    assert listed("1") == (0, 5, 0, ["a.tar", "b.tar"])
    assert listed("2") == (2, 0, 0, [])
    first = (shards / "b.tar").read_bytes()
    (shards / "b.tar").write_bytes(webdataset(4, json_fields=False))
    (shards / "c.tar").write_bytes(webdataset(1, json_fields=False))
    assert listed("3") == (1, 5, 2, ["b.tar", "c.tar"])
    facts = (shards / "b.tar").stat()
    (shards / "b.tar").write_bytes(first)
    os.utime(shards / "b.tar", ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert listed("4") == (2, 2, 2, ["b.tar"]), "the latest version counts, not any"


# ---------------------------------------------------------------- in tasks


@pytest.mark.usefixtures("two_cpus")
def test_large_sources_are_listed_and_merged_by_tasks_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for n in range(12):
        place = tmp_path / "in" / f"folder {n % 4}" / f"{n}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (n, n, n)).save(place)
    (tmp_path / "in" / "notes.txt").write_text("to be ignored")
    config = load_config(None, (), source=str(tmp_path / "in"), output=str(tmp_path / "out"))
    alone, together = LocalStore(tmp_path / "alone"), LocalStore(tmp_path / "together")
    expected = list_source(config, alone, "1")
    monkeypatch.setattr(listings, "_ENOUGH_FOLDERS", 4)
    monkeypatch.setattr(shares, "_SHARE_S", 0.0)
    monkeypatch.setattr(listing, "buckets_for", lambda _: 3)
    listed, merged = list_source(config, together, "1")
    assert len(listed.runs) > 1, "several tasks listed"
    assert len(merged.parts) > 1, "several tasks merged"
    assert (listed.units, listed.ignored) == (expected[0].units, expected[0].ignored)
    assert (merged.added, merged.known) == (expected[1].added, expected[1].known)
    tables = [pa.concat_tables(read_manifest(store)) for store in (alone, together)]
    assert tables[0].sort_by("source_key") == tables[1].sort_by("source_key")
