"""Ends of runs that Ray tells of in many lines, and sam2ray in one message."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from sam2_core import CheckpointMismatch
from sam2ray.crash import explain_crash, last_words
from sam2ray.errors import RootRefused, RunCrashed
from sam2ray.storage import LocalStore

TRACEBACK = """\x1b[36mray::Write()\x1b[39m (pid=1, ip=192.0.2.2)
  File "sam2ray/storage.py", line 1, in put
    file.write(b"word: of code")
OSError: [Errno 28] No space left on device

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "sam2ray/sinks/commit.py", line 1, in commit
    put()
sam2_core.errors.SomeError: two
lines of words"""


def test_the_last_words_are_those_of_the_exception_without_its_module():
    assert last_words(TRACEBACK) == "SomeError: two lines of words"
    assert last_words("only this\n") == "only this"


def test_a_crash_names_the_reason_and_the_file_with_its_traceback(tmp_path: Path):
    secret = TRACEBACK + " of s3://bucket/key?Signature=secret"
    error = explain_crash(RayError(secret), LocalStore(tmp_path), "run")
    assert isinstance(error, RunCrashed)
    assert "SomeError: two lines of words" in str(error)
    assert "the same command goes on" in str(error)
    (kept,) = tmp_path.rglob("*.crash.txt")
    assert str(kept) in str(error)
    text = kept.read_text()
    assert "No space left on device" in text
    assert "\x1b" not in text
    assert "secret" not in text + str(error)


@pytest.mark.parametrize(
    "ours", [RootRefused("another run took it"), CheckpointMismatch("is this a 2.0 file?")]
)
def test_an_error_of_our_own_says_what_to_do_already(tmp_path: Path, ours: Exception):
    error = RayTaskError("write", "a traceback", ours)
    assert explain_crash(error, LocalStore(tmp_path), "run") is ours
    assert not list(tmp_path.iterdir())


def test_a_machine_without_memory_is_said_with_what_takes_less(tmp_path: Path):
    killed = OutOfMemoryError("Task was killed due to the node running low on memory.")
    error = explain_crash(killed, LocalStore(tmp_path), "run")
    assert isinstance(error, RunCrashed)
    for words in ("ran out of memory", "resources.actors", "same command", "running low on memory"):
        assert words in str(error)
