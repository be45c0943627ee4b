"""How a listing is doing: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column

_LINE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class ListingState:
    """What a listing does, and how far that has come."""

    doing: str
    entries: int | None = None
    done: int | None = None  # shares of the work
    of: int | None = None  # so many, where that is known

    @property
    def in_words(self) -> str:
        """One line."""
        words = [self.doing if self.entries is None else f"{self.doing}: {self.entries:,}"]
        if self.done is not None:
            words.append(
                f"{self.done:,} shares"
                if self.of is None
                else f"{self.done:,} of {self.of:,} shares"
            )
        return ", ".join(words)


ListingWatch = Callable[[ListingState], None]


def unwatched(_state: ListingState) -> None:
    """Nobody looks."""


class ListingProgress:
    """Shows a listing; used as a context around it, and called with how it is doing."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._said_at = clock()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> ListingProgress:
        if self._console.is_terminal:
            in_one_line = Column(no_wrap=True, overflow="ellipsis")
            text = TextColumn("{task.description}", markup=False, table_column=in_one_line)
            self._bar = Progress(SpinnerColumn(), text, console=self._console, transient=True)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, state: ListingState) -> None:
        """Show how it is doing, if it is time."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=None)
            self._bar.update(self._task, description=state.in_words)
        elif self._clock() - self._said_at >= _LINE_EVERY_S:
            self._said_at = self._clock()
            self._console.print(state.in_words, soft_wrap=True)
