"""Signals and silence, as real signals to this process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import typer

from sam2ray.cli_words import said_in_words
from sam2ray.errors import RunStalled
from sam2ray.interrupts import (
    Interrupted,
    keeping_own_signals,
    longest_silence_s,
    raising_on_signals,
    raising_when_stalled,
    stopping_on_signals,
)


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
    (words,) = heard
    assert words.startswith(f"{number.name} was received; what is committed stays")
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


def _send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(30)


@contextmanager
def _expecting_a_second(number: int) -> Iterator[None]:
    try:
        yield
    finally:
        assert signal.getsignal(number) is signal.SIG_DFL


def _start_as_ray_does(*, told_to_end: bool = False) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if told_to_end:
        _send(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_outside_of_the_work_the_first_signal_ends_a_command_and_a_second_would_at_once(number):
    before = signal.getsignal(number)
    ended = pytest.raises(Interrupted, match=f"^{number.name} was received; what is committed")
    with ended, raising_on_signals():
        _send(number)
    assert signal.getsignal(number) is before
    with pytest.raises(Interrupted), raising_on_signals(), _expecting_a_second(number):
        _send(number)


def test_a_signal_that_comes_through_ray_as_a_bare_interrupt_keeps_its_words():
    def wait_in_ray() -> None:
        with suppress(Interrupted):
            _send(signal.SIGTERM)
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="SIGTERM was received"), raising_on_signals():
        wait_in_ray()


def test_who_presses_no_key_hears_no_signal():
    with pytest.raises(KeyboardInterrupt) as raised, raising_on_signals():
        raise KeyboardInterrupt
    assert not isinstance(raised.value, Interrupted)


def test_while_units_are_labelled_the_intake_stops_and_the_command_goes_on():
    said = threading.Event()
    with raising_on_signals():
        with stopping_on_signals(lambda _words: said.set()):
            os.kill(os.getpid(), signal.SIGTERM)
            assert said.wait(10)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL, "accounts are heard to end"


def test_ray_takes_no_signal_away_from_who_hears_it():
    with raising_on_signals():
        own = signal.getsignal(signal.SIGTERM)
        with keeping_own_signals():
            _start_as_ray_does()
        assert signal.getsignal(signal.SIGTERM) is own
        with pytest.raises(Interrupted, match="SIGTERM was received"), keeping_own_signals():
            _start_as_ray_does(told_to_end=True)
        assert signal.getsignal(signal.SIGTERM) is own


def test_a_command_that_is_ended_says_by_what_and_how_it_goes_on(
    capsys: pytest.CaptureFixture[str],
):
    @said_in_words
    def command() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == 1
    error = capsys.readouterr().err
    assert error.startswith("sam2ray: stopped: SIGTERM was received; what is committed stays")
