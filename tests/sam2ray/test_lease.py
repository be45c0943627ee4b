"""Who may write to an output, and how a run finds out that it may no longer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sam2ray import lease
from sam2ray.errors import RootRefused
from sam2ray.storage import LocalStore

FOR_EVER = 3600.0  # whoever waits for the end of it is ended by the timeout of tests

HELD_BY_ANOTHER_PROCESS = """
import sys, time
from pathlib import Path
from sam2ray import lease
from sam2ray.storage import LocalStore
lease.BEAT_S = 0.1
held = lease.acquire(LocalStore(Path(sys.argv[1])), lease.this_process("theirs"))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    return LocalStore(tmp_path)


def _elsewhere(run_id: str = "theirs", job_id: str | None = None) -> lease.Holder:
    """A holder of whom only signs of life can be seen."""
    return replace(lease.this_process(run_id, job_id), host="elsewhere")


def test_one_run_after_the_other_need_not_wait(store: LocalStore):
    for number in (1, 2, 3):
        held = lease.acquire(store, lease.this_process(f"run {number}"), watch_s=FOR_EVER)
        assert held.number == number
        held.close()


def test_a_second_run_is_refused_while_the_first_shows_signs_of_life(store: LocalStore):
    held = lease.acquire(store, _elsewhere("theirs"))
    with pytest.raises(RootRefused, match=r"run theirs is writing to it \(process \d+ on else"):
        lease.acquire(store, _elsewhere("ours"), watch_s=5)
    held.close()


def test_a_living_process_of_this_machine_is_refused_too(store: LocalStore):
    held = lease.acquire(store, lease.this_process("theirs"))
    with pytest.raises(RootRefused, match="run theirs"):
        lease.acquire(store, lease.this_process("ours"), watch_s=5)
    held.close()


def test_a_silent_holder_is_taken_over_after_a_while(store: LocalStore):
    store.create(lease._name(1), lease._encoded(_elsewhere()))
    start = time.monotonic()
    held = lease.acquire(store, _elsewhere("ours"), watch_s=0.5)
    assert held.number == 2
    assert time.monotonic() - start >= 0.5
    held.close()


def test_a_killed_holder_on_this_machine_is_taken_over_at_once(store: LocalStore):
    other = subprocess.Popen(
        [sys.executable, "-c", HELD_BY_ANOTHER_PROCESS, str(store.folder)], stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(RootRefused):
        lease.acquire(store, lease.this_process("ours"), watch_s=5)
    os.kill(other.pid, signal.SIGKILL)  # and it stays a zombie: nobody has waited for it yet
    held = lease.acquire(store, lease.this_process("ours"), watch_s=FOR_EVER)
    assert held.number == 2
    held.close()
    other.wait()
    other.stdout.close()


def test_a_process_is_known_by_when_it_began_whatever_it_is_called(tmp_path):
    odd = tmp_path / "a) b (c"
    odd.symlink_to(shutil.which("sleep") or "/bin/sleep")
    with subprocess.Popen([odd, "60"]) as other:
        here = psutil.Process()
        began = [lease._started(process) for process in (here, psutil.Process(other.pid))]
        other.kill()
    assert began[0] == lease.this_process("ours").started
    assert began[0] < began[1]


def test_a_holder_whose_job_has_ended_is_taken_over_at_once(store: LocalStore):
    theirs = _elsewhere("theirs", "01000000")
    store.create(lease._name(1), lease._encoded(theirs))
    ended = {"01000000"}
    held = lease.acquire(
        store, _elsewhere("ours"), job_has_ended=lambda it: it.job_id in ended, watch_s=FOR_EVER
    )
    assert held.number == 2
    held.close()


def test_a_process_that_is_there_holds_on_whatever_is_said_of_its_job(store: LocalStore):
    held = lease.acquire(store, lease.this_process("theirs", "01000000"))
    with pytest.raises(RootRefused, match="run theirs"):
        lease.acquire(store, _elsewhere("ours"), job_has_ended=lambda _: True, watch_s=5)
    held.close()


def test_a_job_api_that_answers_slowly_does_not_shorten_the_watch(store: LocalStore):
    held = lease.acquire(store, _elsewhere("theirs", "01000000"))

    def answer_slowly(_: lease.Holder) -> bool:
        time.sleep(0.4)
        return False

    with pytest.raises(RootRefused, match="run theirs"):
        lease.acquire(store, _elsewhere("ours"), job_has_ended=answer_slowly, watch_s=0.3)
    held.close()


def test_whoever_was_taken_over_finds_out_before_it_commits(store: LocalStore):
    first = lease.acquire(store, lease.this_process("first"))
    lease.check_still_held(store, first.number)
    store.create(lease._name(2), lease._encoded(_elsewhere("second")))
    with pytest.raises(RootRefused, match="has taken this output over"):
        lease.check_still_held(store, first.number)
    first.close()
    assert lease.read_holder(store, 2) == _elsewhere("second")


def test_of_many_newcomers_one_gets_it(store: LocalStore):
    won, lost = [], []

    def try_it(number: int) -> None:
        try:
            won.append(lease.acquire(store, _elsewhere(f"run {number}"), watch_s=1))
        except RootRefused as error:
            lost.append(error)

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 11
    won[0].close()


def test_a_lease_that_makes_no_sense_does_not_lock_anybody_out(store: LocalStore):
    store.create(lease._name(1), b"not JSON")
    held = lease.acquire(store, lease.this_process("ours"))
    assert held.number == 2
    held.close()


def test_a_holder_in_another_container_is_not_dead_because_its_number_is_nobodys_here():
    holder = replace(lease.this_process("run-1"), pid=2**22 - 1, started=1.0)
    assert lease.is_dead(holder, lambda _: False)
    assert not lease.is_dead(replace(holder, pids="pid:[1]"), lambda _: False)
