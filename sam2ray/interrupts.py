"""What ends a command before its work is done: signals, and silence.

While units are labelled a signal stops the intake alone, at any other time it ends the command.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import RunStalled

_STALLED = signal.SIGUSR1  # from a thread of this process to its main one
_SHORTEST_SILENCE_S = 1800.0  # models are compiled and nodes are started in silence

_ENDING = (signal.SIGTERM, signal.SIGINT)

StopIntake = Callable[[str], object]
EndStalled = Callable[[float], None]


def longest_silence_s(unit_timeout_s: float) -> float:
    """How long nothing may happen in a run whose units may take so long for one step."""
    return max(_SHORTEST_SILENCE_S, 3 * unit_timeout_s)


class Interrupted(KeyboardInterrupt):
    """A signal that ends a command; of a KeyboardInterrupt Ray knows that it is no bug."""


def _words(number: int) -> str:
    return (
        f"{signal.Signals(number).name} was received; what is committed stays, and the same "
        "command goes on"
    )


@contextmanager
def raising_on_signals() -> Iterator[None]:
    """End what is being done by Interrupted, after SIGTERM or the first Ctrl-C."""
    heard: list[str] = []

    def hear(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        heard.append(_words(number))
        raise Interrupted(heard[0])

    with _handling(hear, *_ENDING):
        try:
            yield
        except KeyboardInterrupt as error:
            if heard and not isinstance(error, Interrupted):  # it went through Ray
                raise Interrupted(heard[0]) from error
            raise


@contextmanager
def keeping_own_signals() -> Iterator[None]:
    """Let Ray start, which takes SIGTERM for itself then; who heard it before hears it again."""
    before = signal.getsignal(signal.SIGTERM)
    is_heard = callable(before) and threading.current_thread() is threading.main_thread()
    try:
        yield
    except SystemExit as error:
        if not is_heard:
            raise
        raise Interrupted(_words(signal.SIGTERM)) from error  # Ray has ended what it had started
    finally:
        if is_heard:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def stopping_on_signals(stop: StopIntake) -> Iterator[None]:
    """Take no more units after SIGTERM or the first Ctrl-C; what is in hand is committed."""

    def hear(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once
        # Not from the handler itself: it interrupts Ray anywhere, locks included.
        threading.Thread(target=lambda: stop(_words(number)), daemon=True).start()

    with _handling(hear, *_ENDING):
        yield


@contextmanager
def raising_when_stalled(limit_s: float) -> Iterator[EndStalled]:
    """Gives what a watching thread tells for how long nothing has happened.

    Ray's own guard looks at finished tasks alone, and would end a run over one long video.
    """

    def hear(_number: int, _frame: object) -> None:
        raise RunStalled(
            f"Nothing has happened for {limit_s / 60:.0f} minutes: no unit was begun, moved on or "
            "ended. Look at `ray status` for nodes or GPUs that are missing; what was committed "
            "stays, and the same command goes on."
        )

    with _handling(hear, _STALLED) as handled:
        told = threading.Event()  # once: what comes after cleans up

        def tell(quiet_s: float) -> None:
            main = threading.main_thread().ident
            if handled and quiet_s > limit_s and main is not None and not told.is_set():
                told.set()
                signal.pthread_kill(main, _STALLED)

        yield tell


@contextmanager
def _handling(handler: Callable[[int, object], None], *numbers: int) -> Iterator[bool]:
    """Handle signals, if this is the thread that may; whether it is."""
    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    earlier = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield True
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
