"""Shards become units by their headers alone, near and far."""

import io
import tarfile

import fsspec
import pytest
from make_archive import found_in, jpeg, tar_bytes, web, webdataset, write_files

from sam2ray.errors import BadAddress, UnitFailed
from sam2ray.readers.locate import read_unit
from sam2ray.readers.sources import open_source
from sam2ray.records import ErrorClass, Unit
from sam2ray.storage import ObjectStore


def test_each_picture_and_video_of_a_shard_is_a_unit_that_can_be_read(tmp_path):
    members = [("a.jpg", jpeg()), ("a.txt", b"words"), ("b/c.MP4", b"video"), ("d.png", b"png")]
    shard = write_files(tmp_path, {"x.tar": tar_bytes(members)}) / "x.tar"
    units, ignored = found_in(open_source(str(shard)))
    assert [(unit.member, unit.kind) for unit in units] == [
        ("a.jpg", "image"),
        ("b/c.MP4", "video"),
        ("d.png", "image"),
    ]
    assert [read_unit(unit, {}) for unit in units] == [jpeg(), b"video", b"png"]
    assert {unit.source_uri for unit in units} == {str(shard)}
    assert all(unit.version for unit in units)
    assert [(item.name, item.reason) for item in ignored] == [(f"{shard}: a.txt", ".txt")]


def test_fields_of_side_files_are_kept_for_the_picture_of_their_key(tmp_path):
    shard = write_files(tmp_path, {"x.tar": webdataset(3)}) / "x.tar"
    units, ignored = found_in(open_source(str(shard), keep=["caption", "tags", "cls", "missing"]))
    assert units[2].user == {"caption": "picture 2", "tags": '["a",2]', "cls": "2"}
    assert not ignored


def test_side_files_count_for_pictures_before_and_behind_them(tmp_path):
    members = [("k.json", b'{"a": 1}'), ("k.jpg", b"1"), ("k.png", b"2"), ("k.cls", b"7\n")]
    shard = write_files(tmp_path, {"x.tar": tar_bytes(members)}) / "x.tar"
    units, _ = found_in(open_source(str(shard), keep=["a", "cls"]))
    assert [unit.user for unit in units] == [{"a": "1", "cls": "7"}] * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{not json", "no JSON"),
        (b"[1, 2]", "no JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "no JSON"),
        (b" " * (1 << 20) + b"{}", "a side file of more than 1 MiB"),
    ],
)
def test_a_side_file_that_cannot_be_read_is_ignored_and_its_picture_is_not(
    tmp_path, content, reason
):
    members = [("k.jpg", b"1"), ("k.json", content)]
    shard = write_files(tmp_path, {"x.tar": tar_bytes(members)}) / "x.tar"
    units, ignored = found_in(open_source(str(shard), keep=["a"]))
    assert [unit.user for unit in units] == [{}]
    assert [item.reason for item in ignored] == [reason]


def test_a_second_member_of_a_name_would_be_the_same_unit_and_is_ignored(tmp_path):
    members = [("a.jpg", b"1"), ("a.jpg", b"2")]
    shard = write_files(tmp_path, {"x.tar": tar_bytes(members)}) / "x.tar"
    units, ignored = found_in(open_source(str(shard)))
    assert [read_unit(unit, {}) for unit in units] == [b"1"]
    assert [item.reason for item in ignored] == ["duplicate"]


