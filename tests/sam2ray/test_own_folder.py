"""Folders of one process, removed when it is done with them, or by the next if it was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sam2ray.own_folder import OwnFolder

_HOLDER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from sam2ray.own_folder import OwnFolder
folder = OwnFolder()
(folder.path / "video.mp4").write_bytes(bytes(1000))
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _holder(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    command = [sys.executable, "-c", _HOLDER, str(temporary)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_goes_when_it_is_closed(temporary):
    with OwnFolder() as folder:
        (folder / "a").write_text("1")
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_nothing_else(temporary):
    (dead, left), (alive, held) = _holder(temporary), _holder(temporary)
    (temporary / "sam2ray-of-somebody").mkdir()
    dead.kill()
    dead.wait()
    assert (left / "video.mp4").exists()
    with OwnFolder() as first, OwnFolder() as second:
        assert not left.exists()
        assert (held / "video.mp4").exists()
        assert first.exists()
        assert second.exists()
    alive.communicate("")
    assert [path.name for path in temporary.iterdir()] == ["sam2ray-of-somebody"]
