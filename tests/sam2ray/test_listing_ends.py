"""What ends a listing is said in words, whether tasks are at work or this process alone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from make_archive import write_files

from sam2ray import shares
from sam2ray.cli_words import CRASHED, exit_code_of
from sam2ray.config_file import load_config
from sam2ray.errors import RunCrashed
from sam2ray.interrupts import Interrupted, raising_on_signals
from sam2ray.listing import list_source
from sam2ray.listing_progress import ListingState
from sam2ray.manifest import manifest_parts
from sam2ray.side_by_side import side_by_side
from sam2ray.storage import LocalStore

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_files(tmp_path / "in", [f"{n}.jpg" for n in range(3)])


def _list(archive: Path, store: LocalStore, watch) -> None:
    config = load_config(None, (), source=str(archive), output=store.uri)
    list_source(config, store, "1", watch=watch)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_listing_before_anything_is_added(
    archive: Path, tmp_path: Path, number: signal.Signals
):
    store, before = LocalStore(tmp_path / "out"), signal.getsignal(number)

    def watch(state: ListingState) -> None:
        if state.doing == "listed":
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted, match=f"{number.name} was received"), raising_on_signals():
        _list(archive, store, watch)
    assert not manifest_parts(store)
    assert signal.getsignal(number) is before
    _list(archive, store, lambda _: None)
    assert len(manifest_parts(store)) == 1


# What tasks work on is made in the tests: other processes cannot import these modules.


def _stop_after_the_first() -> None:
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    with raising_on_signals():
        for answer in side_by_side(nap, [0.0, 3.0]):
            assert answer.result == 0.0
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("two_cpus")
def test_a_signal_ends_the_waiting_for_tasks():
    with pytest.raises(Interrupted, match="SIGTERM was received"):
        _stop_after_the_first()


@pytest.mark.usefixtures("two_cpus")
def test_what_a_task_may_not_read_is_the_error_that_it_is():
    def fail(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    with pytest.raises(PermissionError) as refused:
        list(side_by_side(fail, ["/archive/locked"]))
    assert refused.value.filename == "/archive/locked"
    assert exit_code_of(refused.value) == CRASHED


@pytest.mark.usefixtures("two_cpus")
def test_a_bug_in_a_task_ends_with_one_message_and_its_traceback_in_a_file(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_arguments: object) -> None:
        raise RuntimeError("of our own")

    monkeypatch.setattr(shares, "_SHARE_S", 0.0)
    monkeypatch.setattr("sam2ray.readers.files._FILES_A_SLICE", 1)
    monkeypatch.setattr("sam2ray.listing._units", broken)
    store = LocalStore(tmp_path / "out")
    with pytest.raises(RunCrashed, match="RuntimeError: of our own") as crashed:
        _list(archive, store, lambda _: None)
    assert "Traceback" not in str(crashed.value)
    assert b"of our own" in store.read("_sam2ray/runs/1.crash.txt")
