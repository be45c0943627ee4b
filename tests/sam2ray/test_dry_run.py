"""What a run would do is said before it does it, and nothing is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_outputs import CPU, GPU, made_report, make_output
from make_archive import write_files

from sam2_core.shipped import SHIPPED
from sam2ray.config import JobConfig
from sam2ray.config_file import load_config
from sam2ray.dry_run import (
    Amount,
    Prospect,
    _rows,
    expected,
    in_bytes,
    prospect,
)
from sam2ray.errors import RootRefused
from sam2ray.kept_config import refuse_another_config
from sam2ray.ledger import Tally
from sam2ray.listing import list_source
from sam2ray.planner import Cluster
from sam2ray.records import ErrorClass
from sam2ray.room import Machine
from sam2ray.root import Selection
from sam2ray.storage import LocalStore


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_files(tmp_path / "archive", [f"{n}.jpg" for n in range(6)])


def _config(archive: Path, output: Path, *assignments: str) -> JobConfig:
    return load_config(None, assignments, source=str(archive), output=str(output), model="nano")


def _prospect(archive: Path, output: Path, **chosen: object) -> Prospect:
    store = LocalStore(output)
    return prospect(_config(archive, output), store, Selection(3, **chosen))


def test_all_of_a_new_archive_is_to_be_done_and_nothing_is_written(archive: Path, tmp_path: Path):
    (archive / "notes.txt").write_text("x")
    (archive / "clip.mp4").write_bytes(b"x" * 100)
    seen = _prospect(archive, tmp_path / "out")
    assert seen.found.kinds == seen.new.kinds == seen.due.kinds == {"image": 6, "video": 1}
    assert seen.found.bytes == sum(
        path.stat().st_size for path in archive.iterdir() if path.suffix != ".txt"
    )
    assert seen.ignored == {".txt": 1}
    assert not (tmp_path / "out").exists()


def test_what_is_known_is_not_new_and_what_waits_is_due(archive: Path, tmp_path: Path):
    output = tmp_path / "out"
    list_source(_config(archive, output), LocalStore(output), "1")
    write_files(archive, ["new.jpg"])
    seen = _prospect(archive, output)
    assert (seen.found.units, seen.new.units, seen.due.units) == (7, 1, 7)


def test_what_failed_is_due_only_if_it_is_asked_for(archive: Path, tmp_path: Path):
    make_output(tmp_path / "out")
    assert _prospect(archive, tmp_path / "out").due.units == 6
    chosen = {"retried": frozenset({ErrorClass.CORRUPT})}
    assert _prospect(archive, tmp_path / "out", **chosen).due.units == 7


@pytest.mark.parametrize(("limit", "due"), [(1, 1), (4, 4), (100, 6)])
def test_a_limit_limits(archive: Path, tmp_path: Path, limit: int, due: int):
    assert _prospect(archive, tmp_path / "out", limit=limit).due.units == due


def test_another_config_is_refused_now(archive: Path, tmp_path: Path):
    output = make_output(tmp_path / "out")
    same = _config(archive, tmp_path / "out", "resources.batch_size=2")
    refuse_another_config(output.store, same, SHIPPED["nano"])
    other = _config(archive, tmp_path / "out", "decode.mode=exact")
    with pytest.raises(RootRefused, match=r"what differs: decode\.mode, the weights\."):
        refuse_another_config(output.store, other, "ab" * 32)
    refuse_another_config(LocalStore(tmp_path / "new"), other, SHIPPED["nano"])


# ---------------------------------------------------------------- in words


def test_a_plan_is_said_in_words(archive: Path, tmp_path: Path):
    config = _config(archive, tmp_path / "out")
    amount = Amount(bytes=3_200_000_000)
    amount.kinds.update(image=1000)
    there = Cluster((Machine(8, 1), Machine(8, 1)))
    rows = dict(_rows(config, GPU, there, Prospect(amount, amount, amount), []))
    assert rows == {
        "found": "1,000 (image 1,000, 3.2 GB)",
        "new": "1,000 (image 1,000, 3.2 GB)",
        "to be done": "1,000 (image 1,000, 3.2 GB)",
        "model": "nano, fp32, mode auto",
        "device": "cuda, 1 GPU an actor",
        "actors": "2, each 1 CPU and 1 thread",
        "room for actors": "1 on each of 2 nodes of 8 CPUs, 1 GPU",
        "decoding": "tasks of 1 CPU, decode.mode=rounded",
        "work": (
            "blocks of at most 32 pictures or 8 clips, in 1 wave or more; "
            "at least 4 files of results; the manifest has 1 part"
        ),
        "expected": ("not measured: no run of this output has done anything yet on such a device"),
    }


def test_what_it_costs_follows_the_last_run_on_such_a_device():
    tally = Tally({"ok": 100}, 0, 100, {}, elapsed_s=10.0, stop=None)
    slow = made_report(1, plan=GPU, tally=replace(tally, elapsed_s=1000.0))
    fast = made_report(2, plan=replace(GPU, actors=4), tally=tally)
    other = made_report(3, plan=CPU)
    assert expected(180_000, replace(GPU, actors=8), [slow, fast, other]) == (
        "2 h 30 min, 20.0 GPU-hours at 20.00 units/s, which is what run run-2 did with 4 actors"
    )
    assert "GPU-hours" not in expected(100, CPU, [other])


@pytest.mark.parametrize(
    ("units", "reports", "words"),
    [
        (0, [], "nothing to do"),
        (5, [], "not measured"),
        (5, [made_report(plan=None)], "not measured"),
        (5, [made_report(tally=Tally({}, 0, 0, {}, 5.0, None))], "not measured"),
    ],
)
def test_what_was_not_measured_is_not_guessed(units: int, reports: list, words: str):
    assert expected(units, CPU, reports).startswith(words)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3.2e9, "3.2 GB"), (5e15, "5,000.0 TB")],
)
def test_bytes_are_said_in_words(count: float, words: str):
    assert in_bytes(count) == words


def test_sizes_that_are_not_known_are_said_to_be():
    amount = Amount()
    amount.add("video", None)
    amount.add("image", 2000)
    assert str(amount) == "2 (image 1, video 1, 2.0 kB and 1 of unknown size)"
