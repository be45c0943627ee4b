"""Folders of pictures are clips."""

import numpy as np
import pytest
from make_archive import found_in, write_davis, write_files

from sam2ray.errors import UnitFailed
from sam2ray.readers import files
from sam2ray.readers.locate import frames_of
from sam2ray.readers.sources import open_source


def test_each_folder_of_pictures_is_a_clip(tmp_path):
    write_davis(tmp_path, {"bear": np.zeros((8, 8)), "car": np.zeros((8, 8))})
    write_files(tmp_path, {"JPEGImages/480p/bear/notes.txt": b"", "README": b""})
    units, ignored = found_in(open_source(str(tmp_path / "JPEGImages"), kind="frames"))
    assert [unit.source_uri for unit in units] == [
        str(tmp_path / "JPEGImages/480p/bear"),
        str(tmp_path / "JPEGImages/480p/car"),
    ]
    assert {unit.kind for unit in units} == {"frames"}
    assert [item.reason for item in ignored] == [".txt"]


def test_frames_come_by_the_numbers_in_their_names(tmp_path):
    write_files(
        tmp_path, {f"{n}.jpg": b"1" for n in (10, 2, 1, 33)} | {".x.jpg": b"", "0.txt": b""}
    )
    (unit,), _ = found_in(open_source(str(tmp_path), kind="frames"))
    assert [entry.name for entry in frames_of(unit, {})] == ["1.jpg", "2.jpg", "10.jpg", "33.jpg"]
    assert unit.length == 4


def test_folders_within_a_clip_are_clips_of_their_own(tmp_path):
    write_files(tmp_path, ["a/0.jpg", "a/b/0.jpg", "a-b/0.jpg", "a/1.jpg"])
    for source in (str(tmp_path), f"{tmp_path}/**"):
        units, _ = found_in(open_source(source, kind="frames"))
        names = sorted(unit.source_uri.removeprefix(f"{tmp_path}/") for unit in units)
        assert names == ["a", "a-b", "a/b"]


def test_a_clip_is_never_cut_however_many_frames_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_FILES_A_SLICE", 100)
    write_files(tmp_path, {f"clip/{n}.jpg": b"" for n in range(250)})
    (unit,), _ = found_in(open_source(str(tmp_path), kind="frames"))
    assert len(frames_of(unit, {})) == 250


@pytest.mark.parametrize("change", ["content", "one more", "one less"])
def test_a_clip_that_changed_after_it_was_listed_is_refused(tmp_path, change):
    write_files(tmp_path, ["0.jpg", "1.jpg"])
    (unit,), _ = found_in(open_source(str(tmp_path), kind="frames"))
    if change == "content":
        write_files(tmp_path, {"1.jpg": b"other"})
    elif change == "one more":
        write_files(tmp_path, {"2.jpg": b"other"})
    else:
        (tmp_path / "0.jpg").unlink()
    with pytest.raises(UnitFailed, match="changed since it was indexed"):
        frames_of(unit, {})


def test_a_clip_that_is_gone_is_not_found(tmp_path):
    write_files(tmp_path, ["clip/0.jpg"])
    (unit,), _ = found_in(open_source(str(tmp_path), kind="frames"))
    (tmp_path / "clip/0.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        frames_of(unit, {})
