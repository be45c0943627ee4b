"""How a run is doing, while it runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from .ledger import Tally
from .records import ErrorClass
from .report import counted, duration
from .root import Selection, Standing

_LINE_EVERY_S = 10.0
_STILL_EVERY_S = 60.0  # where nothing happened
_PACE_OVER_S = 60.0
_STARTING = "starting Ray, and listing the source"


Watcher = Callable[[Standing, Tally], None]
"""Called about once a second with where a run began and how it is doing."""


@dataclass(slots=True)
class Pace:
    """How fast units and frames end, by what ended lately."""

    _seen: deque[tuple[float, int, int]] = field(default_factory=deque)  # seconds, units, frames

    def see(self, tally: Tally) -> None:
        """Take note of how things stand."""
        self._seen.append((tally.elapsed_s, sum(tally.ended.values()), tally.frames))
        while len(self._seen) > 2 and self._seen[-1][0] - self._seen[1][0] >= _PACE_OVER_S:
            self._seen.popleft()

    @property
    def units_per_s(self) -> float:
        """Units that ended."""
        return self._rate(1)

    @property
    def frames_per_s(self) -> float:
        """Frames with results."""
        return self._rate(2)

    def _rate(self, of: int) -> float:
        if not self._seen:
            return 0.0
        last = self._seen[-1]
        # Results are committed many at a time: a short window would see none, or a whole file.
        first = self._seen[0] if last[0] - self._seen[0][0] >= _PACE_OVER_S / 2 else (0.0, 0, 0)
        seconds = last[0] - first[0]
        return (last[of] - first[of]) / seconds if seconds > 0 else 0.0


def units_to_do(before: Standing, chosen: Selection) -> int:
    """Units that a run takes, at most: of those that failed some may have no attempt left."""
    waiting = before.units - before.ok - before.failed
    again = sum(
        count
        for name, count in before.ended.items()
        if name != "ok" and (ErrorClass(name).retryable or ErrorClass(name) in chosen.retried)
    )
    return waiting + again if chosen.limit is None else min(chosen.limit, waiting + again)


def state_in_words(to_do: int, tally: Tally, pace: Pace) -> str:
    """One line: what ended, what failed, how fast, how long it will take."""
    if not to_do:
        return "nothing is to be done"
    ended = sum(tally.ended.values())
    failures = {name: count for name, count in tally.ended.items() if name != "ok"}
    words = [f"{ended:,} of {to_do:,} units", f"{tally.masks:,} masks"]
    if failures:
        words.append(f"failed: {counted(failures)}")
    if not ended:
        return ", ".join([*words, "nothing has ended yet: models are loaded, the first units run"])
    words.append(f"{pace.units_per_s:,.2f} units/s")
    if tally.frames > tally.ended.get("ok", 0):
        words.append(f"{pace.frames_per_s:,.1f} frames/s")
    if ended < to_do and pace.units_per_s > 0:
        words.append(f"{duration((to_do - ended) / pace.units_per_s)} left")
    return ", ".join(words)


class RunProgress:
    """Shows a run; used as a context around it and called with how it is doing."""

    def __init__(
        self,
        console: Console,
        chosen: Selection,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chosen = chosen
        self._pace = Pace()
        self._failures: set[str] = set()
        self._view = _Bar(console) if console.is_terminal else _Lines(console, clock)

    def __enter__(self) -> RunProgress:
        self._view.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._view.close()

    def say(self, words: str) -> None:
        """Write a line."""
        self._view.say(words)

    def __call__(self, before: Standing, tally: Tally) -> None:
        """Show how it is doing: about once a second, from the thread that watches."""
        self._pace.see(tally)
        to_do = units_to_do(before, self._chosen)
        new = [name for name in tally.ended if name != "ok" and name not in self._failures]
        self._failures.update(new)
        words = state_in_words(to_do, tally, self._pace)
        if new:
            self._view.say(f"first failure of its kind: {', '.join(new)}; {words}")
        self._view.show(sum(tally.ended.values()), to_do, words)


class _Lines:
    """Lines for a log: seldom, and more seldom where nothing happens."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._said_at = clock()
        self._said = ""

    def open(self) -> None:
        """Say that something goes on."""
        self.say(_STARTING)

    def close(self) -> None:
        """Nothing to be done."""

    def say(self, words: str) -> None:
        """Write a line now."""
        self._said_at = self._clock()
        self._console.print(words, soft_wrap=True)

    def show(self, ended: int, to_do: int, words: str) -> None:  # noqa: ARG002 as a bar takes it
        """Write a line if it is time."""
        silent = self._clock() - self._said_at
        if silent >= (_LINE_EVERY_S if words != self._said else _STILL_EVERY_S):
            self._said = words
            self.say(words)


class _Bar:
    """A bar that moves, with the state beside it."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,  # the table that ends a run says it all
        )
        self._task: TaskID | None = None

    def open(self) -> None:
        """Say that something goes on."""
        self._progress.start()
        self._task = self._progress.add_task(_STARTING, total=None)

    def close(self) -> None:
        """Take it away."""
        self._progress.stop()

    def say(self, words: str) -> None:
        """Write a line above it."""
        self._progress.console.print(words)

    def show(self, ended: int, to_do: int, words: str) -> None:
        """Move it."""
        assert self._task is not None
        total = max(to_do, ended) or None
        self._progress.update(self._task, completed=ended, total=total, description=words)


@dataclass(slots=True)
class FileProgress:
    """Says now and then how far a walk over files has come."""

    console: Console
    clock: Callable[[], float] = time.monotonic
    _said_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._said_at = self.clock()

    def __call__(self, what: str, done: int, of: int) -> None:
        """Note that so many files are done."""
        if self.clock() - self._said_at >= _LINE_EVERY_S:
            self._said_at = self.clock()
            self.console.print(f"{what}: {done:,} of {of:,} files")


def told_to_all(*watchers: Watcher) -> Watcher:
    """One watcher that passes on what it is told."""

    def watch(before: Standing, tally: Tally) -> None:
        for watcher in watchers:
            watcher(before, tally)

    return watch
