"""Whole runs as processes of their own, and what is needed to break them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pyarrow.dataset as pads
from make_clip import textured_picture
from PIL import Image
from shared_ray import FAULTS, ROOT, SharedRay

from sam2ray.storage import LocalStore
from sam2ray.verify import verify_output

DEADLY, SLOW, ENDLESS = b"this unit kills", b"this unit is slow", b"this unit never ends"

SETTINGS = (
    "model.image_size=64",
    "masks.points_per_side=3",
    "masks.pred_iou_thresh=0",
    "masks.stability_score_thresh=0",
    "output.commit_every_units=4",
    "resources.batch_size=2",  # blocks of eight: the first masks come soon
    "resources.actors=1",
    # One at a time: slow units then come one after the other, and there is something to break.
    "fetch.threads=1",
)


def write_pictures(folder: Path, count: int, word: bytes = b"") -> Path:
    """A folder of small pictures, each with a word behind its last byte."""
    folder.mkdir()
    for number in range(count):
        pixels = textured_picture(64 + number % 7, 80, number)
        path = folder / f"{number:03}.png"
        Image.fromarray(np.asarray(pixels)).save(path)
        spoil(path, word)
    return folder


def spoil(path: Path, word: bytes) -> None:
    """Put a word behind the last byte of a picture, where decoders do not look."""
    with path.open("ab") as file:
        file.write(word)


Source = Path | str | Sequence[Path]


def start(
    source: Source,
    output: Path | str,
    *settings: str,
    ray: SharedRay | None = None,
    **environment: str,
) -> subprocess.Popen[str]:
    """`sam2ray run` with the smallest model, on a Ray of its own or on one that is there."""
    command = [sys.executable, "-m", "sam2ray", "run", "--model", "nano"]
    if isinstance(source, Path | str):
        command += [str(source), str(output)]
    else:  # the command line has room for one
        uris = json.dumps([str(one) for one in source])
        settings = (f"source.uri={uris}", f"output.uri={output}", *settings)
    for setting in (*SETTINGS, *settings):
        command += ["--set", setting]
    own = {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), str(ROOT)]),
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
    }
    if ray is not None:
        own["RAY_ADDRESS"] = ray.address
    return subprocess.Popen(
        command,
        env=os.environ | own | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a run, and all that it said."""
    output, errors = process.communicate(timeout=600)
    return process.returncode, output + errors


def finish(
    source: Source,
    output: Path | str,
    *settings: str,
    ray: SharedRay | None = None,
    **environment: str,
) -> tuple[int, str]:
    """A run from its start to its end."""
    with running(source, output, *settings, ray=ray, **environment) as process:
        return end(process)


@contextmanager
def running(
    source: Source,
    output: Path | str,
    *settings: str,
    ray: SharedRay | None = None,
    **environment: str,
) -> Iterator[subprocess.Popen[str]]:
    """A run that does not outlive the context, nor does anything that it started."""
    process = start(source, output, *settings, ray=ray, **environment)
    try:
        yield process
    finally:
        started = descendants(process)
        if process.poll() is None:
            process.kill()
        process.communicate()
        wait_for_end(started)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """What a run has started."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for_end(processes: Sequence[psutil.Process]) -> None:
    """Ray's processes notice that their driver is gone; those that do not are told."""
    _, alive = psutil.wait_procs(processes, timeout=20)
    for process in alive:
        process.kill()


def worker(process: subprocess.Popen[str], name: str) -> psutil.Process:
    """A process that works for a run, by the name that Ray gives what it does at the moment.

    It is sought below the test's own process, which has started the run and any Ray that it joins.
    """
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline, f"no process does {name}"
        for child in psutil.Process().children(recursive=True):
            if name in _title(child):
                return child
        time.sleep(0.02)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def committed(output: Path) -> int:
    """How many files of masks there are."""
    folder = output / "masks"
    return len(list(folder.glob("*.parquet"))) if folder.exists() else 0


def wait_for_commits(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Return as soon as a run that is at work has left so many files of masks."""
    wait_until(lambda: committed(output) >= count, process)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return as soon as something has happened, while a run is at work."""
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def waves(output: Path) -> int:
    """How many runs have begun to work: each has a folder for the list of what it has to do."""
    return sum(path.is_dir() for path in output.glob("_sam2ray/runs/*"))


def masks(output: Path) -> list[tuple[str, str]]:
    """All masks of an output, so that outputs can be compared."""
    rows = pads.dataset(output / "masks").to_table(["source_uri", "rle_counts"]).to_pylist()
    return sorted((row["source_uri"], row["rle_counts"]) for row in rows)


def units(output: Path) -> dict[str, dict]:
    """The last attempt of each unit, by the name of its file."""
    rows = pads.dataset(output / "units").to_table().to_pylist()
    rows.sort(key=lambda row: row["attempt"])
    return {Path(row["source_uri"]).name: row for row in rows}


def require_clean(output: Path) -> None:
    """What `sam2ray verify` wants."""
    assert verify_output(LocalStore(output)).complaints == []
