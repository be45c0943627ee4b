"""Units of videos -> open clips, in order, some of them fetched before they are asked for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from sam2_core.inference.containers.broken_bytes import unheard

from ..errors import UnitFailed, failure_by_surprise, is_of_the_job
from ..records import ErrorClass, Failure
from ..unit_rows import unit_of
from .clip_files import Abandoned
from .clips import ClipInHand, ClipOpener
from .hands import Hands
from .outcome_rows import Row

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """A unit, and its clip or why there is none."""

    row: Row
    result: ClipInHand | Failure


class Arrivals:
    """Clips of some units; used as a context, so that what nobody took is cleaned up."""

    def __init__(self, opener: ClipOpener, hands: Hands, rows: Sequence[Row], ahead: int) -> None:
        self._opener = opener
        self._hands = hands
        self._rows = iter(rows)
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="clips")
        self._coming: deque[tuple[Row, Future[ClipInHand | Failure]]] = deque()
        self._given_up = threading.Event()
        self.waited_s = 0.0

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(self, *exception: object) -> None:
        self._given_up.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for _row, future in self._coming:
            future.add_done_callback(_clean_up)

    def next(
        self, is_stopping: Callable[[], bool], on_wait: Callable[[], None] = unheard
    ) -> Arrival | None:
        """The next one; None if there is none, or the run stops.

        `on_wait` is called again and again while it is not there.
        """
        while len(self._coming) < self._ahead and (row := next(self._rows, None)) is not None:
            self._coming.append((row, self._pool.submit(self._open, row)))
        if not self._coming:
            return None
        row, future = self._coming[0]
        start = time.perf_counter()
        while not future.done() and not is_stopping():
            on_wait()
            wait([future], timeout=_LOOK_EVERY_S)
        self.waited_s += time.perf_counter() - start
        if not future.done():
            return None
        self._coming.popleft()
        return Arrival(row, future.result())

    def _open(self, row: Row) -> ClipInHand | Failure:
        unit = unit_of(row)
        try:
            with self._hands.working_on(unit.unit_id):
                return self._opener.open(unit, partial(self._piece_came, unit.unit_id))
        except UnitFailed as failure:
            return Failure(failure.error_class, failure.message)
        except MemoryError as error:
            return Failure(ErrorClass.OOM, f"opening it: {error or 'out of memory'}")
        except Abandoned:
            return Failure(ErrorClass.INTERNAL, "nobody waits for it")
        except Exception as error:  # a bug of ours, and one clip's: it has a row
            if is_of_the_job(error):
                raise
            return failure_by_surprise(error)

    def _piece_came(self, unit_id: str) -> None:
        """A file that arrives piece by piece moves on, unless nobody waits for it any more."""
        if self._given_up.is_set():
            raise Abandoned
        self._hands.moved_on(unit_id)


def _clean_up(future: Future[ClipInHand | Failure]) -> None:
    if not future.cancelled() and not future.exception():
        result = future.result()
        if isinstance(result, ClipInHand):
            result.close()