def test_links_and_hidden_members_are_ignored_with_their_reasons(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name in ("._a.jpg", "x/.hidden/a.jpg", "./good.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    shard = write_files(tmp_path, {"x.tar": file.getvalue()}) / "x.tar"
    units, ignored = found_in(open_source(str(shard)))
    assert [unit.member for unit in units] == ["./good.jpg"]
    assert [item.reason for item in ignored] == ["link", "hidden", "hidden"]


def failure_of(unit: Unit) -> UnitFailed:
    with pytest.raises(UnitFailed) as failed:
        read_unit(unit, {})
    return failed.value


def test_a_damage_is_a_unit_that_fails_with_shard_place_and_way_out(tmp_path):
    sound = tar_bytes([(f"{n}.jpg", bytes([n]) * 2000) for n in range(1, 6)])
    broken = sound[:2660] + b"\xff" * 8 + sound[2668:]  # of the checksum of 2.jpg
    shard = write_files(tmp_path, {"x.tar": broken}) / "x.tar"
    units, ignored = found_in(open_source(str(shard)))
    assert not ignored
    assert [unit.member for unit in units if unit.fault is None] == [
        f"{n}.jpg" for n in (1, 3, 4, 5)
    ]
    assert [read_unit(unit, {}) for unit in units if unit.fault is None] == [
        bytes([n]) * 2000 for n in (1, 3, 4, 5)
    ]
    (damage,) = (unit for unit in units if unit.fault is not None)
    assert (damage.member, damage.offset, damage.length) == ("damage at byte 2560", 2560, 2560)
    failure = failure_of(damage)
    assert failure.error_class is ErrorClass.CORRUPT
    assert failure.message.startswith(f"{shard}, byte 2560: no tar header stands here")
    assert "'2.jpg'" in failure.message
    assert failure.message.endswith("put a sound shard in its place and run the same command again")
    again, _ = found_in(open_source(str(shard)))
    assert [unit.unit_id for unit in again] == [unit.unit_id for unit in units]


def test_a_member_that_the_shard_ends_in_is_a_unit_that_fails_as_truncated(tmp_path):
    content = tar_bytes([("a.jpg", b"1"), ("b.jpg", bytes(5000))])[:3000]
    shard = write_files(tmp_path, {"x.tar": content}) / "x.tar"
    units, ignored = found_in(open_source(str(shard)))
    assert [unit.member for unit in units] == ["a.jpg", "b.jpg"]
    assert not ignored
    assert read_unit(units[0], {}) == b"1"
    failure = failure_of(units[1])
    assert failure.error_class is ErrorClass.TRUNCATED
    assert "of the 5000 bytes of 'b.jpg', 1464 are there" in failure.message


@pytest.mark.parametrize("name", ["k.json", "k.txt", ".hidden.jpg", "a.jpg"])
def test_a_cut_within_what_is_no_unit_is_told_as_well(tmp_path, name):
    content = tar_bytes([("a.jpg", b"1"), (name, b"{}" * 2000)])[:3000]
    shard = write_files(tmp_path, {"x.tar": content}) / "x.tar"
    units, ignored = found_in(open_source(str(shard), keep=["caption"]))
    (damage,) = (unit for unit in units if unit.fault is not None)
    assert (len(units), damage.member) == (2, "damage at byte 1536")
    assert not ignored
    assert failure_of(damage).error_class is ErrorClass.TRUNCATED


def test_a_folder_of_shards_has_a_slice_for_each_and_counts_what_else_is_there(tmp_path):
    write_files(
        tmp_path,
        {
            "0.tar": webdataset(2, json_fields=False),
            "more/1.TAR": webdataset(3, json_fields=False),
            "index.json": b"{}",
            "old.tar.gz": b"\x1f\x8b",
            ".tmp.tar": b"",
        },
    )
    source = open_source(str(tmp_path))
    units, ignored = found_in(source)
    assert len(list(source.slices())) == 5
    assert len(units) == 5
    reasons = sorted(item.reason for item in ignored)
    assert reasons == [".json", "compressed shard", "hidden"]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.zst", "x.tar.bz2"])
def test_a_compressed_shard_is_refused_with_the_way_out(tmp_path, name):
    shard = write_files(tmp_path, {name: b"\x1f\x8b"}) / name
    with pytest.raises(ValueError, match=r"compressed shard.*Unpack it to \.tar"):
        open_source(str(shard))


def test_a_shard_that_is_compressed_whatever_its_name_says_is_told(tmp_path):
    shard = write_files(tmp_path, {"x.tar": b"\x1f\x8b\x08" + bytes(600)}) / "x.tar"
    (unit,), ignored = found_in(open_source(str(shard)))
    assert not ignored
    failure = failure_of(unit)
    assert failure.error_class is ErrorClass.UNSUPPORTED
    assert "compressed (gzip): unpack it" in failure.message


def test_a_shard_of_no_bytes_fails_as_truncated(tmp_path):
    shard = write_files(tmp_path, {"x.tar": b""}) / "x.tar"
    (unit,), _ = found_in(open_source(str(shard)))
    assert failure_of(unit).error_class is ErrorClass.TRUNCATED


@pytest.mark.parametrize("content", [bytes(1024), tar_bytes([])])
def test_an_empty_shard_has_no_units_and_no_damage(tmp_path, content):
    shard = write_files(tmp_path, {"x.tar": content}) / "x.tar"
    assert found_in(open_source(str(shard))) == ([], [])


# ---------------------------------------------------------------- far away


class Meter:
    """Counts what a store is asked for."""

    def __init__(self, monkeypatch):
        self.read = self.requests = 0
        real = ObjectStore.read_range

        def read_range(store, name, start, length):
            self.requests += 1
            content = real(store, name, start, length)
            self.read += len(content)
            return content

        monkeypatch.setattr(ObjectStore, "read_range", read_range)


@pytest.mark.parametrize(
    ("samples", "bytes_each", "json_fields"),
    [(200, 100_000, False), (190, 100_000, True), (20, 1 << 20, True)],
)
def test_a_remote_shard_of_20_mb_is_indexed_by_reading_less_than_2_mb(
    monkeypatch, samples, bytes_each, json_fields
):
    content = webdataset(samples, json_fields, bytes_each)
    assert 19e6 < len(content) < 22e6
    fsspec.filesystem("memory").pipe_file("/meter/x.tar", content)
    meter = Meter(monkeypatch)
    keep = ["caption"] if json_fields else []
    units, _ = found_in(open_source("memory://meter/x.tar", keep=keep))
    assert len(units) == samples
    assert meter.read < 2e6
    assert meter.requests <= samples + 8  # not a request for each header of a key


def test_a_shard_of_small_members_is_not_asked_for_one_by_one(monkeypatch):
    content = tar_bytes([(f"{n}.jpg", bytes(300)) for n in range(1000)])
    fsspec.filesystem("memory").pipe_file("/small/x.tar", content)
    meter = Meter(monkeypatch)
    units, _ = found_in(open_source("memory://small/x.tar"))
    assert len(units) == 1000
    assert meter.requests < 150


def test_a_shard_on_the_web_is_read_by_ranges():
    content = webdataset(20, False, 200_000)
    with web({"data/x.tar": content}) as server:
        units, _ = found_in(open_source(f"{server.url}/data/x.tar"))
        assert len(units) == 20
        assert server.sent["data/x.tar"] < 400_000
        assert read_unit(units[7], {}) == bytes(200_000)


def test_a_server_that_ignores_ranges_is_told_from_one_that_sends_them():
    with web({"x.tar": webdataset(20, False, 10_000)}) as server:
        server.ranges = False
        with pytest.raises(BadAddress, match=r"sends no parts of files.*bucket"):
            found_in(open_source(f"{server.url}/x.tar"))
