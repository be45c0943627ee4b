"""How many pictures fit into a device's memory at once, as far as was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")

_TRIES_MORE_AFTER = 64  # good batches: one of large pictures says little of those that follow


class Room:
    """What was too much once is not tried with each batch again, but now and then."""

    def __init__(self) -> None:
        self.most: int | None = None  # nothing was too much yet
        self._good = 0

    def pieces(self, items: Sequence[Item]) -> Iterator[Sequence[Item]]:
        """A batch in pieces that may fit; what is learned of one counts for the next."""
        start = 0
        while start < len(items):
            size = self.most or len(items)
            yield items[start : start + size]
            start += size

    def was_too_small_for(self, count: int) -> None:
        """Take less from now on."""
        fits = max(1, count // 2)
        self.most, self._good = min(fits, self.most or fits), 0

    def was_enough(self) -> None:
        """Take more in a while."""
        self._good += 1
        if self.most is not None and self._good >= _TRIES_MORE_AFTER:
            self.most, self._good = 2 * self.most, 0
