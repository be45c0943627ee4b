"""Clips that come slowly: what arrives piece by piece is not stuck, and what falls silent is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import label_bench
import pytest
from make_video import write_video

from sam2ray.ledger import Verdict
from sam2ray.stages.hands import EXIT_CODES

_SLOW_STORE = """
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

from sam2ray.records import Unit
from sam2ray.stages import clip_files

clip_files.PIECE_BYTES = len(video) // 12
fsspec.filesystem("slow").pipe_file("slow://in/clip.mp4", video)
slow = Unit("slow://in/clip.mp4", "video", length=len(video))
"""
_BY_ITSELF = """
from sam2ray.config import JobConfig
from sam2ray.ledger import Ledger, Process
from sam2ray.unit_rows import unit_table
from sam2ray.stages.clip_arrivals import Arrivals
from sam2ray.stages.clips import ClipOpener
from sam2ray.stages.hands import Hands
from sam2ray.stages.specs import clip_spec

config = JobConfig.model_validate({"source": {"uri": "x"}, "output": {"uri": "y"}})
ledger = Ledger(lambda _: True, stop_window=200, max_failed_fraction=0.5, actors=1)
hands = Hands(ledger, Process("node", 1, "label"), unit_timeout_s=1.5)
(row,) = unit_table([slow]).to_pylist()
start = time.monotonic()
with Arrivals(ClipOpener(clip_spec(config), "sampled"), hands, [row], 1) as arrivals:
    arrival = arrivals.next(lambda: False)
print(arrival.result.clip.frames.length(), "frames after", time.monotonic() - start)
arrival.result.close()
"""
_BESIDE_ANOTHER = """
from pathlib import Path

sys.path.insert(0, sys.argv[3])
from label_bench import Bench, units_of
from small_models import lively_model

settings = {
    "mode": "embed",
    "model": {"name": "nano", "image_size": 64},
    "resources": {"batch_size": 1, "video_lanes": 2},
    "fetch": {"attempts": 1},
}
here = Path(sys.argv[2])
bench = Bench(lively_model(64), here.parent / "out", settings, timeout_s=3.0)
print("slow is", slow.unit_id, flush=True)
start = time.monotonic()
rows = bench.label([*units_of(here), slow])
print([row["masks"] for row in rows], "masks after", time.monotonic() - start)
"""
_SUPPORT = Path(label_bench.__file__).parent


def _run(tmp_path: Path, script: str, pause_s: float) -> subprocess.CompletedProcess[str]:
    video = write_video(tmp_path / "clip.mp4", 6)
    command = [sys.executable, "-c", _SLOW_STORE + script, str(pause_s), str(video), str(_SUPPORT)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_video_that_comes_slowly_may_take_longer_than_a_unit_may_be_silent(tmp_path):
    ended = _run(tmp_path, _BY_ITSELF, 0.25)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout.split()[-1]) > 1.5, ended.stdout
    assert ended.stdout.startswith("6 frames")


@pytest.mark.parametrize("pause_s", [20.0])
def test_a_store_that_falls_silent_ends_the_process(tmp_path, pause_s):
    ended = _run(tmp_path, _BY_ITSELF, pause_s)
    assert ended.returncode == EXIT_CODES[Verdict.TIMEOUT], ended.stderr


def test_a_clip_that_waits_for_another_to_come_is_not_stuck(tmp_path):
    ended = _run(tmp_path, _BESIDE_ANOTHER, 0.5)
    assert ended.returncode == 0, ended.stderr
    assert "[6, 6] masks" in ended.stdout
    assert float(ended.stdout.split()[-1]) > 3.0, "longer than a unit may be silent"


def test_a_clip_that_never_comes_ends_the_wait_of_the_others(tmp_path):
    ended = _run(tmp_path, _BESIDE_ANOTHER, 60.0)
    assert ended.returncode == EXIT_CODES[Verdict.TIMEOUT], ended.stderr
    name = ended.stdout.split()[-1]
    assert f"unit {name} has not moved" in ended.stderr, "it is to blame, and not who waited"
