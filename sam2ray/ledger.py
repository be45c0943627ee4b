"""Who holds which units, what killed whom, and how a run is doing; one small actor per run.

Units that were in the hands of a process that died are suspects: from then on each runs alone, and
one that is alone at three deaths is poison. A process that is lost with its node proves nothing.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from .records import ErrorClass

DEATHS_OF_POISON = 3


class Verdict(str, Enum):
    """What to do with a unit that somebody is about to open."""

    TOGETHER = "together"  # with others
    ALONE = "alone"
    POISON = "poison"  # not at all: it has killed enough
    TIMEOUT = "timeout"  # not at all: it was alone and did not end
    CUDA = "cuda"  # not at all: it was alone and broke the device
    SKIP = "skip"  # the run is stopping


@dataclass(frozen=True, slots=True)
class Process:
    """One process on one node."""

    node_id: str
    pid: int
    stage: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run takes no more units, and the exit code that says so."""

    reason: str
    exit_code: int


@dataclass(slots=True)
class _Hold:
    process: Process
    last_words: Verdict | None = None  # of its process, which is about to end itself
    handed_on: bool = False  # it was done alone, and travels with its batch


@dataclass(slots=True)
class SuspectBook:
    """Which units are held by whom, and how many deaths each was alone at; no Ray in it."""

    node_is_sound: Callable[[str], bool]
    _holds: dict[tuple[str, str], _Hold] = field(default_factory=dict)  # by stage and unit
    _suspects: set[str] = field(default_factory=set)
    _deaths: Counter[str] = field(default_factory=Counter)
    _given_up: dict[str, Verdict] = field(default_factory=dict)

    def begin(self, process: Process, unit_ids: Sequence[str]) -> list[Verdict]:
        """Note that a process opens units; a unit that another one held has seen it die."""
        for unit_id in unit_ids:
            earlier = self._holds.get((process.stage, unit_id))
            if earlier is not None and earlier.process != process:
                self._bury(earlier.process)
        verdicts = [self._judge(unit_id) for unit_id in unit_ids]
        is_one = len(unit_ids) == 1
        for unit_id, verdict in zip(unit_ids, verdicts, strict=True):
            if verdict is Verdict.TOGETHER or (verdict is Verdict.ALONE and is_one):
                self._holds[process.stage, unit_id] = _Hold(process)
        return verdicts

    def _judge(self, unit_id: str) -> Verdict:
        if unit_id in self._given_up:
            return self._given_up[unit_id]
        if self._deaths[unit_id] >= DEATHS_OF_POISON:
            return Verdict.POISON
        return Verdict.ALONE if unit_id in self._suspects else Verdict.TOGETHER

    def _bury(self, process: Process) -> None:
        """Draw the conclusions from the death of a process."""
        held = {key: hold for key, hold in self._holds.items() if hold.process == process}
        for key in held:
            del self._holds[key]
        if not self.node_is_sound(process.node_id):
            return
        self._suspects.update(unit_id for _, unit_id in held)
        # Alone none of them dies, and nobody can tell who it was: all count, or it never ends.
        self._deaths.update(unit_id for (_, unit_id), hold in held.items() if hold.handed_on)
        if len(held) > 1:  # one batch is written down while the next is looked at: both are held
            return
        for (_, unit_id), hold in held.items():
            if hold.handed_on:
                continue
            if hold.last_words is not None:
                self._given_up[unit_id] = hold.last_words
            else:
                self._deaths[unit_id] += 1

    def hand_on(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Note that a process puts together what it has done of these units, some of them alone."""
        for unit_id in unit_ids:
            self._holds.setdefault((process.stage, unit_id), _Hold(process, handed_on=True))

    def end(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Note that a process is done with units; those that it does not hold are passed over."""
        for unit_id in unit_ids:
            hold = self._holds.get((process.stage, unit_id))
            if hold is not None and hold.process == process:
                del self._holds[process.stage, unit_id]

    def last_words(self, process: Process, verdict: Verdict) -> None:
        """Note why a process is about to end itself: what to think of it if it holds but one."""
        for hold in self._holds.values():
            if hold.process == process:
                hold.last_words = verdict

    def held(self) -> int:
        """How many units are in somebody's hands."""
        return len(self._holds)


@dataclass(frozen=True, slots=True)
class Tally:
    """How a run is doing."""

    ended: Mapping[str, int]  # units by `ok` and by error class
    masks: int
    frames: int
    seconds: Mapping[str, float]  # of each stage, summed over its processes
    elapsed_s: float
    stop: Stop | None
    quiet_s: float = 0.0  # since anybody last took, moved, ended or committed anything
    actors: int = 0  # with models, as planned
    retried: Mapping[str, int] = field(default_factory=dict)  # of `ended`: had failed before

    @property
    def of_clips(self) -> bool:
        """Whether some of what went well had more frames than one."""
        return self.frames > self.ended.get("ok", 0)

    @property
    def unit_name(self) -> str:
        """What units are, as far as those that went well tell."""
        return "images" if self.frames and not self.of_clips else "units"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one unit ended, as much as a tally needs."""

    unit_id: str
    error_class: str | None
    masks: int
    frames: int
    seconds: Mapping[str, float] = field(default_factory=dict)  # of each stage
    is_first: bool = True  # attempt


def warns_of_the_store(name: str, *, is_first: bool) -> bool:
    """Whether units of an archive that is well do not end so: what is tried again may, by itself.

    A file that is gone is gone the next time, too: only what a store says is news then.
    """
    if name == "ok":
        return False
    error = ErrorClass(name)
    return error.retryable if is_first else error.blames_the_store


class RunBook:
    """Counts what has been committed, and decides when a run has to stop."""

    def __init__(self, *, stop_window: int, max_failed_fraction: float, actors: int) -> None:
        self._actors = actors
        self._window: deque[bool] = deque(maxlen=stop_window)
        self._max_failed_fraction = max_failed_fraction
        self._ended: Counter[str] = Counter()
        self._retried: Counter[str] = Counter()
        self._warned: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._masks = self._frames = 0
        self._told: set[str] = set()  # units that ended, and are not committed yet
        self._since = time.monotonic()
        self.stop: Stop | None = None

    def report(self, endings: Sequence[Ending], *, early: bool = False) -> None:
        """Take note of units that were committed, or early of those that are about to be."""
        for ending in endings:
            is_told = ending.unit_id in self._told
            (self._told.add if early else self._told.discard)(ending.unit_id)
            if is_told:
                continue
            self._seconds.update(ending.seconds)
            self._masks += ending.masks
            self._frames += ending.frames
            is_ok = ending.error_class in (None, ErrorClass.PARTIAL.value)
            name = "ok" if is_ok else str(ending.error_class)
            self._ended[name] += 1
            if not ending.is_first:
                self._retried[name] += 1
            warns = warns_of_the_store(name, is_first=ending.is_first)
            if warns:
                self._warned[name] += 1
            self._window.append(warns)
        self._stop_if_hopeless()

    def _stop_if_hopeless(self) -> None:
        """An expired token or a store that is away must not mark an archive as done."""
        count, warned, window = self._ended.total(), self._warned.total(), self._window
        if self.stop is not None:
            return
        if len(window) == window.maxlen and all(window):
            self.stop = Stop(
                f"the last {len(window)} units failed in ways that may pass "
                f"({self._worst()}): mend that, and run the same command again",
                exit_code=4,
            )
        elif count >= (window.maxlen or 0) and warned > self._max_failed_fraction * count:
            self.stop = Stop(
                f"{warned} of {count} units failed in ways that may pass "
                f"({self._worst()}), more than limits.max_failed_fraction="
                f"{self._max_failed_fraction:g} allows",
                exit_code=4,
            )

    def _worst(self) -> str:
        return ", ".join(f"{name} {n}" for name, n in self._warned.most_common(3))

    def tally(self, quiet_s: float = 0.0) -> Tally:
        """How things stand."""
        return Tally(
            dict(self._ended),
            self._masks,
            self._frames,
            dict(self._seconds),
            time.monotonic() - self._since,
            self.stop,
            quiet_s,
            self._actors,
            dict(self._retried),
        )


class Ledger:
    """Both books behind one address; processes.start_ledger makes it an actor."""

    def __init__(
        self,
        node_is_sound: Callable[[str], bool],
        *,
        stop_window: int,
        max_failed_fraction: float,
        actors: int,
    ) -> None:
        self._suspects = SuspectBook(node_is_sound)
        self._run = RunBook(
            stop_window=stop_window, max_failed_fraction=max_failed_fraction, actors=actors
        )
        self._heard_at = time.monotonic()

    def begin(self, process: Process, unit_ids: Sequence[str]) -> list[Verdict]:
        """Ask what to do with units, and take those in hand that may be opened now."""
        self.sign_of_life()
        if self._run.stop is not None:
            return [Verdict.SKIP] * len(unit_ids)
        return self._suspects.begin(process, unit_ids)

    def hand_on(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Hold units again that were done alone, while all are put together."""
        self.sign_of_life()
        self._suspects.hand_on(process, unit_ids)

    def end(self, process: Process, unit_ids: Sequence[str]) -> None:
        """Let units go."""
        self.sign_of_life()
        self._suspects.end(process, unit_ids)

    def last_words(self, process: Process, verdict: Verdict) -> None:
        """Hear why a process ends itself."""
        self.sign_of_life()
        self._suspects.last_words(process, verdict)

    def report(self, endings: Sequence[Ending], *, early: bool = False) -> None:
        """Take note of what was committed, or early of what is about to be."""
        self.sign_of_life()
        self._run.report(endings, early=early)

    def stop(self, reason: str, exit_code: int) -> None:
        """Take no more units; what is in hand is finished."""
        if self._run.stop is None:
            self._run.stop = Stop(reason, exit_code)

    def sign_of_life(self) -> None:
        """Hear that the run moves on."""
        self._heard_at = time.monotonic()

    def is_stopping(self) -> bool:
        """Whether no more units are taken; who works on a long one may ask."""
        return self._run.stop is not None

    def tally(self) -> Tally:
        """How the run is doing."""
        return self._run.tally(time.monotonic() - self._heard_at)
