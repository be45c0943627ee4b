"""A process takes units in hand, a group at a time, and ends itself where that alone helps."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol

from ..ledger import Ending, Process, Verdict
from ..records import ErrorClass, Failure

EXIT_CODES = {Verdict.TIMEOUT: 70, Verdict.CUDA: 71}
_REFUSALS = {
    Verdict.POISON: Failure(
        ErrorClass.POISON, "three processes died over this unit, alone or with its batch"
    ),
    Verdict.TIMEOUT: Failure(ErrorClass.TIMEOUT, "it did not move on for limits.unit_timeout_s"),
    Verdict.CUDA: Failure(
        ErrorClass.CUDA, "alone on a fresh device it broke it; its process's log has CUDA's words"
    ),
}
_LOOKS_PER_TIMEOUT = 20
_LOOK_AT_LEDGER_EVERY_S = 2.0


class LedgerClient(Protocol):
    """The ledger as processes see it."""

    def begin(self, process: Process, unit_ids: Sequence[str]) -> list[Verdict]:
        """Ask what to do with units, and take in hand what may be opened."""
        ...

    def hand_on(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Hold units again that were done alone, while all are put together."""
        ...

    def end(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Let units go."""
        ...

    def last_words(self, process: Process, verdict: Verdict) -> None:
        """Say why this process ends itself."""
        ...

    def report(self, endings: Sequence[Ending], *, early: bool = False) -> None:
        """Say what was committed, or early what is about to be."""
        ...

    def sign_of_life(self) -> None:
        """Say that something long moves on."""
        ...

    def is_stopping(self) -> bool:
        """Ask whether the run takes no more units."""
        ...


@dataclass(frozen=True, slots=True)
class Group:
    """Places in a batch that are worked on together; none is, where there is a refusal."""

    places: list[int]
    refusal: Failure | None = None
    skipped: bool = False
    alone: bool = False  # nothing else may be in hand meanwhile


@dataclass(slots=True)
class _Watched:
    """A unit at work."""

    allowed_s: float
    since: float = field(default_factory=time.monotonic)  # it was begun, or moved on

    def is_late(self) -> bool:
        return time.monotonic() - self.since > self.allowed_s


class Hands:
    """What one process holds."""

    def __init__(self, ledger: LedgerClient, process: Process, unit_timeout_s: float) -> None:
        self._ledger = ledger
        self._process = process
        self._timeout_s = unit_timeout_s
        self._open: dict[str, _Watched] = {}
        self._has_moved = False  # since the watchdog's last look
        self._lock = threading.Lock()
        self._stopping = False
        self._next_look = 0.0  # at the ledger
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()

    def take(self, unit_ids: Sequence[str]) -> Iterator[Group]:
        """Go through a batch: first suspects one by one, then what may be opened together.

        A suspect is in hand until the next group is asked for: by then its row has to be written.
        What is opened together comes last and stays in hand until it is let go of.
        """
        verdicts = self._ledger.begin(self._process, unit_ids)
        for place, verdict in enumerate(verdicts):
            if verdict not in (Verdict.TOGETHER, Verdict.ALONE):
                yield _refused(verdict, place)
        together = [n for n, verdict in enumerate(verdicts) if verdict is Verdict.TOGETHER]
        suspects = [n for n, verdict in enumerate(verdicts) if verdict is Verdict.ALONE]
        if together and not suspects:
            yield Group(together)
        if not suspects:
            return
        others = [unit_ids[n] for n in together]
        self.let_go(others)
        for place in suspects:
            yield from self._take_alone(unit_ids[place], place)
        if others:
            for group in self.take(others):
                yield replace(group, places=[together[n] for n in group.places])

    def _take_alone(self, unit_id: str, place: int) -> Iterator[Group]:
        (verdict,) = self._ledger.begin(self._process, [unit_id])
        if verdict not in (Verdict.ALONE, Verdict.TOGETHER):
            yield _refused(verdict, place)
            return
        yield Group([place], alone=True)
        self.let_go([unit_id])

    def hand_on(self, unit_ids: Sequence[str]) -> None:
        """Take a batch in hand again some of which was done alone: its rows are put together.

        A process that dies of that would else have held nothing, and be started again for ever.
        """
        self._ledger.hand_on(self._process, unit_ids)

    def let_go(self, unit_ids: Sequence[str]) -> None:
        """Say that all that could go wrong with units is over: their rows are written."""
        if unit_ids:
            self._ledger.end(self._process, unit_ids)

    @contextmanager
    def working_on(self, *unit_ids: str, steps: int = 1) -> Iterator[None]:
        """Have the watchdog look at these units, which may take so many steps in silence."""
        allowed_s = self._timeout_s * steps
        with self._lock:
            self._open |= {unit_id: _Watched(allowed_s) for unit_id in unit_ids}
        try:
            yield
        finally:
            with self._lock:
                for unit_id in unit_ids:
                    self._open.pop(unit_id, None)

    def moved_on(self, *unit_ids: str) -> None:
        """Say that units came a step further: a long video is not a stuck one."""
        with self._lock:
            self._has_moved = True
            for unit_id in unit_ids:
                if unit_id in self._open:
                    self._open[unit_id].since = time.monotonic()

    def ended(self, ending: Ending) -> None:
        """Tell of a unit before it is committed: those beside it may take hours yet."""
        self._ledger.report([ending], early=True)

    def is_stopping(self) -> bool:
        """Whether the run takes no more units, as the ledger said a moment ago."""
        now = time.monotonic()
        if not self._stopping and now >= self._next_look:
            self._next_look = now + _LOOK_AT_LEDGER_EVERY_S
            self._stopping = self._ledger.is_stopping()
        return self._stopping

    def _watch(self) -> None:
        while True:
            time.sleep(self._timeout_s / _LOOKS_PER_TIMEOUT)
            with self._lock:
                slow = [u for u, watched in self._open.items() if watched.is_late()]
                # Who is not late may be silent for long: that is no reason to end the run.
                moved, self._has_moved = self._has_moved or bool(self._open), False
            if slow:  # nothing else ends code that hangs in a decoder or on a device
                limit = f"limits.unit_timeout_s={self._timeout_s:g}"
                self._end_process(Verdict.TIMEOUT, f"unit {slow[0]} has not moved for {limit}")
            if moved:
                with suppress(Exception):  # the ledger of a run that is over; the watch goes on
                    self._ledger.sign_of_life()

    def give_up_device(self, error: Exception) -> NoReturn:
        """A device that is broken stays so for this process: a fresh one has a fresh context."""
        self._end_process(Verdict.CUDA, f"the device is broken ({error})")

    def _end_process(self, verdict: Verdict, why: str) -> NoReturn:
        sys.stderr.write(f"sam2ray: {why}; this process ends, and another one takes over.\n")
        sys.stderr.flush()
        try:
            self._ledger.last_words(self._process, verdict)
        finally:
            os._exit(EXIT_CODES[verdict])


def _refused(verdict: Verdict, place: int) -> Group:
    if verdict is Verdict.SKIP:
        return Group([place], skipped=True)
    return Group([place], refusal=_REFUSALS[verdict])
