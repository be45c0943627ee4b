"""Whole runs whose source and output lie on S3, as real processes, and what they left there."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from make_clip import textured_picture
from PIL import Image

from sam2ray.outcomes import result_names
from sam2ray.sinks.result_files import read_outcomes
from sam2ray.storage import Options, Store, open_store
from sam2ray.verify import verify_output

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "model.image_size=64",
    "masks.points_per_side=3",
    "masks.pred_iou_thresh=0",
    "masks.stability_score_thresh=0",
    "output.commit_every_units=4",
    "resources.batch_size=4",
    "resources.actors=1",
    "limits.unit_timeout_s=60",
    "fetch.attempts=12",
    "fetch.backoff_s=0.02",
)

Masks = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has ended."""

    code: int
    text: str

    @property
    def last_words(self) -> str:
        """The last line, which says why it ended."""
        return self.text.rstrip().rpartition("\n")[2]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place on a server that tells the truth, for what a test itself reads and writes."""

    url: str
    prefix: str  # s3://bucket/folder

    @property
    def options(self) -> Options:
        """How to reach it."""
        return {"s3": {"endpoint_url": self.url}}

    def store(self, name: str) -> Store:
        """A folder of it."""
        return open_store(f"{self.prefix}/{name}", self.options)

    def put_pictures(self, name: str, count: int) -> str:
        """Write small pictures, and say where."""
        store = self.store(name)
        for number in range(count):
            pixels = textured_picture(48 + number % 7, 60, number)
            file = io.BytesIO()
            Image.fromarray(np.asarray(pixels)).save(file, "png")
            store.put(f"{number:03}.png", file.getvalue())
        return store.uri

    def masks(self, output: str) -> Masks:
        """All masks of an output."""
        store = self.store(output)
        rows = []
        for name in result_names(store):
            with store.open(name) as file:
                rows += pq.read_table(file, columns=["source_uri", "rle_counts"]).to_pylist()
        return sorted((row["source_uri"], row["rle_counts"]) for row in rows)

    def outcomes(self, output: str) -> list[dict]:
        """The latest outcome of every unit."""
        store = self.store(output)
        tables = [read_outcomes(store, name) for name in result_names(store)]
        rows = sorted((r for t in tables for r in t.to_pylist()), key=lambda row: row["attempt"])
        return list({row["unit_id"]: row for row in rows}.values())

    def complaints(self, output: str) -> Sequence[str]:
        """What verify finds."""
        return verify_output(self.store(output)).complaints

    def everything_under(self, output: str) -> bytes:
        """All bytes of all objects, to be searched."""
        store = self.store(output)
        return b"".join(store.read(entry.name) for entry in store.list())


def _environment() -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    return os.environ | own


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs of `sam2ray` on one cluster."""

    cluster: str

    def start(self, source: str, output: str, url: str, *settings: str) -> subprocess.Popen[str]:
        """Start `sam2ray run` against a server."""
        command = [sys.executable, "-m", "sam2ray", "run", source, output, "--model", "nano"]
        for setting in (*SETTINGS, f"storage.s3.endpoint_url={url}", *settings):
            command += ["--set", setting]
        return subprocess.Popen(
            command,
            env=_environment() | {"RAY_ADDRESS": self.cluster},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, output: str, url: str, *settings: str) -> Ended:
        """Run `sam2ray run` against a server to its end."""
        return end_of(self.start(source, output, url, *settings))


def end_of(process: subprocess.Popen[str], timeout_s: float = 300) -> Ended:
    """Wait for a process, and end it if that takes too long."""
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"it did not end in {timeout_s} s:\n{output}{errors}") from None
    return Ended(process.returncode, output + errors)


def kill_when(happened: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    """End a driver as `kill -9` does, as soon as something has happened while it is at work."""
    deadline = time.monotonic() + 200
    while not happened():
        assert driver.poll() is None, end_of(driver).text
        assert time.monotonic() < deadline, "it did not come to this"
        time.sleep(0.01)
    driver.kill()
    assert end_of(driver).code == -signal.SIGKILL
