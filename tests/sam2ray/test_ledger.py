"""Who is suspected after a death, who is poison, and when a run gives up."""

from __future__ import annotations

import time

import pytest

from sam2ray.ledger import Ending, Ledger, Process, RunBook, SuspectBook, Verdict

FIRST = Process("node", 1, "label")
SECOND = Process("node", 2, "label")
TOGETHER, ALONE, POISON, TIMEOUT, CUDA = (
    Verdict.TOGETHER,
    Verdict.ALONE,
    Verdict.POISON,
    Verdict.TIMEOUT,
    Verdict.CUDA,
)


def _book(*, sound: bool = True) -> SuspectBook:
    return SuspectBook(lambda _: sound)


def test_units_run_together_as_long_as_nobody_dies():
    book = _book()
    for process in (FIRST, SECOND):
        assert book.begin(process, ["a", "b"]) == [TOGETHER] * 2
        book.end(process, ["a", "b"])
    assert book.held() == 0


def test_what_a_dead_process_held_runs_alone_from_then_on():
    book = _book()
    book.begin(FIRST, ["a", "b"])
    assert book.begin(SECOND, ["a", "b", "c"]) == [ALONE, ALONE, TOGETHER]


def test_what_a_dead_process_had_let_go_is_no_suspect():
    book = _book()
    book.begin(FIRST, ["a", "b"])
    book.end(FIRST, ["a"])
    assert book.begin(SECOND, ["a", "b"]) == [TOGETHER, ALONE]


def test_a_unit_that_is_alone_at_three_deaths_is_poison_and_its_neighbour_is_not():
    book = _book()
    book.begin(Process("node", 10, "label"), ["bad", "good"])
    for pid in (11, 12, 13):
        process = Process("node", pid, "label")
        assert book.begin(process, ["bad", "good"]) == [ALONE, ALONE]
        assert book.begin(process, ["good"]) == [ALONE]
        book.end(process, ["good"])
        assert book.begin(process, ["bad"]) == [ALONE]
    assert book.begin(SECOND, ["bad", "good"]) == [POISON, ALONE]


def test_a_batch_of_one_counts_as_alone():
    book = _book()
    verdicts = [book.begin(Process("node", pid, "label"), ["bad"])[0] for pid in range(5)]
    assert verdicts == [TOGETHER, ALONE, ALONE, POISON, POISON]


def test_a_batch_that_kills_whoever_puts_it_together_is_given_up_and_not_tried_for_ever():
    book = _book()
    book.begin(Process("node", 10, "label"), ["a", "b"])
    for pid in (11, 12, 13):
        process = Process("node", pid, "label")
        assert book.begin(process, ["a", "b"]) == [ALONE, ALONE]
        for unit_id in ("a", "b"):
            book.begin(process, [unit_id])
            book.end(process, [unit_id])
        book.hand_on(process, ["a", "b"])
    assert book.begin(SECOND, ["a", "b"]) == [POISON] * 2
    book.end(SECOND, ["a", "b"])
    assert book.held() == 0


def test_units_that_are_handed_on_and_let_go_have_died_of_nothing():
    book = _book()
    book.begin(Process("node", 10, "label"), ["a", "b"])
    for pid in range(11, 16):
        process = Process("node", pid, "label")
        assert book.begin(process, ["a", "b"]) == [ALONE] * 2
        book.hand_on(process, ["a", "b"])
        book.end(process, ["a", "b"])
    assert book.held() == 0


def test_a_process_that_is_lost_with_its_node_proves_nothing():
    book = _book(sound=False)
    for pid in range(9):
        assert book.begin(Process("node", pid, "label"), ["a"]) == [TOGETHER]


def test_stages_hold_the_same_unit_apart():
    book = _book()
    book.begin(Process("node", 1, "prepare"), ["a"])
    assert book.begin(SECOND, ["a"]) == [TOGETHER]


@pytest.mark.parametrize("verdict", [TIMEOUT, CUDA])
def test_a_unit_that_hangs_or_breaks_a_device_alone_is_not_tried_again_and_others_are(verdict):
    book = _book()
    book.begin(FIRST, ["bad", "good"])
    book.last_words(FIRST, verdict)
    assert book.begin(SECOND, ["bad", "good"]) == [ALONE, ALONE]
    book.begin(SECOND, ["bad"])
    book.last_words(SECOND, verdict)
    third = Process("node", 3, "label")
    assert book.begin(third, ["bad", "good"]) == [verdict, ALONE]
    assert book.begin(third, ["good"]) == [ALONE]


# ---------------------------------------------------------------- when a run gives up


def _run(window: int = 4, fraction: float = 0.5) -> RunBook:
    return RunBook(stop_window=window, max_failed_fraction=fraction, actors=1)


def _report(book: RunBook, *classes: str | None) -> None:
    book.report([Ending("x", name, masks=2, frames=1, seconds={"model": 0.5}) for name in classes])


def test_a_window_of_failures_that_may_pass_stops_the_run():
    book = _run(fraction=1.0)
    _report(book, None, "forbidden", "throttled", "io")
    assert book.stop is None
    _report(book, "forbidden")
    assert book.stop is not None
    assert book.stop.exit_code == 4
    assert "the last 4 units failed" in book.stop.reason
    assert "forbidden 2" in book.stop.reason


def test_bad_files_never_stop_a_run():
    book = _run()
    _report(book, *["corrupt"] * 50)
    assert book.stop is None


def test_too_many_failures_that_may_pass_stop_a_run_however_they_are_spread():
    book = _run(window=8, fraction=0.25)
    _report(book, *[None, None, "io"] * 2)
    assert book.stop is None
    _report(book, None, None, "io")
    assert book.stop is not None
    assert "3 of 9 units" in book.stop.reason


def test_a_tally_counts_what_was_committed():
    book = _run()
    _report(book, None, "partial", "corrupt")
    tally = book.tally()
    assert tally.ended == {"ok": 2, "corrupt": 1}
    assert (tally.masks, tally.frames) == (6, 3)
    assert tally.seconds == {"model": pytest.approx(1.5)}


def test_what_ends_before_it_is_committed_is_counted_once_however_often_it_is_told():
    book = _run()
    for early in (True, True, False):  # the second time by who came after a process that died
        book.report([Ending("clip", "corrupt", 0, 5, {"decode": 2.0})], early=early)
        assert book.tally().ended == {"corrupt": 1}
    assert (book.tally().frames, book.tally().seconds) == (5, {"decode": 2.0})
    book.report([Ending("clip", None, 3, 5)])  # at its next attempt, in a later wave
    assert book.tally().ended == {"corrupt": 1, "ok": 1}


def test_a_ledger_knows_for_how_long_it_was_quiet():
    ledger = Ledger(lambda _: True, stop_window=200, max_failed_fraction=0.5, actors=1)
    told = [
        lambda: ledger.begin(FIRST, ["a"]),
        lambda: ledger.sign_of_life(),
        lambda: ledger.report([Ending("a", None, 1, 1)]),
        lambda: ledger.end(FIRST, ["a"]),
    ]
    for tell in told:
        time.sleep(0.02)
        quiet_s = ledger.tally().quiet_s
        assert quiet_s >= 0.02
        tell()
        assert ledger.tally().quiet_s < quiet_s
