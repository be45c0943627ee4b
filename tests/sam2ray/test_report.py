"""What a run did: kept, read again, judged and shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_outputs import CPU, GPU, made_report
from rich.table import Table

from sam2ray.cli_words import console
from sam2ray.errors import StorageError
from sam2ray.ledger import Stop, Tally
from sam2ray.manifest import Listed
from sam2ray.planner import Plan
from sam2ray.report import (
    as_json,
    duration,
    read_reports,
    report_of,
    report_rows,
    report_table,
    reports_table,
    write_report,
)
from sam2ray.storage import LocalStore
from sam2ray.waiting import what_it_waited_for


def _shown(table: Table) -> str:
    screen = console()
    with screen.capture() as capture:
        screen.print(table)
    return capture.get()


def test_a_report_is_kept_and_read_again(tmp_path: Path):
    store = LocalStore(tmp_path)
    reports = [
        made_report(2),
        made_report(1, plan=None, tally=replace(made_report().tally, stop=Stop("x", 4))),
    ]
    for report in reports:
        write_report(store, report)
    store.put("_sam2ray/runs/run-1/todo-00000.parquet", b"not a report")
    kept = [
        replace(r, listed=replace(r.listed, runs=()), merged=replace(r.merged, parts=()))
        for r in reports
    ]
    assert read_reports(store) == [kept[1], kept[0]]


def test_what_a_later_release_adds_is_passed_over():
    content = json.loads(json.dumps(as_json(made_report())))
    content["weather"] = content["tally"]["weather"] = "fine"
    assert report_of(content).tally == made_report().tally


def test_a_report_of_an_earlier_release_is_read():
    content = json.loads(json.dumps(as_json(made_report())))
    for name in ("plan", "figures"):
        del content[name]
    del content["listed"]["note"]
    assert report_of(content).waited_for is None


def test_the_kept_file_has_the_figures_that_the_table_shows():
    figures = as_json(made_report())["figures"]
    assert figures == {
        "seconds": 100.0,
        "units_per_s": pytest.approx(95 / 50),
        "frames_per_s": pytest.approx(90 / 50),
        "model_busy": pytest.approx(0.6),
        "waited_for": "decode",
    }


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"run_id": "x"}'])
def test_a_file_that_is_no_report_is_named(tmp_path: Path, content: bytes):
    store = LocalStore(tmp_path)
    store.put("_sam2ray/runs/x.json", content)
    with pytest.raises(StorageError, match=r"runs/x\.json: is no report of a run"):
        read_reports(store)


def test_the_table_says_what_was_done_what_failed_and_how_fast():
    rows = dict(report_rows(made_report()))
    assert rows == {
        "units": "110",
        "done": "95",
        "failed: io": "4",
        "failed: corrupt": "3",
        "waiting": "8",
        "ignored files": ".txt 2, hidden 1",
        "this run": "95 units, 4,500 masks in 1 min 40 s, 100 new in the manifest",
        "rate": "1.90 images/s",
        "seconds fetching": "5.0",
        "seconds decoding": "20.0",
        "seconds the model": "60.0",
        "seconds packing": "1.0",
        "waited for": "model busy 60 %, decode-bound: add CPUs or decode.mode=scaled",
    }


def test_clips_are_counted_in_frames_too():
    tally = replace(made_report().tally, frames=9000)
    assert dict(report_rows(made_report(tally=tally)))["rate"] == "1.90 units/s, 180.0 frames/s"


def test_a_run_that_did_nothing_has_no_rate_and_waited_for_nothing():
    tally = Tally({}, 0, 0, {}, 0.0, None)
    rows = dict(report_rows(made_report(tally=tally)))
    assert rows["this run"].startswith("0 units, 0 masks in")
    assert not {"rate", "waited for"} & set(rows)


def test_a_run_that_was_stopped_says_why():
    tally = replace(made_report().tally, stop=Stop("SIGTERM was received", 1))
    assert dict(report_rows(made_report(tally=tally)))["stopped"] == "SIGTERM was received"


def test_what_comes_from_outside_cannot_steer_a_terminal():
    report = made_report(listed=Listed(1, {"[/red]\x1b[2J": 1}))
    shown = _shown(report_table(report, "/out [bold]\x07"))
    assert "[/red]\\x1b[2J 1" in shown
    assert "/out [bold]\\x07" in shown


def test_tables_are_shown_as_text():
    assert "failed: corrupt" in _shown(report_table(made_report(), "/out [bold]"))
    lines = _shown(reports_table([made_report(1), made_report(2)], "/out")).splitlines()
    assert any("run-2" in line and "corrupt 3, io 2" in line for line in lines)
    assert any("2023-11-14 22:13:20 UTC" in line and "1 min 40 s" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (60, "1 min"),
        (245, "4 min 5 s"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (176_400, "2 d 1 h"),
    ],
)
def test_spans_of_time_are_said_in_words(seconds: float, words: str):
    assert duration(seconds) == words


# ---------------------------------------------------------------- what a job waited for


@pytest.mark.parametrize(
    ("plan", "seconds", "words"),
    [
        (GPU, {"model": 190, "decode": 150}, "model busy 95 %, model-bound: add GPUs"),
        (CPU, {"model": 190, "pack": 90}, "model busy 95 %, model-bound: add CPUs, or use a GPU"),
        (
            GPU,
            {"model": 126, "pack": 60, "decode": 90, "fetch": 20},
            "model busy 63 %, decode-bound: add CPUs or decode.mode=scaled",
        ),
        (
            GPU,
            {"model": 20, "decode": 10, "fetch": 400},
            "model busy 10 %, fetch-bound: raise fetch.threads, or run nearer to the store",
        ),
        (
            GPU,
            {"model": 20, "decode": 3, "fetch": 2},
            "model busy 10 %; else it was starting, listing and committing",
        ),
    ],
)
def test_the_stage_that_held_a_job_up_is_named_with_a_way_out(
    plan: Plan, seconds: dict[str, float], words: str
):
    assert str(what_it_waited_for(seconds, 100.0, plan)) == words


def test_models_are_never_busier_than_all_the_time():
    wait = what_it_waited_for({"model": 900.0}, 100.0, CPU)
    assert wait is not None
    assert wait.model_busy == 1.0


@pytest.mark.parametrize(
    ("seconds", "elapsed"), [({}, 10.0), ({"model": 0.0}, 10.0), ({"model": 1}, 0)]
)
def test_nothing_is_said_of_a_run_that_did_nothing(seconds: dict[str, float], elapsed: float):
    assert what_it_waited_for(seconds, elapsed, CPU) is None
