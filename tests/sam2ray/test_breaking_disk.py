"""A disk that is full in the middle of a run: the run says so, and goes on when there is room."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking import committed, finish, masks, require_clean, write_pictures
from make_archive import tar_bytes
from make_video import write_video

_PADDING = 1 << 20  # of a clip: more than the small disk holds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _mount(folder: Path, *options: str) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(folder)],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for a few files of masks."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount(folder, "size=120k")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"only who may mount a file system can fill one: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_run_with_words_and_room_lets_it_go_on(small_disk, tmp_path, ray):
    archive = write_pictures(tmp_path / "archive", 40)
    whole, output = tmp_path / "whole", small_disk / "out"
    code, text = finish(archive, whole, ray=ray)
    assert code == 0, text

    code, text = finish(archive, output, ray=ray)
    assert code == 1, text
    assert "No space left on device" in text
    assert "Traceback" not in text
    assert 0 < committed(output) < 10
    assert not [path for path in output.rglob("*") if path.name.startswith(".writing-")]

    _mount(small_disk, "remount", "size=50m")
    code, text = finish(archive, output, ray=ray)
    assert code == 0, text
    require_clean(output)
    assert masks(output) == masks(whole)


@pytest.mark.long
def test_a_full_folder_for_temporary_files_blames_no_video(small_disk, tmp_path, ray):
    archive, whole, output = tmp_path / "archive", tmp_path / "whole", tmp_path / "out"
    archive.mkdir()
    video = write_video(tmp_path / "clip.mp4", 6).read_bytes()
    padded = video + struct.pack(">I4s", _PADDING, b"free") + bytes(_PADDING - 8)
    members = [(f"{number}.mp4", padded) for number in range(3)]  # of a shard: they are copied
    (archive / "clips.tar").write_bytes(tar_bytes(members))
    code, text = finish(archive, whole, ray=ray)
    assert code == 0, text

    small = {"TMPDIR": str(small_disk), "RAY_TMPDIR": "/tmp"}
    code, text = finish(archive, output, **small)
    assert code == 1, text
    assert "No space left on device" in text
    assert "Traceback" not in text
    assert committed(output) == 0

    _mount(small_disk, "remount", "size=50m")
    code, text = finish(archive, output, **small)
    assert code == 0, text
    require_clean(output)
    assert masks(output) == masks(whole)
