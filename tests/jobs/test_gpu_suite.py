"""The GPU suite keeps its budget, writes every row at once, and goes on after what fails."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from jobs.benchmarks import gpu_checks
from jobs.benchmarks.gpu_rows import (
    FLOORS,
    Budget,
    Floor,
    Ledger,
    Row,
    ideal_seconds,
    share_of_floor,
    summary,
)
from jobs.benchmarks.gpu_sheet import Sheet, Stopwatch, Timing
from jobs.benchmarks.gpu_suite import LEDGER, Step, main, run_steps, steps
from jobs.benchmarks.gpu_world import FULL, SMALL, Suite, drifting_clip, grid_points, picture
from ops import encode_run_lengths, to_coco_strings
from sam2_core import Mask

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
HERE = Row(what="-", commit="abc1234", date="today", device="cpu", torch="2")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def suite(tmp_path: Path, clock: Clock) -> Suite:
    ledger = Ledger(tmp_path / "rows.csv", HERE)
    ledger.open()
    return Suite(CPU, SMALL, ledger, Budget.start(60, clock), tmp_path)


def written(suite: Suite) -> list[dict[str, str]]:
    with suite.ledger.path.open() as file:
        return list(csv.DictReader(file))


def test_a_second_run_appends_to_the_file_of_the_first_under_one_header(suite: Suite) -> None:
    suite.ledger.write(Row(what="first"))
    again = Ledger(suite.ledger.path, HERE)
    again.open()
    again.write(Row(what="second"))
    assert [row["what"] for row in written(suite)] == ["first", "second"]
    assert [row.what for row in again.rows] == ["second"]


def test_a_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "ledger.csv"
    other.write_text("date,commit\n")
    with pytest.raises(ValueError, match=r"ledger\.csv: has other columns"):
        Ledger(other, HERE).open()
    assert other.read_text() == "date,commit\n"


def test_the_ledger_of_gpus_has_the_columns_of_the_suite() -> None:
    Ledger(LEDGER, HERE).open()


# --- time


def test_a_budget_counts_from_its_start(clock: Clock) -> None:
    budget = Budget.start(60, clock)
    clock.now += 45
    assert budget.remaining() == 15
    assert budget.allows(15)
    assert not budget.allows(16)


def test_a_part_that_does_not_fit_any_more_gets_a_row_that_says_so(
    suite: Suite, clock: Clock
) -> None:
    ran = []

    def run(_: Suite) -> None:
        ran.append(1)
        clock.now += 50

    run_steps(suite, [Step("ops", "first", 10, run), Step("ops", "second", 20, run)], ["ops"])
    assert ran == [1]
    (row,) = written(suite)
    assert (row["what"], row["note"]) == ("second", "skipped: needs about 20 s, 10 s are left")
    assert not suite.ledger.failed()


def test_a_measurement_that_comes_too_late_gets_a_row_that_says_so(
    suite: Suite, clock: Clock
) -> None:
    clock.now += 50
    sheet = Sheet(suite=suite, name="nano", precision="bf16", compile="full")
    sheet.measure(sheet.row("encode", "images/s", batch=8), pytest.fail)
    (row,) = written(suite)
    assert (row["batch"], row["value"]) == ("8", "-")
    assert row["note"] == "skipped: only 10 s are left"


# --- failures


def test_what_breaks_fails_its_row_and_the_suite_goes_on(suite: Suite) -> None:
    def breaks(_: Suite) -> None:
        raise RuntimeError("CUDA error:\nout of luck")

    done = []
    run_steps(suite, [Step("ops", "bad", 1, breaks), Step("ops", "good", 1, done.append)], ["ops"])
    assert done == [suite]
    (row,) = written(suite)
    assert (row["what"], row["check"]) == ("bad", "fail")
    assert row["note"] == "RuntimeError: CUDA error: out of luck"
    assert suite.ledger.failed()


def test_only_the_sections_that_were_asked_for_run(suite: Suite) -> None:
    done = []
    planned = [Step("ops", "a", 1, done.append), Step("speed", "b", 1, done.append)]
    run_steps(suite, planned, ["speed"])
    assert len(done) == 1


def test_a_gate_that_is_missed_is_counted_and_shown() -> None:
    rows = [Row(what="a", check="pass"), Row(what="b", check="fail"), Row(what="c")]
    first, *others = summary(rows).splitlines()
    assert first == "3 rows, 1 gates passed, 1 failed, 0 skipped"
    assert [line.split()[0] for line in others] == ["b"]


# --- rows


def test_every_row_is_on_disk_as_soon_as_it_is_written(suite: Suite) -> None:
    suite.ledger.write(
        Row(what="encode", model="nano", value=12.34567891, batch=4, unit="images/s")
    )
    (row,) = written(suite)
    assert list(row) == [field.name for field in fields(Row)]
    assert (row["commit"], row["date"], row["device"], row["torch"]) == (
        "abc1234",
        "today",
        "cpu",
        "2",
    )
    assert (row["value"], row["batch"], row["peak_mib"]) == ("12.3457", "4", "-")


def test_a_timing_becomes_a_rate_and_a_share_of_the_floor(suite: Suite) -> None:
    sheet = Sheet(suite=suite, name="nano", precision="bf16", side="reference: ")
    row = sheet.row("encode", "images/s", batch=8)
    sheet.write(row, Timing(0.5, 2.0, 1000.0), per_call=8, ideal_s=0.1)
    (line,) = written(suite)
    assert line["what"] == "reference: encode"
    assert (line["value"], line["share_of_floor"], line["peak_mib"]) == ("16", "0.2", "1000")
    assert line["note"] == "first call 2.0 s"


def test_a_stopwatch_gives_the_median_after_two_calls_of_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    durations = iter([9.0, 5.0, 1.0, 3.0, 2.0])
    monkeypatch.setattr(Stopwatch, "seconds", lambda *_: next(durations))
    assert Stopwatch(CPU, 3).time(lambda: None) == Timing(2.0, 9.0)


# --- the floor


def test_the_floor_is_known_for_what_was_counted_at_1024_pixels() -> None:
    assert FLOORS["sam2.1_hiera_large"] == Floor(encode_ms=2.307, all_masks_ms=7.02, track_ms=3.09)
    assert ideal_seconds("encode", "sam2.1_hiera_tiny", 1024, 32) == pytest.approx(0.01184)
    assert ideal_seconds("prompts", "sam2.1_hiera_tiny", 1024, 64) == pytest.approx(0.000295)
    track = ideal_seconds("track", "sam2.1_hiera_large", 1024, 16)
    assert track == pytest.approx((3.09 + 15 * 0.79) / 1000)
    assert ideal_seconds("encode", "sam2.1_hiera_tiny", 512, 1) is None
    assert ideal_seconds("encode", "nano", 1024, 1) is None


def test_a_share_of_the_floor_is_one_at_the_floor() -> None:
    assert share_of_floor(0.25, 1.0) == 0.25
    assert share_of_floor(None, 1.0) == "-"


# --- how far two answers are apart


def test_numbers_that_are_not_finite_are_infinitely_wrong() -> None:
    right = torch.tensor([1.0, 200.0])
    assert gpu_checks.relative_error(torch.tensor([1.0, 202.0]), right) == pytest.approx(0.01)
    assert gpu_checks.relative_error(torch.tensor([1.0, torch.nan]), right) == float("inf")
    assert gpu_checks.relative_error(torch.tensor([1.0]), right) == float("inf")


def mask(columns: slice) -> Mask:
    pixels = torch.zeros(1, 4, 4, dtype=torch.bool)
    pixels[:, :, columns] = True
    (counts,) = to_coco_strings(encode_run_lengths(pixels))
    box = (0.0, 0.0, 0.0, 0.0)
    return Mask({"size": [4, 4], "counts": counts}, box, 0, 0.9, 0.9, (0.0, 0.0), box)


def test_a_mask_that_is_missing_is_counted_and_does_not_blur_the_overlap() -> None:
    left, right, whole = mask(slice(2)), mask(slice(2, 4)), mask(slice(4))
    same = gpu_checks.pair_up([left, whole], [left, whole])
    assert same == gpu_checks.Pairing(1.0, 0)
    less = gpu_checks.pair_up([left], [left, right, whole])
    assert less == gpu_checks.Pairing(1.0, 2)
    assert gpu_checks.pair_up([], []) == gpu_checks.Pairing(1.0, 0)
    assert gpu_checks.pair_up([left], []).unpaired == 1


def test_an_op_that_a_device_refuses_fails_its_row() -> None:
    def refuses(logits: torch.Tensor) -> list[torch.Tensor]:
        if logits.device.type == "meta":
            raise NotImplementedError("not on meta")
        return [logits]

    row = gpu_checks._check_op("refused", refuses, torch.zeros(2), torch.device("meta"))
    assert (row.check, row.note) == ("fail", "NotImplementedError: not on meta")


# --- the world, and the plan


def test_pictures_clips_and_points_are_the_same_every_time() -> None:
    assert (picture((40, 60)) == picture((40, 60))).all()
    clip = drifting_clip(3, (32, 48))
    assert [frame.shape for frame in clip] == [(32, 48, 3)] * 3
    assert (clip[0][1:, 1:] == clip[1][:-1, :-1]).all()
    assert grid_points(5, (90, 60))[:2] == [(10.0, 15.0), (30.0, 15.0)]
    assert len(grid_points(5, (90, 60))) == 5


def test_a_gpu_is_asked_for_every_mode_and_the_dearest_parts_come_last(tmp_path: Path) -> None:
    device = torch.device("cuda")
    suite = Suite(device, FULL, Ledger(tmp_path / "x", HERE), Budget.start(1), tmp_path)
    planned = steps(suite, None)
    whats = [step.what for step in planned]
    for mode in ("off", "encoder", "full"):
        for precision in ("fp32", "bf16", "fp16"):
            assert f"check: {precision}, compile {mode}" in whats
    assert {step.section for step in planned} == {"ops", "checks", "speed", "reference"}
    compiled = [place for place, what in enumerate(whats) if what.endswith(("full", "encoder"))]
    assert min(compiled) > whats.index("speed: sam2.1_hiera_large, bf16, compile off")


# --- all of it


def run(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "jobs" / "benchmarks" / "gpu_suite.py"
    return subprocess.run(
        [sys.executable, script, "--small", "--out", out, *arguments],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=out.parent,
    )


def test_the_command_runs_from_anywhere_and_checks_every_op(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "rows.csv"
    out.parent.mkdir()
    done = run(out, "--sections", "ops")
    assert done.returncode == 0, done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 15
    assert {row["check"] for row in rows} == {"pass"}


def test_rows_of_a_small_run_need_a_file_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--small"])
    assert "name a file with --out" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_suite_passes_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    done = run(out)
    assert done.returncode == 0, done.stdout + done.stderr
    with out.open() as file:
        rows = list(csv.DictReader(file))
    whats = {row["what"] for row in rows}
    assert {"encode", "prompts", "all masks", "track", "track, start", "check: features"} <= whats
    masks = next(row for row in rows if row["what"] == "all masks")
    assert 5 <= int(masks["objects"]) <= 100
    assert all(float(row["value"]) > 0 for row in rows if row["unit"].endswith("/s"))
