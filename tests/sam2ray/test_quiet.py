"""Ray's chatter is kept off the terminal, and shown where it explains a failure."""

from __future__ import annotations

import logging
import os
import warnings

import pytest

from sam2ray.quiet import BACKEND_LEVEL, quieten_ray_data, starting_quietly


def test_native_chatter_is_not_seen(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(BACKEND_LEVEL, raising=False)
    with starting_quietly():
        os.write(2, b"core_worker.cc: chatter\n")
        assert os.environ[BACKEND_LEVEL] == "fatal"
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_a_level_that_was_chosen_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(BACKEND_LEVEL, "info")
    with starting_quietly():
        assert os.environ[BACKEND_LEVEL] == "info"


def test_what_was_said_before_a_failure_is_shown(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(BACKEND_LEVEL, "info")

    def start() -> None:
        with starting_quietly():
            os.write(2, b"gcs_client.cc: cannot connect\n")
            raise RuntimeError("no cluster")

    with pytest.raises(RuntimeError, match="no cluster"):
        start()
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "gcs_client.cc: cannot connect\nours\n"


def test_what_ray_data_says_stays_in_its_file(monkeypatch: pytest.MonkeyPatch):
    terminal, file = logging.StreamHandler(), logging.Handler()
    monkeypatch.setattr(logging.getLogger("ray.data"), "handlers", [terminal, file])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        quieten_ray_data()
        warnings.warn(
            "The maximum number of concurrent tasks for 'Write' is set to 4", stacklevel=1
        )
        warnings.warn("anything else", stacklevel=1)
    assert [str(one.message) for one in heard] == ["anything else"]
    assert terminal.level == logging.CRITICAL
    assert file.level == logging.NOTSET
