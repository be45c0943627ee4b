"""Files below a prefix: what is taken, what is counted, and how the work is cut."""

import os
from pathlib import Path

import fsspec
import pytest
from make_archive import found_in, jpeg, web, write_files

from sam2ray.readers import files, listing
from sam2ray.readers.locate import read_unit
from sam2ray.readers.sources import open_source

MIXED = {
    "a.jpg": b"1",
    "b.PNG": b"22",
    "deep/er/c.mp4": b"333",
    "_d.webp": b"4444",
    "e.gif": b"5",
    "notes.txt": b"",
    "deep/readme": b"",
    ".hidden.jpg": b"",
    ".git/f.jpg": b"",
    "deep/.cache/x/g.jpg": b"",
    "movie.tar.gz": b"",
}
TAKEN = {
    "a.jpg": "image",
    "b.PNG": "image",
    "deep/er/c.mp4": "video",
    "_d.webp": "image",
    "e.gif": "image",
}
IGNORED = {
    "notes.txt": ".txt",
    "deep/readme": "no known suffix",
    ".hidden.jpg": "hidden",
    ".git/f.jpg": "hidden",
    "deep/.cache/x/g.jpg": "hidden",
    "movie.tar.gz": ".gz",
}


@pytest.mark.parametrize("where", ["local", "memory"])
def test_known_media_are_units_and_all_the_rest_is_counted(tmp_path, where):
    if where == "local":
        root = str(write_files(tmp_path, MIXED))
    else:
        root = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").pipe({f"{root}/{name}": data for name, data in MIXED.items()})
    units, ignored = found_in(open_source(root))
    assert {unit.source_uri: unit.kind for unit in units} == {
        f"{root}/{name}": kind for name, kind in TAKEN.items()
    }
    assert {item.name: item.reason for item in ignored} == {
        f"{root}/{name}": reason for name, reason in IGNORED.items()
    }
    assert {unit.source_uri: unit.length for unit in units} == {
        f"{root}/{name}": len(MIXED[name]) for name in TAKEN
    }
    assert all(
        read_unit(unit, {}) == MIXED[unit.source_uri.removeprefix(f"{root}/")] for unit in units
    )


def test_the_same_files_are_the_same_units_however_they_are_named(tmp_path, monkeypatch):
    write_files(tmp_path / "x", ["a.jpg", "b/c.jpg"])
    monkeypatch.chdir(tmp_path)
    names = [str(tmp_path / "x"), "x", "./x", "x/", f"file://{tmp_path}/x", f"{tmp_path}/x/**"]
    ids = [{unit.unit_id for unit in found_in(open_source(name))[0]} for name in names]
    assert all(found == ids[0] for found in ids)
    assert len(ids[0]) == 2


def test_a_changed_file_is_another_unit_of_the_same_source(tmp_path):
    write_files(tmp_path, ["a.jpg"])
    (before,), _ = found_in(open_source(str(tmp_path)))
    write_files(tmp_path, {"a.jpg": b"other"})
    (after,), _ = found_in(open_source(str(tmp_path)))
    assert before.unit_id != after.unit_id
    assert before.source_key == after.source_key


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", {"a.jpg"}),
        ("**/*.jpg", {"a.jpg", "x/b.jpg", "x/y/c.jpg"}),
        ("x*", {"x/b.jpg", "x/y/c.jpg", "x/d.png"}),
        ("*/*.[jp]*", {"x/b.jpg", "x/d.png"}),
        ("**", {"a.jpg", "x/b.jpg", "x/y/c.jpg", "x/d.png"}),
        ("*/y/*.jpg", {"x/y/c.jpg"}),
        ("*/?/*", {"x/y/c.jpg"}),
        ("x*/**/*.jpg", {"x/b.jpg", "x/y/c.jpg"}),
        ("[xz]/[!y].*", {"x/b.jpg", "x/d.png"}),
        ("*/b.jpg", {"x/b.jpg"}),
        ("**/y/**", {"x/y/c.jpg"}),
    ],
)
@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_pattern_finds_files_and_folders_each_once(tmp_path, where, pattern, found):
    files = dict.fromkeys(["a.jpg", "x/b.jpg", "x/y/c.jpg", "x/d.png", "e.txt"], b"1")
    root = str(write_files(tmp_path, files))
    if where == "memory":
        root = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").pipe({f"{root}/{name}": b"1" for name in files})
    units, _ = found_in(open_source(f"{root}/{pattern}"))
    assert sorted(unit.source_uri for unit in units) == sorted(f"{root}/{name}" for name in found)


def test_a_single_file_is_a_source(tmp_path):
    write_files(tmp_path, ["a.jpg", "b.jpg"])
    units, ignored = found_in(open_source(str(tmp_path / "a.jpg")))
    assert [unit.source_uri for unit in units] == [str(tmp_path / "a.jpg")]
    assert not ignored


def test_several_sources_are_read_one_after_the_other(tmp_path):
    write_files(tmp_path, ["x/a.jpg", "y/b.jpg"])
    units, _ = found_in(open_source([str(tmp_path / "x"), str(tmp_path / "y")]))
    assert len(units) == 2


