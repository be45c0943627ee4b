"""Commands that learn, as processes of their own that tests may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa

from sam2ray.learning.figures import figure_files, read_figures
from sam2ray.storage import LocalStore, Store

ROOT = Path(__file__).parents[2]


def start(*words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """`sam2ray` with these words."""
    own = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "sam2ray", *words],
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    """All that it said, once it has ended as it should."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == code, output + errors
    return output + errors


def figures(place: Path | Store) -> pa.Table:
    """What a training's steps came to, but for how long they took."""
    store = LocalStore(place) if isinstance(place, Path) else place
    return pa.concat_tables(read_figures(store)).drop_columns(["seconds"])


def wait_for(place: Path | Store, files: int) -> None:
    """Until so many checkpoints have been left behind."""
    store = LocalStore(place) if isinstance(place, Path) else place
    deadline = time.monotonic() + 500
    while len(figure_files(store)) < files:
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.05)


def kill_tree(process: subprocess.Popen[str], name: str | None = None) -> None:
    """SIGKILL a driver, or of its processes those of this name."""
    children = psutil.Process(process.pid).children(recursive=True)
    if name is None:
        process.kill()
        process.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            if name is None or name in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)


def kill_one(process: subprocess.Popen[str], name: str) -> None:
    """SIGKILL one of a driver's processes of this name."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if name in " ".join(child.cmdline()):
                child.send_signal(signal.SIGKILL)
                return
    raise AssertionError(f"there is no process {name}")
