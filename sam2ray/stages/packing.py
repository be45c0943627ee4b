"""A thread that writes down what the model has seen, while the model looks at what comes next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_MOST_WAITING = 64  # pieces of work: what they hold is in memory meanwhile


class PackingThread:
    """Does one piece of work after the other; who brings more than it can do waits."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="packing")
        self._room = threading.BoundedSemaphore(_MOST_WAITING)

    def queue(self) -> PackingQueue:
        """A queue for the work of one unit, so that one can wait for its end."""
        return PackingQueue(self._submit)

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        self._room.acquire()
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._room.release())
        return future


class PackingQueue:
    """The work of one unit; what goes wrong is raised where more is brought, or at the end."""

    def __init__(self, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        self._submit = submit
        self._waiting: deque[Future[None]] = deque()

    def put(self, work: Callable[[], None]) -> None:
        """Have something done, after all that came before."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        self._waiting.append(self._submit(work))

    def finish(self) -> None:
        """Wait until everything is done."""
        while self._waiting:
            self._waiting.popleft().result()

    def give_up(self) -> None:
        """Do no more of it, and return when nothing of it is being done."""
        for future in self._waiting:
            future.cancel()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.cancelled():
                future.exception()
