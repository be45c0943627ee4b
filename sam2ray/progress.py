"""How a run is doing, while it runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.text import Text

from .ledger import Tally
from .live_state import (
    Pace,
    Part,
    Watcher,
    bar_within,
    state_in_parts,
    state_in_words,
    state_within,
    units_to_do,
)
from .root import Selection, Standing

_LINE_EVERY_S = 10.0
_STILL_EVERY_S = 60.0  # where nothing happened
_SPINNER = 2  # columns
_STARTING = "starting Ray, and listing the source"


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
        parts = state_in_parts(to_do, tally, self._pace)
        if new:
            words = state_in_words(parts)
            self._view.say(f"first failure of its kind: {', '.join(new)}; {words}")
        self._view.show(sum(tally.ended.values()), to_do, parts)


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

    def show(self, ended: int, to_do: int, parts: Sequence[Part]) -> None:  # noqa: ARG002 as a bar takes it
        """Write a line if it is time."""
        words = state_in_words(parts)
        silent = self._clock() - self._said_at
        if silent >= (_LINE_EVERY_S if words != self._said else _STILL_EVERY_S):
            self._said = words
            self.say(words)


class _Bar:
    """A bar that moves, with the state beside it, in one line however narrow the window is."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            _StateColumn(console),
            console=console,
            transient=True,  # the table that ends a run says it all
        )
        self._task: TaskID | None = None

    def open(self) -> None:
        """Say that something goes on."""
        self._progress.start()
        parts = [Part(0, _STARTING, _STARTING)]
        self._task = self._progress.add_task("", total=None, parts=parts)

    def close(self) -> None:
        """Take it away."""
        self._progress.stop()

    def say(self, words: str) -> None:
        """Write a line above it."""
        self._progress.console.print(words)

    def show(self, ended: int, to_do: int, parts: Sequence[Part]) -> None:
        """Move it."""
        assert self._task is not None
        total = max(to_do, ended) or None
        self._progress.update(self._task, completed=ended, total=total, parts=parts)


class _StateColumn(ProgressColumn):
    """Words that fit into the window as it is now, and a bar where they leave room for one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        super().__init__()

    def render(self, task: Task) -> Text:
        """One line, one column short of the window: some terminals wrap a line that fills it."""
        room = self._console.width - _SPINNER - 1
        words = state_within(task.fields["parts"], room)
        done = 0.0 if task.total is None else task.completed / task.total
        bar = bar_within(done, room - len(words) - 1)
        return Text(f"{bar} {words}" if bar else words, no_wrap=True, overflow="crop")


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
