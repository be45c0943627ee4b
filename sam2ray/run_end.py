"""How a run ended: the code that the shell is told, and what a person should do next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .config_running import Limits
from .ledger import Tally, warns_of_the_store
from .records import ErrorClass
from .root import Selection, Standing, mark_success, note_vain_run
from .storage import Store

_MANY = 20  # fewer that are refused are more likely closed themselves than their store

DONE, CRASHED, BAD_USAGE, SOME_FAILED, STOPPED_EARLY = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class RunEnd:
    """An exit code, and words where somebody has something to do."""

    exit_code: int
    advice: str = ""


def conclude(
    store: Store, run_id: str, now: Standing, tally: Tally, chosen: Selection, limits: Limits
) -> RunEnd:
    """Judge a run, and leave what follows from it: the mark, and attempts that do not count."""
    end = end_of(
        now,
        tally,
        chosen,
        max_failed_fraction=limits.max_failed_fraction,
        accepted_failed_fraction=limits.accepted_failed_fraction,
    )
    if tally.stop is None or end.exit_code == DONE:
        mark_success(store, now)
    if _is_vain(end, tally):
        note_vain_run(store, run_id)
    return end


def end_of(
    now: Standing,
    tally: Tally,
    chosen: Selection,
    *,
    max_failed_fraction: float,
    accepted_failed_fraction: float,
) -> RunEnd:
    """Judge a run by what stopped it, what waits, and what failed."""
    waiting = now.units - now.ok - now.failed
    refusal = _refusal(tally, max_failed_fraction)
    # A night that only tries a few leftovers again says nothing of an archive that is accepted.
    is_accepted = now.failed <= accepted_failed_fraction * now.units
    is_accepted &= refusal is None or not refusal.is_of_a_closed_store
    if tally.stop is not None:
        if tally.stop.exit_code == STOPPED_EARLY and is_accepted and not waiting:
            return RunEnd(DONE, f"left some failed units as they are: {tally.stop.reason}")
        return RunEnd(tally.stop.exit_code, f"stopped: {tally.stop.reason}")
    if waiting and chosen.limit is None:
        return RunEnd(CRASHED, _left_without_a_word(waiting))
    if now.again and not is_accepted and refusal is not None:
        return RunEnd(
            STOPPED_EARLY,
            f"{refusal.in_words}, more than limits.max_failed_fraction={max_failed_fraction:g} "
            f"allows, so that the output is not marked as done: mend that, and run the same "
            f"command again, which tries {now.again:,} of the failed units again",
        )
    code = DONE if is_accepted else SOME_FAILED
    if waiting:
        return RunEnd(code, "what waits was left by --limit: the same command without it goes on")
    return RunEnd(code, _try_again(now.again, chosen.max_attempts) if now.again else "")


def _is_vain(end: RunEnd, tally: Tally) -> bool:
    """Whether a store refused next to everything: then the run's attempts do not count.

    What is wrong with the units themselves would else be tried for ever.
    """
    if tally.stop is not None and tally.stop.exit_code == STOPPED_EARLY:
        return end.exit_code == STOPPED_EARLY or not tally.ended.get("ok")
    if end.exit_code != STOPPED_EARLY:
        return False
    failed = {name: n for name, n in tally.ended.items() if name != "ok"}
    of_the_store = sum(n for name, n in failed.items() if ErrorClass(name).blames_the_store)
    return not tally.ended.get("ok") and 2 * of_the_store > sum(failed.values())


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Failures that may pass, of units that were new or were tried again; there are too many."""

    failed: Counter[str]
    tried: int
    is_first: bool

    @property
    def in_words(self) -> str:
        """How many of how many, and how."""
        worst = ", ".join(f"{name} {n:,}" for name, n in self.failed.most_common(3))
        kind = "new units" if self.is_first else "units that were tried again"
        count = f"{self.failed.total():,} of {self.tried:,} {kind}"
        return f"{count} failed in ways that may pass ({worst})"

    @property
    def is_of_a_closed_store(self) -> bool:
        """Whether many new units say so: nobody accepts that an archive is no longer read."""
        said = sum(n for name, n in self.failed.items() if ErrorClass(name).blames_the_store)
        return self.is_first and said >= _MANY


def _refusal(tally: Tally, max_failed_fraction: float) -> _Refusal | None:
    for is_first in (True, False):
        ended = _of_attempts(tally, is_first=is_first)
        failed = Counter(
            {name: n for name, n in ended.items() if warns_of_the_store(name, is_first=is_first)}
        )
        least = 1 if is_first else _MANY
        if failed.total() >= least and failed.total() > max_failed_fraction * ended.total():
            return _Refusal(failed, ended.total(), is_first)
    return None


def _of_attempts(tally: Tally, *, is_first: bool) -> Counter[str]:
    """How units ended that were tried for the first time, or again."""
    retried = Counter(tally.retried)
    return Counter(tally.ended) - retried if is_first else retried


def _left_without_a_word(waiting: int) -> str:
    return (
        f"{waiting:,} units wait though nothing stopped this run: what was made of them was lost, "
        "or files of results were taken away meanwhile. What is committed stays: run the same "
        "command again, and if units wait then too, `sam2ray verify` says what is wrong"
    )


def _try_again(units: int, max_attempts: int) -> str:
    return (
        f"run the same command again: {units:,} failed units may do better in another of "
        f"limits.max_attempts={max_attempts}; until then the output is not marked as done"
    )
