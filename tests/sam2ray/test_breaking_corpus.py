"""An archive full of bad files: exactly the bad ones fail, each with its reason."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.dataset as pads
import pytest
from bad_media import bad_pictures, odd_but_good_pictures
from bad_videos import BROKEN_OFF, UNUSABLE
from breaking import finish, masks, require_clean
from make_archive import jpeg, tar_bytes
from make_video import write_video

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ODD_NAMES = (
    "with space.jpg",
    "ünïcödé 你好.jpg",
    "new\nline.jpg",
    "100%41 #?&.jpg",
    "-rf.jpg",
    "'q\".jpg",
)
HOSTILE = ("../../escaped.jpg", "/absolute.jpg", "a/../../b.jpg")


def _hostile_shard() -> bytes:
    """Members that would land elsewhere if anybody unpacked them, links, and one sound picture."""
    file = io.BytesIO(tar_bytes([(name, jpeg(seed=7)) for name in (*HOSTILE, "sound.jpg")]))
    with tarfile.open(fileobj=file, mode="a") as archive:
        for kind, name in ((tarfile.SYMTYPE, "symbolic.jpg"), (tarfile.LNKTYPE, "hard.jpg")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    return file.getvalue()


def _write(folder: Path) -> dict[str, str]:
    """The archive, and how each of its units is to end: `ok`, `partial`, or a class of failure."""
    expected: dict[str, str] = {}
    for bad in bad_pictures():
        place = folder / "bad" / bad.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(bad.data)
        expected[str(place)] = bad.expected
    for number, good in enumerate(odd_but_good_pictures()):
        if number % 4 or "." not in good.name[-6:]:
            continue  # some of each kind: all are decoded elsewhere; no suffix, no unit of a folder
        place = folder / "odd" / good.name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(good.data)
        expected[str(place)] = "ok"
    for name in ODD_NAMES:
        place = folder / "names" / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(jpeg(seed=3))
        expected[str(place)] = "ok"
    return expected | _write_videos(folder)


def _write_videos(folder: Path) -> dict[str, str]:
    (folder / "videos").mkdir()
    expected = {}
    for name, (write, error_class) in UNUSABLE.items():
        write(folder / "videos" / name)
        expected[str(folder / "videos" / name)] = error_class
    for name, write in BROKEN_OFF.items():
        write(folder / "videos" / name)
        expected[str(folder / "videos" / name)] = "partial"
    for name, size in (("sound.mp4", 8), ("odd sides.mp4", 3)):
        place = write_video(folder / "videos" / f"whole {name}", size)
        expected[str(place)] = "ok"
    return expected


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[dict], Path]:
    folder, output = tmp_path_factory.mktemp("corpus") / "archive", tmp_path_factory.mktemp("out")
    folder.mkdir()
    expected = _write(folder)
    code, text = finish(
        folder,
        output,
        "decode.video.every_nth=10",
        "fetch.threads=8",
        "output.commit_every_units=64",
    )
    assert code == 3, text
    require_clean(output)
    return expected, pads.dataset(output / "units").to_table().to_pylist(), output


def test_exactly_the_bad_files_fail_each_with_its_reason(ended):
    expected, rows, _ = ended
    found = {row["source_uri"]: row["error_class"] or row["status"] for row in rows}
    assert len(rows) == len(found) == len(expected)
    assert {uri: found[uri] for uri in expected} == expected
    bad = Counter(expected.values())
    assert sum(bad.values()) - bad["ok"] - bad["partial"] >= 40
    assert all(row["error_message"] for row in rows if row["status"] == "failed")


def test_sound_files_among_them_have_masks(ended):
    expected, _, output = ended
    with_masks = {uri for uri, _ in masks(output)}
    good = {uri for uri, how in expected.items() if how in ("ok", "partial")}
    assert with_masks <= good
    assert {uri for uri in good if "/names/" in uri or "/videos/" in uri} <= with_masks


def test_members_of_a_hostile_shard_are_read_where_they_lie(tmp_path):
    folder, output = tmp_path / "shards", tmp_path / "out"
    folder.mkdir()
    (folder / "shard.tar").write_bytes(_hostile_shard())
    code, text = finish(folder, output)
    assert code == 0, text
    require_clean(output)
    rows = pads.dataset(output / "units").to_table().to_pylist()
    assert {row["member"] for row in rows if row["status"] == "ok"} >= {"sound.jpg"}
    assert not {row["member"] for row in rows} & {"symbolic.jpg", "hard.jpg"}
    assert not list(tmp_path.parent.parent.rglob("escaped.jpg"))
    assert not Path("/absolute.jpg").exists()
