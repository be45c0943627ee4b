"""Runs that are broken on purpose, as real processes: whatever dies, the same command converges."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from make_clip import textured_picture
from PIL import Image

from sam2ray.storage import LocalStore
from sam2ray.verify import verify_output

ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "support" / "faults"
SETTINGS = (
    "model.image_size=64",
    "masks.points_per_side=3",
    "masks.pred_iou_thresh=0",
    "masks.stability_score_thresh=0",
    "output.commit_every_units=4",
    "resources.batch_size=4",
    "limits.unit_timeout_s=20",
)
DEADLY, SLOW = b"this unit kills", b"this unit is slow"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _archive(folder: Path, count: int, word: bytes = b"") -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = textured_picture(64 + number % 7, 80, number)
        path = folder / f"{number:03}.png"
        Image.fromarray(np.asarray(pixels)).save(path)
        with path.open("ab") as file:
            file.write(word)
    return folder


def _spoil(archive: Path, name: str, word: bytes) -> None:
    with (archive / name).open("ab") as file:
        file.write(word)


def _start(archive: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sam2ray", "run", str(archive), str(output), "--model", "nano"]
    for setting in SETTINGS:
        command += ["--set", setting]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), str(ROOT)]),
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _end(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=600)
    return process.returncode, output + errors


def _finish(archive: Path, output: Path) -> tuple[int, str]:
    return _end(_start(archive, output))


@contextmanager
def _running(archive: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    process = _start(archive, output)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        _wait_until_ray_is_gone(process.pid)


def _wait_until_ray_is_gone(pid: int) -> None:
    """Workers notice the death of their driver by themselves, a moment later."""
    time.sleep(2)


def _committed(output: Path) -> int:
    folder = output / "masks"
    return len(list(folder.glob("*.parquet"))) if folder.exists() else 0


def _wait_for_commits(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while _committed(output) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _masks(output: Path) -> list[tuple[str, str]]:
    rows = pads.dataset(output / "masks").to_table(["source_uri", "rle_counts"]).to_pylist()
    return sorted((row["source_uri"], row["rle_counts"]) for row in rows)


def _units(output: Path) -> dict[str, dict]:
    rows = pads.dataset(output / "units").to_table().to_pylist()
    latest: dict[str, dict] = {}
    for row in sorted(rows, key=lambda row: row["attempt"]):
        latest[Path(row["source_uri"]).name] = row
    return latest


def _clean(output: Path) -> None:
    assert verify_output(LocalStore(output)).complaints == []


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures, each of which takes its time, so that there is something to break."""
    return _archive(tmp_path_factory.mktemp("breaking") / "archive", 40, SLOW)


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    output = tmp_path_factory.mktemp("undisturbed")
    code, text = _finish(archive, output)
    assert code == 0, text
    _clean(output)
    return _masks(output)


def test_sigterm_commits_what_is_in_hand_and_says_so(
    archive: Path, tmp_path: Path, undisturbed: list
):
    with _running(archive, tmp_path) as process:
        _wait_for_commits(tmp_path, 1, process)
        process.send_signal(signal.SIGTERM)
        code, text = _end(process)
    assert code == 1, text
    assert "SIGTERM was received" in text
    assert 0 < len({uri for uri, _ in _masks(tmp_path)}) < 40
    code, text = _finish(archive, tmp_path)
    assert code == 0, text
    _clean(tmp_path)
    assert _masks(tmp_path) == undisturbed


def test_a_unit_that_kills_its_process_is_poison_and_its_neighbours_are_done(tmp_path: Path):
    archive = _archive(tmp_path / "archive", 12)
    _spoil(archive, "005.png", DEADLY)
    output = tmp_path / "out"
    code, text = _finish(archive, output)
    assert code == 3, text
    units = _units(output)
    assert units["005.png"]["error_class"] == "poison"
    assert sum(unit["status"] == "ok" for unit in units.values()) == 11
    _clean(output)
