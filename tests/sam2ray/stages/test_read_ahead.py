"""Frames that a thread reads: same frames, same errors, bounded, and no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from sam2_core import FrameSourceError
from sam2_core.inference.frame_sources import FrameSource, PictureList
from sam2ray.errors import UnitFailed
from sam2ray.records import ErrorClass
from sam2ray.stages.clip_frames import BrokenClip
from sam2ray.stages.read_ahead import ReadAhead


def picture(number: int, side: int = 4) -> np.ndarray:
    return np.full((side, side, 3), number % 256, np.uint8)


class Numbers(FrameSource):
    """Frames that count how many were made, and break where they are told."""

    def __init__(self, length: int, error: Exception | None = None, side: int = 4) -> None:
        super().__init__("Numbers")
        self.made = 0
        self._length, self._error, self._side = length, error, side

    def length(self) -> int:
        return self._length

    def fetch(self, indices: range) -> Iterator[np.ndarray]:
        for index in indices:
            if self._error is not None and index == self._length - 1:
                raise self._error
            self.made += 1
            yield picture(index, self._side)


def numbers(frames) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in frames]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline = time.monotonic() + 5
    while readers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not readers()


def settled(source: Numbers) -> int:
    """How many frames were made once nothing moves any more."""
    before = -1
    while before != source.made:
        before = source.made
        time.sleep(0.05)
    return before


@pytest.mark.parametrize(
    "indices", [range(30), range(29, -1, -1), range(3, 30, 4), range(7, 8), range(0)]
)
def test_frames_are_those_of_the_source_in_its_order(indices):
    ahead = ReadAhead(PictureList([picture(n) for n in range(30)]))
    assert numbers(ahead.read(indices)) == list(indices)
    assert ahead.length() == 30
    assert ahead.size_hw() == (4, 4)


def test_only_so_many_frames_are_ahead():
    source = Numbers(100)
    reading = ReadAhead(source, most_frames=5).read(range(100))
    next(reading)
    assert settled(source) == 1 + 5 + 1  # taken, waiting, and in the thread's hand
    next(reading)
    assert settled(source) == 8
    reading.close()


def test_only_so_many_bytes_are_ahead_but_always_one_frame():
    large = Numbers(100, side=100)
    reading = ReadAhead(large, most_bytes=3 * 30_000).read(range(100))
    next(reading)
    assert settled(large) == 1 + 3 + 1
    reading.close()
    larger = Numbers(100, side=100)
    assert numbers(ReadAhead(larger, most_bytes=1).read(range(50))) == list(range(50))


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (FrameSourceError("gone"), None),
        (BrokenClip(UnitFailed(ErrorClass.THROTTLED, "slow down")), ErrorClass.THROTTLED),
        (UnitFailed(ErrorClass.CORRUPT, "no picture"), ErrorClass.CORRUPT),
        (MemoryError(), ErrorClass.OOM),
        (KeyError("a bug"), ErrorClass.INTERNAL),
    ],
)
def test_an_error_comes_behind_the_frames_before_it(error, error_class):
    reading = ReadAhead(Numbers(20, error)).read(range(20))
    assert numbers(next(reading) for _ in range(19)) == list(range(19))
    with pytest.raises(FrameSourceError) as caught:
        next(reading)
    if error_class is not None:
        assert caught.value.failure.error_class is error_class


def test_a_reading_that_is_left_early_ends_its_thread():
    reading = ReadAhead(Numbers(1000)).read(range(1000))
    next(reading)
    assert readers()
    reading.close()


def test_an_end_stops_all_readings_and_is_no_loss():
    ahead = ReadAhead(Numbers(1000), most_frames=2)
    one, other = ahead.read(range(1000)), ahead.read(range(500, 1000))
    next(one), next(other)
    ahead.end()
    assert len(list(one)) + len(list(other)) == 0
    assert list(ahead.read(range(5))) == []
    ahead.refuse_loss()


def test_readings_of_one_source_do_not_disturb_each_other():
    ahead = ReadAhead(Numbers(50))
    pairs = zip(ahead.read(range(50)), ahead.read(range(49, -1, -1)), strict=True)
    assert [(int(a[0, 0, 0]), int(b[0, 0, 0])) for a, b in pairs] == [
        (number, 49 - number) for number in range(50)
    ]


def test_seconds_of_reading_and_of_waiting_are_told_apart():
    class Slow(Numbers):
        def fetch(self, indices: range) -> Iterator[np.ndarray]:
            for frame in super().fetch(indices):
                time.sleep(0.02)
                yield frame

    ahead = ReadAhead(Slow(10))
    reading = ahead.read(range(10))
    next(reading)
    time.sleep(0.5)  # meanwhile all the others are read
    list(reading)
    assert ahead.read_s >= 10 * 0.02
    assert ahead.waited_s < 0.15
