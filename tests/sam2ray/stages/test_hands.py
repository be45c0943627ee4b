"""The watchdog, in processes that it may end."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from sam2ray.ledger import Verdict
from sam2ray.stages.hands import EXIT_CODES

_HEAD = """
import time
from sam2ray.ledger import Ledger, Process
from sam2ray.stages.hands import Hands

class Telling(Ledger):
    def last_words(self, process, verdict):
        print("last words:", verdict.value, flush=True)

    def sign_of_life(self):
        print("alive", flush=True)

ledger = Telling(lambda _: True, stop_window=200, max_failed_fraction=0.5, actors=1)
hands = Hands(ledger, Process("node", 1, "label"), unit_timeout_s=1.0)
"""


def _run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _HEAD + textwrap.dedent(body)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_process_whose_unit_is_stuck_says_so_and_ends():
    ended = _run("""
        with hands.working_on("a"):
            time.sleep(100)
    """)
    assert ended.returncode == EXIT_CODES[Verdict.TIMEOUT]
    assert "last words: timeout" in ended.stdout
    assert "limits.unit_timeout_s=1" in ended.stderr


def test_a_unit_that_moves_on_may_take_as_long_as_it_likes():
    ended = _run("""
        with hands.working_on("long video"):
            for _ in range(60):
                time.sleep(0.05)
                hands.moved_on("long video")
        print("done")
    """)
    assert ended.returncode == 0, ended.stderr
    assert "done" in ended.stdout
    assert "last words" not in ended.stdout
    assert "alive" in ended.stdout, "the run is told that something moves"


def test_a_batch_has_as_many_times_as_long_as_it_has_units():
    ended = _run("""
        with hands.working_on("a", "b", "c", steps=3):
            time.sleep(2)
        print("done", flush=True)
        with hands.working_on("a", "b", "c", steps=3):
            time.sleep(100)
    """)
    assert "done" in ended.stdout
    assert "alive" in ended.stdout, "who is slow is not dead: the run is told so"
    assert ended.returncode == EXIT_CODES[Verdict.TIMEOUT]


@pytest.mark.parametrize("stuck", ["a", "b"])
def test_of_two_units_the_stuck_one_counts(stuck):
    ended = _run(f"""
        with hands.working_on("a", "b"):
            while True:
                time.sleep(0.05)
                hands.moved_on("a" if {stuck!r} == "b" else "b")
    """)
    assert ended.returncode == EXIT_CODES[Verdict.TIMEOUT]
    assert f"unit {stuck} has not moved" in ended.stderr


def test_a_process_whose_device_is_broken_says_so_and_ends():
    ended = _run("""
        with hands.working_on("a"):
            hands.give_up_device(RuntimeError("CUDA error: device-side assert triggered"))
    """)
    assert ended.returncode == EXIT_CODES[Verdict.CUDA]
    assert "last words: cuda" in ended.stdout
    assert "device-side assert" in ended.stderr
