"""An archive full of bad files: exactly the bad ones fail, each with its reason."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as pads
import pytest
from bad_archives import Archive, damaged_shards, damaged_tables, sound_archives
from bad_media import bad_pictures, odd_but_good_pictures
from bad_videos import BROKEN_OFF, UNUSABLE
from breaking import finish, require_clean
from make_archive import jpeg, tar_bytes
from make_video import write_video
from shared_ray import SharedRay

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
UNLIKE = (*HOSTILE, "sound.jpg")  # members that the sound shard does not have


def _hostile_shard() -> bytes:
    """Members that would land elsewhere if anybody unpacked them, links, and one sound picture."""
    file = io.BytesIO(tar_bytes([(name, jpeg(seed=7)) for name in (*HOSTILE, "sound.jpg")]))
    with tarfile.open(fileobj=file, mode="a") as archive:
        for kind, name in ((tarfile.SYMTYPE, "symbolic.jpg"), (tarfile.LNKTYPE, "hard.jpg")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    return file.getvalue()


Place = tuple[str, str | None]
"""A unit by its file, and its member there."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: each unit in words, and what it found in each, with the id of the unit."""

    how: dict[Place, str]
    found: dict[Place, tuple[str, list[tuple[int | None, int, str]]]]
    messages: list[str | None]
    rows: int


def _write(folder: Path) -> dict[Place, str]:
    """The archive, and how each of its units is to end: `ok`, `partial`, or a class of failure."""
    expected: dict[Place, str] = {}
    for bad in bad_pictures():
        expected[_put(folder / "files" / "bad" / bad.name, bad.data)] = bad.expected
    for number, good in enumerate(odd_but_good_pictures()):
        if number % 4 or "." not in good.name[-6:]:
            continue  # some of each kind: all are decoded elsewhere; no suffix, no unit of a folder
        expected[_put(folder / "files" / "odd" / good.name, good.data)] = "ok"
    for name in ODD_NAMES:
        expected[_put(folder / "files" / "names" / name, jpeg(seed=3))] = "ok"
    hostile = dict.fromkeys((*HOSTILE, "sound.jpg"), "ok")
    archives = [*sound_archives(), *damaged_shards(), *damaged_tables()]
    for archive in [*archives, Archive("hostile.tar", _hostile_shard(), hostile)]:
        kind = "shards" if archive.name.endswith(".tar") else "tables"
        uri, _ = _put(folder / kind / archive.name, archive.data)
        expected |= {(uri, member): how for member, how in archive.ends.items()}
    return expected | _write_videos(folder / "files" / "videos")


def _put(place: Path, content: bytes) -> Place:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return str(place), None


def _write_videos(folder: Path) -> dict[Place, str]:
    folder.mkdir()
    expected: dict[Place, str] = {}
    for name, (write, error_class) in UNUSABLE.items():
        write(folder / name)
        expected[str(folder / name), None] = error_class
    for name, write in BROKEN_OFF.items():
        write(folder / name)
        expected[str(folder / name), None] = "partial"
    for name, size in (("sound.mp4", 8), ("odd sides.mp4", 3)):
        expected[str(write_video(folder / f"whole {name}", size)), None] = "ok"
    return expected


def _run(folder: Path, output: Path, ray: SharedRay, wanted_code: int) -> Ended:
    code, text = finish(
        [folder / kind for kind in ("files", "shards", "tables")],
        output,
        "decode.video.every_nth=10",
        "fetch.threads=8",
        "output.commit_every_units=64",
        ray=ray,
    )
    assert code == wanted_code, text
    require_clean(output)
    rows = pads.dataset(output / "units").to_table().to_pylist()
    masks: dict[str, list[tuple[int | None, int, str]]] = {row["unit_id"]: [] for row in rows}
    columns = ["unit_id", "frame_index", "object_id", "rle_counts"]
    for mask in pads.dataset(output / "masks").to_table(columns).to_pylist():
        masks[mask["unit_id"]].append(tuple(mask[name] for name in columns[1:]))
    return Ended(
        {(row["source_uri"], row["member"]): row["error_class"] or row["status"] for row in rows},
        {
            (row["source_uri"], row["member"]): (
                row["unit_id"],
                sorted(masks[row["unit_id"]], key=lambda mask: (mask[0] or 0, mask[1:])),
            )
            for row in rows
        },
        [row["error_message"] for row in rows if row["status"] == "failed"],
        len(rows),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus") / "archive"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[Place, str]:
    return _write(folder)


@pytest.fixture(scope="module")
def ended(
    folder: Path,
    expected: dict[Place, str],
    ray: SharedRay,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ended:
    assert expected
    return _run(folder, tmp_path_factory.mktemp("out"), ray, 3)


@pytest.fixture(scope="module")
def undisturbed(
    folder: Path,
    expected: dict[Place, str],
    ended: Ended,
    ray: SharedRay,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ended:
    """The same files without those in which anything is broken."""
    assert ended.rows
    for uri in {uri for (uri, _), how in expected.items() if how != "ok"}:
        Path(uri).unlink()
    return _run(folder, tmp_path_factory.mktemp("undisturbed"), ray, 0)


def test_exactly_the_bad_files_fail_each_with_its_reason(ended, expected):
    assert ended.how == expected
    assert ended.rows == len(expected)
    bad = Counter(expected.values())
    assert sum(bad.values()) - bad["ok"] - bad["partial"] >= 40
    assert all(ended.messages)


def test_sound_files_among_them_have_the_masks_that_they_have_alone(ended, expected, undisturbed):
    assert {place for place, how in undisturbed.how.items() if how == "ok"} == {*undisturbed.found}
    assert {uri for uri, _ in undisturbed.found} >= {
        uri for (uri, _), how in expected.items() if how == "ok" and "/files/" in uri
    }
    for place, found in undisturbed.found.items():
        assert ended.found[place] == found
    with_masks = {uri for (uri, _), (_, masks) in undisturbed.found.items() if masks}
    for part in ("/names/", "/videos/", "sound.tar", "sound.parquet", "hostile.tar"):
        assert {uri for uri, _ in undisturbed.found if part in uri} <= with_masks


def test_members_and_rows_beside_damage_have_the_masks_that_they_have_in_a_sound_archive(
    ended, expected, undisturbed, folder
):
    compared = 0
    for (uri, member), how in expected.items():
        archive = Path(uri)
        if how != "ok" or archive.suffix not in (".tar", ".parquet") or member in UNLIKE:
            continue
        twin = str(archive.with_name(f"sound{archive.suffix}"))
        assert ended.found[uri, member][1] == undisturbed.found[twin, member][1], (uri, member)
        compared += 1
    assert compared >= 30


def test_nothing_of_a_hostile_shard_lands_elsewhere(ended, folder):
    assert not {member for _, member in ended.how} & {"symbolic.jpg", "hard.jpg"}
    assert not list(folder.parent.parent.rglob("escaped.jpg"))
    assert not Path("/absolute.jpg").exists()
