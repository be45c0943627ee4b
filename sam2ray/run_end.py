"""How a run ended: the code that the shell is told, and what a person should do next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .ledger import Tally, warns_of_the_store
from .records import ErrorClass
from .root import Selection, Standing

_MANY_LEFTOVERS = 20  # fewer that are refused again are more likely closed than their store

DONE, CRASHED, BAD_USAGE, SOME_FAILED, STOPPED_EARLY = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class RunEnd:
    """An exit code, and words where somebody has something to do."""

    exit_code: int
    advice: str = ""


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
    # A night that only tries a few leftovers again says nothing of an archive that is accepted.
    is_accepted = now.failed <= accepted_failed_fraction * now.units
    if tally.stop is not None:
        if tally.stop.exit_code == STOPPED_EARLY and is_accepted and not waiting:
            return RunEnd(DONE, f"left some failed units as they are: {tally.stop.reason}")
        return RunEnd(tally.stop.exit_code, f"stopped: {tally.stop.reason}")
    if waiting and chosen.limit is None:
        return RunEnd(CRASHED, _left_without_a_word(waiting))
    if now.again and not is_accepted and (refused := _refused(tally, max_failed_fraction)):
        worst = ", ".join(f"{name} {n:,}" for name, n in refused.most_common(3))
        return RunEnd(
            STOPPED_EARLY,
            f"{refused.total():,} of {sum(tally.ended.values()):,} units failed in ways that may "
            f"pass ({worst}), more than limits.max_failed_fraction={max_failed_fraction:g} allows, "
            f"so that the output is not marked as done: mend that, and run the same command again, "
            f"which tries {now.again:,} of the failed units again",
        )
    code = DONE if is_accepted else SOME_FAILED
    if waiting:
        return RunEnd(code, "what waits was left by --limit: the same command without it goes on")
    return RunEnd(code, _try_again(now.again, chosen.max_attempts) if now.again else "")


def is_vain(end: RunEnd, tally: Tally) -> bool:
    """Whether a store refused next to everything: then the run's attempts do not count.

    What is wrong with the units themselves would else be tried for ever.
    """
    if end.exit_code != STOPPED_EARLY or tally.stop is not None:
        return end.exit_code == STOPPED_EARLY
    failed = {name: n for name, n in tally.ended.items() if name != "ok"}
    of_the_store = sum(n for name, n in failed.items() if ErrorClass(name).blames_the_store)
    return not tally.ended.get("ok") and 2 * of_the_store > sum(failed.values())


def _refused(tally: Tally, max_failed_fraction: float) -> Counter[str]:
    """The failures that keep an output from being done, if there are too many."""
    for is_first in (True, False):
        ended = _of_attempts(tally, is_first=is_first)
        warn = Counter(
            {name: n for name, n in ended.items() if warns_of_the_store(name, is_first=is_first)}
        )
        least = 1 if is_first else _MANY_LEFTOVERS
        if warn.total() >= least and warn.total() > max_failed_fraction * ended.total():
            return warn
    return Counter()


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
