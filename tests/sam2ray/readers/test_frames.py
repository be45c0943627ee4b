"""Folders of pictures are clips."""

from pathlib import Path

import fsspec
import numpy as np
import pytest
from make_archive import found_in, web, write_davis, write_files

from sam2ray.errors import UnitFailed, UsageError
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


TWO_CAMERAS = [
    f"seq{take}/{camera}_{n}.png" for take in (1, 2) for camera in ("rgb", "depth") for n in (0, 1)
]
RGB = ["rgb_0.png", "rgb_1.png"]


def _frames_by_folder(source: str) -> dict[str, list[str]]:
    units, _ = found_in(open_source(source, kind="frames"))
    return {
        unit.source_uri.rpartition("/")[2]: [entry.name for entry in frames_of(unit, {})]
        for unit in units
    }


@pytest.mark.parametrize("pattern", ["seq*/rgb_*.png", "**/rgb_*.png", "seq?/**/rgb_[0-9].png"])
@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_clip_by_a_pattern_has_the_frames_that_fit_and_no_other(
    tmp_path: Path, where: str, pattern: str
):
    if where == "local":
        write_files(tmp_path, TWO_CAMERAS)
        root = str(tmp_path)
    else:
        root = f"memory://{tmp_path.name}"
        for name in TWO_CAMERAS:
            fsspec.filesystem("memory").pipe_file(f"{root}/{name}", b"1")
    assert _frames_by_folder(f"{root}/{pattern}") == {"seq1": RGB, "seq2": RGB}


def test_a_clip_by_a_pattern_changes_with_its_own_frames_alone(tmp_path: Path):
    write_files(tmp_path, TWO_CAMERAS)
    (unit,), _ = found_in(open_source(f"{tmp_path}/seq1/rgb_*.png", kind="frames"))
    write_files(tmp_path, {"seq1/depth_9.png": b"new"})
    assert [entry.name for entry in frames_of(unit, {})] == RGB
    write_files(tmp_path, {"seq1/rgb_9.png": b"new"})
    with pytest.raises(UnitFailed, match="changed since it was indexed"):
        frames_of(unit, {})


def test_a_folder_that_a_pattern_means_is_a_clip_of_all_its_pictures(tmp_path: Path):
    write_files(tmp_path, [*TWO_CAMERAS, "seq_cover.png", "other.png", "seq1/seq/a.png"])
    found = _frames_by_folder(f"{tmp_path}/seq*")
    assert found.pop(tmp_path.name) == ["seq_cover.png"], "beside the folders, what fits itself"
    assert {name: len(frames) for name, frames in found.items()} == {"seq1": 4, "seq2": 4, "seq": 1}


@pytest.mark.parametrize("pattern", ["*/*", "**", "*/*.png", "**/rgb_*.png"])
def test_a_pattern_that_leaves_no_picture_out_means_the_same_clips_as_the_folder(
    tmp_path: Path, pattern: str
):
    write_files(tmp_path, ["a/rgb_0.png", "a/rgb_1.png", "b/rgb_0.png", "b/notes.txt"])
    whole, _ = found_in(open_source(str(tmp_path), kind="frames"))
    assert found_in(open_source(f"{tmp_path}/{pattern}", kind="frames"))[0] == whole


def test_frames_that_are_gone_are_said_with_their_pattern(tmp_path: Path):
    write_files(tmp_path, ["a/rgb_0.png", "a/depth_0.png"])
    (unit,), _ = found_in(open_source(f"{tmp_path}/a/rgb_*", kind="frames"))
    (tmp_path / "a/rgb_0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"no pictures that fit rgb_\* in this folder"):
        frames_of(unit, {})


def test_two_patterns_of_the_same_folders_are_refused(tmp_path: Path):
    write_files(tmp_path, TWO_CAMERAS)
    both = [f"{tmp_path}/seq*/{camera}_*.png" for camera in ("rgb", "depth")]
    with pytest.raises(UsageError, match=r"rgb_.* and .*depth_.* one clip.* an output of its own"):
        open_source(both, kind="frames")
    takes = [f"{tmp_path}/seq1*", f"{tmp_path}/seq2*"]
    assert len(found_in(open_source(takes, kind="frames"))[0]) == 2


def test_a_picture_is_no_clip_and_a_shell_that_lists_them_is_found_out(tmp_path: Path):
    write_files(tmp_path, TWO_CAMERAS)
    with pytest.raises(UsageError, match=r"rgb_0.png: this is a picture.*quotation marks"):
        open_source([str(tmp_path / f"seq1/{name}") for name in RGB], kind="frames")
    with web({"a.jpg": b"1"}) as server, pytest.raises(UsageError, match="a folder is a clip"):
        open_source(f"{server.url}/a.jpg", kind="frames")


def test_a_clip_that_is_gone_is_not_found(tmp_path):
    write_files(tmp_path, ["clip/0.jpg"])
    (unit,), _ = found_in(open_source(str(tmp_path), kind="frames"))
    (tmp_path / "clip/0.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        frames_of(unit, {})