def test_a_name_with_wildcards_that_exists_is_that_file(tmp_path):
    write_files(tmp_path, ["a[1].jpg", "a1.jpg"])
    units, _ = found_in(open_source(str(tmp_path / "a[1].jpg")))
    assert [unit.source_uri for unit in units] == [str(tmp_path / "a[1].jpg")]


def test_folders_are_slices_of_their_own_and_loose_files_come_in_bounded_ones(tmp_path):
    write_files(tmp_path, [f"{n:02d}/x/a.jpg" for n in range(40)] + ["loose.jpg"])
    pieces = list(open_source(str(tmp_path)).slices())
    assert [piece.folder for piece in pieces if piece.files is None] == [
        f"{n:02d}" for n in range(40)
    ]
    assert [[file.name for file in piece.files] for piece in pieces if piece.files] == [
        ["loose.jpg"]
    ]


def test_many_loose_files_make_several_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_FILES_A_SLICE", 100)
    write_files(tmp_path, {f"{n}.jpg": b"" for n in range(250)})
    source = open_source(str(tmp_path))
    assert [len(piece.files) for piece in source.slices()] == [100, 100, 50]
    assert len({unit.unit_id for unit in found_in(source)[0]}) == 250


def test_a_file_name_that_no_table_can_keep_is_counted(tmp_path):
    write_files(tmp_path, ["a.jpg"])
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).touch()
    units, ignored = found_in(open_source(str(tmp_path)))
    assert len(units) == 1
    assert [item.reason for item in ignored] == ["not UTF-8"]
    assert ignored[0].name.encode()


def test_broken_links_pipes_and_links_in_circles_are_no_files(tmp_path):
    write_files(tmp_path, ["a.jpg"])
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    os.mkfifo(tmp_path / "pipe.jpg")
    units, _ = found_in(open_source(str(tmp_path)))
    assert [unit.source_uri for unit in units] == [str(tmp_path / "a.jpg")]


@pytest.mark.parametrize("name", ["archive", "archive/**/*.jpg"])
def test_links_to_folders_are_followed_but_not_in_circles(tmp_path, name):
    write_files(tmp_path, ["elsewhere/b.jpg", "archive/a.jpg"])
    archive = tmp_path / "archive"
    (archive / "part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(archive)
    units, _ = found_in(open_source(str(tmp_path / name)))
    found = sorted(Path(unit.source_uri).relative_to(archive).as_posix() for unit in units)
    assert found == ["a.jpg", "part/b.jpg"]


def test_an_address_on_the_web_is_a_unit_whether_its_server_knows_it_or_not():
    with web({"a.jpg": jpeg()}) as server:
        units, _ = found_in(open_source([f"{server.url}/a.jpg", f"{server.url}/b?id=3"]))
        assert [unit.kind for unit in units] == ["image", "image"]
        assert [bool(unit.version) for unit in units] == [True, False]
        assert not server.sent["a.jpg"]
        assert read_unit(units[0], {}) == jpeg()


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_folder_with_very_many_files_is_left_to_one_task(tmp_path, monkeypatch, where):
    monkeypatch.setattr(listing, "_MOST_FILES", 5)
    files = [*(f"{n}.jpg" for n in range(9)), *(f"x/{n}.jpg" for n in range(3)), "y/z/a.jpg"]
    root = str(write_files(tmp_path, files))
    if where == "memory":
        root = f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").pipe({f"{root}/{name}": b"1" for name in files})
    source = open_source(root)
    (piece,) = source.slices()
    assert (piece.folder, piece.files) == ("", None), "no file of it is in the driver's mind"
    units, _ = found_in(source)
    assert sorted(unit.source_uri for unit in units) == sorted(f"{root}/{name}" for name in files)


@pytest.mark.parametrize("pattern", ["*/*.jpg", "**/*.jpg", "day*/**"])
def test_folders_that_a_pattern_fits_are_listed_side_by_side(tmp_path, monkeypatch, pattern):
    monkeypatch.setattr(listing, "_ENOUGH_FOLDERS", 3)
    names = [f"day{day}/{n}.jpg" for day in range(4) for n in range(3)]
    write_files(tmp_path, names)
    source = open_source(f"{tmp_path}/{pattern}")
    pieces = [piece for piece in source.slices() if piece.files is None]
    assert [piece.folder for piece in pieces] == [f"day{day}" for day in range(4)]
    assert all(piece.pattern for piece in pieces)
    units, _ = found_in(source)
    assert sorted(unit.source_uri for unit in units) == [f"{tmp_path}/{name}" for name in names]


def test_files_that_a_pattern_fits_are_not_in_the_drivers_mind_either(tmp_path):
    write_files(tmp_path, ["1.jpg", "2.jpg", "3.png", "4 jpg/a.jpg"])
    source = open_source(f"{tmp_path}/*jpg")
    (piece,) = source.slices()
    assert (piece.files, piece.pattern) == (None, "*jpg")
    units, _ = found_in(source)
    names = sorted(unit.source_uri.removeprefix(f"{tmp_path}/") for unit in units)
    assert names == ["1.jpg", "2.jpg", "4 jpg/a.jpg"]
