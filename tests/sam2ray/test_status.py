"""What is told of an output from outside, and who is at work on it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from made_outputs import Ended, Output, made_report, make_output, picture
from rich.console import Console

from sam2ray import lease
from sam2ray.compact import MARK
from sam2ray.errors import UsageError
from sam2ray.report import write_report
from sam2ray.root import SUCCESS
from sam2ray.status import Status, read_status, status_table
from sam2ray.storage import LocalStore, Store


def _status(store: Store) -> Status:
    return read_status(store, watch_s=0.3)


def _shown(status: Status) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(status_table(status))
    return capture.get()


def test_a_complete_output_is_said_to_be(tmp_path: Path):
    output = make_output(tmp_path)
    write_report(output.store, made_report())
    status = _status(output.store)
    assert status.standing.ended == {"ok": 5, "corrupt": 1}
    assert (status.indexes, status.files, status.superseded) == (1, 2, 0)
    shown = _shown(status)
    for words in (
        "6 of 1 listing",
        "failed: corrupt",
        "yes",
        "nobody",
        "1; the last, run-1, ended 2023-11-14 22:15:00 UTC: 95 units in 1 min 40 s, exit 3, "
        "failed: corrupt 3, io 2",
    ):
        assert words in shown


def test_what_waits_and_what_was_superseded_is_counted(tmp_path: Path):
    output = make_output(tmp_path)
    output.list([picture(0, "2"), picture("new")], "2")
    status = _status(output.store)
    assert status.standing.units == 7
    assert status.superseded == 1
    assert "waiting" in _shown(status)
    assert "none has ended yet" in _shown(status)


def test_a_missing_mark_is_said(tmp_path: Path):
    output = make_output(tmp_path)
    output.store.delete(SUCCESS)
    assert "yes, but _SUCCESS is missing" in _shown(_status(output.store))


def _copies(output: Output) -> dict[str, bytes]:
    return {entry.name: output.store.read(entry.name) for entry in output.store.list("units")}


def test_a_copy_that_is_missing_is_made_again(tmp_path: Path):
    output = make_output(tmp_path)
    before, copies = _status(output.store), _copies(output)
    output.store.delete(next(iter(copies)))
    assert _status(output.store) == before
    assert _copies(output) == copies


def test_copies_that_are_torn_or_cannot_be_made_do_not_matter(tmp_path: Path):
    output = make_output(tmp_path)
    before, copies = _status(output.store), _copies(output)
    output.store.put(next(iter(copies)), b"torn")
    assert _status(output.store) == before
    shutil.rmtree(tmp_path / "units")
    (tmp_path / "units").write_text("no folder, so that nothing can be written into it")
    after = _status(output.store)
    assert after.standing == before.standing
    assert "copies are missing and cannot be made from here" in _shown(after)


def test_an_output_on_any_store_has_a_status(store: Store):
    output = Output(store)
    output.list([picture(1)], "1")
    output.commit([Ended(picture(1))])
    assert _status(store).standing.is_complete


def test_an_index_alone_is_an_output_in_which_all_waits(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    output.list([picture(1)], "1")
    (tmp_path / "_sam2ray/config.yaml").unlink()
    assert _status(output.store).standing.units == 1


def test_a_compaction_that_broke_off_is_said(tmp_path: Path):
    output = make_output(tmp_path)
    output.store.put(MARK, json.dumps({"ended": False}).encode())
    assert "broke off here" in _shown(_status(output.store))


def test_what_is_no_output_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="is no output of sam2ray"):
        _status(LocalStore(tmp_path))


# ---------------------------------------------------------------- who is at work


def _hold(output: Output, **changes: object) -> None:
    holder = {
        "run_id": "run-9",
        "host": "elsewhere",
        "boot_id": "b",
        "pid": 7,
        "started": 1.0,
        "job_id": None,
        "beat": 4,
        "ended": False,
    }
    output.store.put(f"{lease.FOLDER}/000003.json", json.dumps(holder | changes).encode())


def test_a_run_of_this_machine_is_at_work(tmp_path: Path):
    output = make_output(tmp_path)
    with closing(lease.acquire(output.store, lease.this_process("run-8"))):
        assert _status(output.store).at_work.startswith("run run-8 (process ")
    assert _status(output.store).at_work == "nobody"


def test_a_run_of_this_machine_that_is_gone_is_said_to_be(tmp_path: Path):
    output = make_output(tmp_path)
    here = lease.this_process("run-8")
    own = {"host": here.host, "boot_id": here.boot_id, "pid": here.pid, "pids": here.pids}
    _hold(output, **own, started=1.0)
    assert "is gone, the next run takes over at once" in _status(output.store).at_work


def test_a_silent_run_of_another_machine_is_said_to_be(tmp_path: Path):
    output = make_output(tmp_path)
    _hold(output)
    assert _status(output.store).at_work == (
        "run run-9 (process 7 on elsewhere) shows no sign of life, beat 4; the next run takes over"
    )


def test_a_run_of_another_machine_that_beats_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output = make_output(tmp_path)
    _hold(output)
    monkeypatch.setattr(
        "sam2ray.status.sleep", lambda _: _hold(output, beat=5, beat_at=1_700_000_000.0)
    )
    assert _status(output.store).at_work == (
        "run run-9 (process 7 on elsewhere), last beat 2023-11-14 22:13:20 UTC"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_lease_that_makes_no_sense_is_nobodys(tmp_path: Path, content: bytes):
    output = make_output(tmp_path)
    output.store.put(f"{lease.FOLDER}/000003.json", content)
    assert _status(output.store).at_work == "nobody"


def test_attempts_are_those_of_the_settings_that_are_kept(tmp_path: Path):
    output = Output(LocalStore(tmp_path), ["limits.max_attempts=5"])
    output.list([picture(0)], "1")
    output.commit([Ended(picture(0), attempt=3, error_class="io")], "run-1")
    assert _status(output.store).standing.again == 1
    (tmp_path / "_sam2ray" / "config.yaml").unlink()
    assert _status(output.store).standing.again == 0
