"""One run at a time on an output: a numbered file that its holder keeps writing to.

The lease with the highest number counts. Whoever takes an output over creates the next number,
which only one of several can do; writers look before they commit, and notice.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from .errors import RootRefused, StorageError
from .patience import BRIEF
from .storage import Store

FOLDER = "_sam2ray/lease"
BEAT_S = 5.0
WATCH_S = 20.0  # a holder that is silent this long is gone


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease, and the last sign of life."""

    run_id: str
    host: str
    boot_id: str
    pid: int
    started: float  # as `_started` has it: numbers of processes are used again
    job_id: str | None  # of the driver, as Ray numbers them in one session
    beat: int = 0
    ended: bool = False
    beat_at: float = 0.0  # seconds since 1970, for people to read
    session: str = ""  # of the Ray cluster: every cluster has a first job
    pids: str = ""  # whose numbers of processes these are: containers count their own


def this_process(run_id: str, job_id: str | None = None, session: str = "") -> Holder:
    """The process that asks, as a holder."""
    host, boot_id = socket.gethostname(), _boot_id()
    pid = os.getpid()
    started = _started(psutil.Process(pid))
    return Holder(run_id, host, boot_id, pid, started, job_id, session=session, pids=_pids())


def _started(process: psutil.Process) -> float:
    """When a process began: ticks since the boot, which do not move when the clock is set."""
    try:
        facts = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:  # gone, or no Linux
        return process.create_time()
    return float(facts.rpartition(")")[2].split()[19])  # the 22nd of all; names may have spaces


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pids() -> str:
    """The namespace of process numbers that this process lives in."""
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return ""


class Lease:
    """A lease that is held; `close` gives it back."""

    def __init__(self, store: Store, number: int, holder: Holder) -> None:
        self.store = store
        self.number = number
        self._hasty = store.with_patience(BRIEF)  # a late sign of life is worth less than the next
        self._holder = holder
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, daemon=True, name="lease")
        self._thread.start()

    def _keep_beating(self) -> None:
        while not self._closing.wait(BEAT_S):
            self._holder = replace(self._holder, beat=self._holder.beat + 1, beat_at=time.time())
            try:
                _write(self._hasty, self.number, self._holder)
            except (OSError, StorageError):  # the store is away for a moment: the next beat may
                continue  # come through; else whoever takes over is noticed before each commit

    def close(self) -> None:
        """Stop beating and say so, so that the next run need not wait."""
        self._closing.set()
        self._thread.join()
        try:
            if newest(self._hasty) == self.number:
                _write(self._hasty, self.number, replace(self._holder, ended=True))
        except (OSError, StorageError):
            # Not worth an error of its own, which would hide what has ended the run: the next one
            # watches this lease for a while, and takes over.
            return


def acquire(
    store: Store,
    holder: Holder,
    *,
    job_has_ended: Callable[[Holder], bool] = lambda _: False,
    watch_s: float = WATCH_S,
) -> Lease:
    """Take the lease of an output, or say who holds it."""
    number = newest(store)
    if number:
        _refuse_the_living(store, number, job_has_ended, watch_s)
    if not store.create(_name(number + 1), _encoded(holder)):
        raise RootRefused(f"{store.uri}: another run took it over at this moment.")
    for old in range(max(1, number - 8), number):  # the last one stays: somebody may be looking
        store.delete(_name(old))
    return Lease(store, number + 1, holder)


def check_still_held(store: Store, number: int) -> None:
    """Raise if the output was taken over by another run."""
    if newest(store) != number:
        raise RootRefused(
            f"{store.uri}: another run has taken this output over; this one wrote nothing more."
        )


def newest(store: Store) -> int:
    """The number of the lease that counts; 0 where there was none yet."""
    return max((_number(entry.name) for entry in store.list(FOLDER)), default=0)


def _refuse_the_living(
    store: Store, number: int, job_has_ended: Callable[[Holder], bool], watch_s: float
) -> None:
    seen = read_holder(store, number)
    if seen is None or seen.ended or is_dead(seen, job_has_ended):
        return
    looks = max(10, math.ceil(watch_s))
    # Looks are counted, not seconds: a job API that answers slowly must not shorten the watch.
    for _ in range(looks):
        time.sleep(watch_s / looks)
        now = read_holder(store, number)
        if now is None or now.ended or is_dead(now, job_has_ended):
            return
        if now.beat != seen.beat:
            raise RootRefused(
                f"{store.uri}: run {now.run_id} is writing to it (process {now.pid} on "
                f"{now.host}). Wait for it, stop it, or write to another output."
            )


def is_dead(holder: Holder, job_has_ended: Callable[[Holder], bool]) -> bool:
    """Whether the holder is known to be gone: silence alone does not prove it."""
    if not is_near(holder):
        return job_has_ended(holder)
    try:
        process = psutil.Process(holder.pid)
        return _started(process) != holder.started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_near(holder: Holder) -> bool:
    """Whether its process number means something here: in another container it would not."""
    here = (socket.gethostname(), _boot_id(), _pids())
    return (holder.host, holder.boot_id, holder.pids) == here and bool(holder.boot_id)


def _name(number: int) -> str:
    return f"{FOLDER}/{number:06}.json"


def _number(name: str) -> int:
    stem = name.rpartition("/")[2].partition(".")[0]
    return int(stem) if stem.isdecimal() else 0


def _encoded(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _write(store: Store, number: int, holder: Holder) -> None:
    store.put(_name(number), _encoded(holder))


def read_holder(store: Store, number: int) -> Holder | None:
    """The holder; None if its file is gone or makes no sense."""
    try:
        return Holder(**json.loads(store.read(_name(number))))
    except (FileNotFoundError, ValueError, TypeError):
        return None
