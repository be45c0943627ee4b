"""How a run ended: the code that the shell is told, and what a person should do next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .ledger import Tally
from .records import ErrorClass
from .root import Selection, Standing

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
    if tally.stop is not None:
        return RunEnd(tally.stop.exit_code, f"stopped: {tally.stop.reason}")
    waiting = now.units - now.ok - now.failed
    if waiting and chosen.limit is None:
        return RunEnd(CRASHED, _left_without_a_word(waiting))
    failed = Counter({name: n for name, n in tally.ended.items() if _may_pass(name)})
    ended = sum(tally.ended.values())
    # A night that only tries a few leftovers again says nothing of an archive that is accepted.
    is_accepted = now.failed <= accepted_failed_fraction * now.units
    if now.again and not is_accepted and failed.total() > max_failed_fraction * ended:
        worst = ", ".join(f"{name} {n:,}" for name, n in failed.most_common(3))
        return RunEnd(
            STOPPED_EARLY,
            f"{failed.total():,} of {ended:,} units failed in ways that may pass ({worst}), more "
            f"than limits.max_failed_fraction={max_failed_fraction:g} allows, so that the output "
            f"is not marked as done: mend that, and run the same command again, which tries "
            f"{now.again:,} of the failed units again",
        )
    code = DONE if is_accepted else SOME_FAILED
    if waiting:
        return RunEnd(code, "what waits was left by --limit: the same command without it goes on")
    return RunEnd(code, _try_again(now.again, chosen.max_attempts) if now.again else "")


def _may_pass(name: str) -> bool:
    return name != "ok" and ErrorClass(name).retryable


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
