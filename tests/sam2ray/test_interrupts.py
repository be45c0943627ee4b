"""Signals and silence, as real signals to this process."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from sam2ray.errors import RunStalled
from sam2ray.interrupts import longest_silence_s, raising_when_stalled, stopping_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_the_intake_and_the_second_would_end_the_process(number):
    before = signal.getsignal(number)
    heard: list[str] = []
    said = threading.Event()

    def stop(words: str) -> None:
        heard.append(words)
        said.set()

    with stopping_on_signals(stop):
        os.kill(os.getpid(), number)
        assert said.wait(10)
        assert signal.getsignal(number) is signal.SIG_DFL
    assert heard == [f"{number.name} was received"]
    assert signal.getsignal(number) is before


def test_silence_beyond_the_limit_is_raised_in_the_main_thread():
    def tell_from_a_thread(tell) -> None:
        for quiet_s in (5.0, 11.0, 12.0, 13.0):
            tell(quiet_s)

    stalled = pytest.raises(RunStalled, match="the same command goes on")
    with stalled, raising_when_stalled(10.0) as tell:
        thread = threading.Thread(target=tell_from_a_thread, args=(tell,))
        try:
            thread.start()
            time.sleep(30)
        finally:
            thread.join()  # it tells more, and this is not disturbed


def test_a_run_that_is_heard_of_goes_on():
    with raising_when_stalled(10.0) as tell:
        tell(9.9)
        time.sleep(0.1)


def test_elsewhere_than_in_the_main_thread_nothing_is_handled():
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        with stopping_on_signals(seen.append), raising_when_stalled(10.0) as tell:
            tell(99.0)
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_units_that_may_take_long_may_be_silent_for_longer():
    assert longest_silence_s(10.0) == 1800.0
    assert longest_silence_s(3600.0) == 3 * 3600.0
