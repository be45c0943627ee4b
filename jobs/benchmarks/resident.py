"""How much memory this process, or a whole tree of processes, held at most while something ran."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

_LOOK_EVERY_S = 0.2
_LOOK_AT_TREE_EVERY_S = 2.0  # counting shared pages takes the system a while
_MIB = 1 << 20


@dataclass(slots=True)
class Peak:
    """The most that was seen."""

    mib: float = 0.0

    def see(self, held_bytes: int) -> None:
        """Take note of what is held now."""
        self.mib = max(self.mib, held_bytes / _MIB)


@contextmanager
def watching_memory(pid: int | None = None, *, with_children: bool = False) -> Iterator[Peak]:
    """Look several times a second; of a tree, pages that processes share count once."""
    process, peak, done = psutil.Process(pid), Peak(), threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_AT_TREE_EVERY_S if with_children else _LOOK_EVERY_S):
            peak.see(_of_tree(process) if with_children else process.memory_info().rss)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
        peak.see(process.memory_info().rss if not with_children else 0)
    finally:
        done.set()
        thread.join()


def resident_mib() -> float:
    """What this process holds now."""
    return psutil.Process().memory_info().rss / _MIB


def _of_tree(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += _proportional(one)
    except psutil.NoSuchProcess:
        pass
    return total


def _proportional(process: psutil.Process) -> int:
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it has ended meanwhile
        return 0
