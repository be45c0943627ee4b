"""Clips that come slowly: what arrives piece by piece is not stuck, and what falls silent is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from make_video import write_video

from sam2ray.ledger import Verdict
from sam2ray.stages.hands import EXIT_CODES

_SCRIPT = """
import sys, time
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

pause, video = float(sys.argv[1]), open(sys.argv[2], "rb").read()


class Slow(MemoryFileSystem):
    protocol = "slow"
    store, pseudo_dirs = {}, [""]

    def cat_file(self, *args, **options):
        time.sleep(pause)
        return super().cat_file(*args, **options)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("slow://", "memory://"))


fsspec.register_implementation("slow", Slow)

from sam2ray.config import JobConfig
from sam2ray.ledger import Ledger, Process
from sam2ray.unit_rows import unit_table
from sam2ray.records import Unit
from sam2ray.stages import clip_files
from sam2ray.stages.clip_arrivals import Arrivals
from sam2ray.stages.clips import ClipOpener
from sam2ray.stages.hands import Hands
from sam2ray.stages.specs import clip_spec

clip_files.PIECE_BYTES = len(video) // 12
fsspec.filesystem("slow").pipe_file("slow://in/clip.mp4", video)
config = JobConfig.model_validate({"source": {"uri": "x"}, "output": {"uri": "y"}})
ledger = Ledger(lambda _: True, stop_window=200, max_failed_fraction=0.5, actors=1)
hands = Hands(ledger, Process("node", 1, "label"), unit_timeout_s=1.5)
(row,) = unit_table([Unit("slow://in/clip.mp4", "video", length=len(video))]).to_pylist()
start = time.monotonic()
with Arrivals(ClipOpener(clip_spec(config), "sampled"), hands, [row], 1) as arrivals:
    arrival = arrivals.next(lambda: False)
print(arrival.result.clip.frames.length(), "frames after", time.monotonic() - start)
arrival.result.close()
"""


def _run(tmp_path: Path, pause_s: float) -> subprocess.CompletedProcess[str]:
    video = write_video(tmp_path / "clip.mp4", 6)
    command = [sys.executable, "-c", textwrap.dedent(_SCRIPT), str(pause_s), str(video)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_video_that_comes_slowly_may_take_longer_than_a_unit_may_be_silent(tmp_path):
    ended = _run(tmp_path, 0.25)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.split()[-1]) > 1.5, ended.stdout
    assert ended.stdout.startswith("6 frames")


@pytest.mark.parametrize("pause_s", [20.0])
def test_a_store_that_falls_silent_ends_the_process(tmp_path, pause_s):
    ended = _run(tmp_path, pause_s)
    assert ended.returncode == EXIT_CODES[Verdict.TIMEOUT], ended.stderr
