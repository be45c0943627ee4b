"""When an output is marked as done, what a run's exit code says, and the words beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_outputs import Ended, Output, picture

from sam2ray.compact import compact_output
from sam2ray.config import JobConfig
from sam2ray.index_table import unmark_if_more_waits
from sam2ray.ledger import Stop, Tally
from sam2ray.outcomes import latest_outcomes
from sam2ray.root import (
    SUCCESS,
    USUAL_ATTEMPTS,
    Selection,
    Standing,
    mark_success,
    standing,
)
from sam2ray.run_end import CRASHED, DONE, SOME_FAILED, STOPPED_EARLY, RunEnd, end_of
from sam2ray.storage import LocalStore


def _tally(
    ended: dict[str, int], stop: Stop | None = None, retried: dict[str, int] | None = None
) -> Tally:
    return Tally(ended, 0, 0, {}, elapsed_s=1.0, stop=stop, retried=retried or {})


def _end(
    now: Standing,
    ended: dict[str, int],
    stop: Stop | None = None,
    accepted: float = 0.0,
    retried: dict[str, int] | None = None,
    **chosen: int,
) -> RunEnd:
    return end_of(
        now,
        _tally(ended, stop, retried),
        Selection(3, **chosen),
        max_failed_fraction=0.5,
        accepted_failed_fraction=accepted,
    )


def _output(tmp_path: Path, error_class: str, attempt: int) -> Output:
    """A hundred units, forty of which failed."""
    output = Output(LocalStore(tmp_path))
    every = [picture(n) for n in range(100)]
    output.list(every, "1")
    output.commit([Ended(unit) for unit in every[:60]])
    failed = [Ended(unit, error_class=error_class, attempt=attempt) for unit in every[60:]]
    output.commit(failed)
    return output


@pytest.mark.parametrize(
    ("error_class", "attempt", "is_marked"),
    [
        ("forbidden", 1, False),
        ("forbidden", 2, False),
        ("forbidden", 3, True),
        ("corrupt", 1, True),
    ],
)
def test_an_output_is_marked_when_no_failed_unit_has_an_attempt_left(
    tmp_path: Path, error_class: str, attempt: int, is_marked: bool
):
    store = _output(tmp_path, error_class, attempt).store
    now = standing(store, latest_outcomes(store))
    assert now.again == (0 if is_marked else 40)
    mark_success(store, now)
    assert store.exists(SUCCESS) is is_marked


def test_attempts_are_counted_as_the_run_counts_them(tmp_path: Path):
    store = _output(tmp_path, "io", 3).store
    assert standing(store, latest_outcomes(store), 5).again == 40
    given = {"source": {"uri": "a"}, "output": {"uri": "b"}}
    assert JobConfig.model_validate(given).limits.max_attempts == USUAL_ATTEMPTS


def test_a_token_that_expires_for_most_of_a_small_run_ends_it_with_four_and_the_way_on():
    end = _end(Standing(100, {"ok": 30, "forbidden": 70}, again=70), {"ok": 30, "forbidden": 70})
    assert end.exit_code == STOPPED_EARLY
    for words in (
        "70 of 100 new units",
        "forbidden 70",
        "max_failed_fraction=0.5",
        "the same command",
    ):
        assert words in end.advice


def test_a_few_failures_that_may_pass_are_three_and_the_way_on():
    end = _end(Standing(100, {"ok": 98, "io": 2}, again=2), {"ok": 98, "io": 2})
    assert end.exit_code == SOME_FAILED
    assert "2 failed units may do better in another of limits.max_attempts=3" in end.advice


@pytest.mark.parametrize("name", ["not_found", "poison", "forbidden"])
def test_a_night_that_tries_one_leftover_again_says_nothing_of_the_store(name: str):
    archive = Standing(10_000, {"ok": 9_999, name: 1}, again=1)
    again = {"retried": {name: 1}}
    assert _end(archive, {name: 1}, accepted=0.01, **again).exit_code == DONE
    assert _end(archive, {name: 1}, **again).exit_code == SOME_FAILED
    assert _end(archive, {name: 1}).exit_code == STOPPED_EARLY  # a new file, and nothing else


def test_a_store_that_refuses_many_leftovers_again_is_said_and_files_that_are_gone_are_not():
    archive = Standing(10_000, {"ok": 9_950, "forbidden": 50}, again=50)
    ended = {"ok": 10, "forbidden": 50}
    assert _end(archive, ended, retried={"forbidden": 50}).exit_code == STOPPED_EARLY
    assert _end(archive, ended, retried={"ok": 10, "forbidden": 19}).exit_code == STOPPED_EARLY
    gone = Standing(10_000, {"ok": 9_950, "not_found": 50}, again=50)
    assert _end(gone, {"not_found": 50}, retried={"not_found": 50}).exit_code == SOME_FAILED
    most_do_better = _end(archive, {"ok": 60, "io": 30}, retried={"ok": 60, "io": 30})
    assert most_do_better.exit_code == SOME_FAILED


def test_no_archive_is_accepted_while_its_new_units_are_refused():
    archive = Standing(10_000, {"ok": 9_800, "forbidden": 200}, again=200)
    stop = Stop("the last 200 units failed", STOPPED_EARLY)
    for how in (stop, None):
        assert _end(archive, {"forbidden": 200}, how, accepted=0.05).exit_code == STOPPED_EARLY
    gone = Standing(10_000, {"ok": 9_800, "not_found": 200}, again=200)
    for how in (stop, None):
        assert _end(gone, {"not_found": 200}, how, accepted=0.05).exit_code == DONE


def test_words_speak_of_those_that_were_refused_alone():
    archive = Standing(10_000, {"ok": 9_999, "not_found": 1}, again=1)
    end = _end(archive, {"ok": 500, "not_found": 1}, retried={"ok": 500})
    assert end.exit_code == STOPPED_EARLY
    assert end.advice.startswith("1 of 1 new units failed in ways that may pass (not_found 1)")


def test_an_archive_that_is_accepted_stays_green_though_its_leftovers_stopped_the_run():
    archive = Standing(30_000, {"ok": 29_750, "forbidden": 250}, again=50)
    stop = Stop("the last 200 units failed", STOPPED_EARLY)
    again = {"retried": {"forbidden": 200}}
    end = _end(archive, {"forbidden": 200}, stop, accepted=0.01, **again)
    assert end == RunEnd(DONE, "left some failed units as they are: the last 200 units failed")
    assert _end(archive, {"forbidden": 200}, stop, **again).exit_code == STOPPED_EARLY
    waits = Standing(30_000, {"ok": 29_700, "forbidden": 250}, again=50)
    assert _end(waits, {"forbidden": 200}, stop, accepted=0.01).exit_code == STOPPED_EARLY
    killed = Stop("SIGTERM was received", CRASHED)
    assert _end(archive, {"forbidden": 9}, killed, accepted=0.01, **again).exit_code == CRASHED


def test_what_has_no_attempt_left_keeps_no_archive_from_being_green():
    used_up = Standing(10_000, {"ok": 9_999, "not_found": 1})
    assert used_up.earns_mark
    assert _end(used_up, {"not_found": 1}, accepted=0.01) == RunEnd(DONE)


@pytest.mark.parametrize("name", ["corrupt", "io"])
def test_failures_that_no_further_attempt_is_left_for_are_three_and_nothing_to_do(name: str):
    assert _end(Standing(9, {"ok": 1, name: 8}), {"ok": 1, name: 8}) == RunEnd(SOME_FAILED)


def test_a_run_in_which_all_is_well_has_nothing_to_say():
    assert _end(Standing(9, {"ok": 9}), {"ok": 9}) == RunEnd(DONE)


def test_units_that_wait_though_nobody_asked_for_it_are_said_with_the_next_command():
    end = _end(Standing(9, {"ok": 7}), {"ok": 7})
    assert end.exit_code == CRASHED
    for words in (
        "2 units wait though nothing stopped",
        "the same command again",
        "sam2ray verify",
    ):
        assert words in end.advice
    limited = _end(Standing(9, {"ok": 7}), {"ok": 7}, limit=7)
    assert (limited.exit_code, "left by --limit" in limited.advice) == (DONE, True)


def test_what_stopped_a_run_comes_before_all_else():
    stop = Stop("SIGTERM was received", CRASHED)
    end = _end(Standing(9, {"io": 7}, again=7), {"io": 7}, stop)
    assert end == RunEnd(CRASHED, "stopped: SIGTERM was received")


@pytest.mark.parametrize(("max_attempts", "is_marked"), [(1, True), (3, False)])
def test_an_index_and_a_compaction_count_attempts_as_the_job_does(
    tmp_path: Path, max_attempts: int, is_marked: bool
):
    output = Output(LocalStore(tmp_path / "out"), (f"limits.max_attempts={max_attempts}",))
    every = [picture(n) for n in range(4)]
    output.list(every, "1")
    output.commit([*(Ended(unit) for unit in every[:3]), Ended(every[3], error_class="io")])
    output.store.put(SUCCESS, b"{}")
    unmark_if_more_waits(output.store, max_attempts)
    assert output.store.exists(SUCCESS) is is_marked
    new = LocalStore(tmp_path / "new")
    compact_output(output.store, new, target_bytes=1 << 20)
    assert new.exists(SUCCESS) is is_marked
