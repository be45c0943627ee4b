"""Work in another thread: in order, bounded, and with its errors where somebody sees them."""

from __future__ import annotations

import threading

import pytest

from sam2ray.stages.packing import PackingThread


def test_work_is_done_in_order_and_finish_waits_for_it():
    queue, done = PackingThread().queue(), []
    for number in range(300):
        queue.put(lambda number=number: done.append(number))
    queue.finish()
    assert done == list(range(300))


def test_whoever_brings_work_goes_on_until_too_much_waits():
    queue, go_on, begun = PackingThread().queue(), threading.Event(), threading.Event()
    brought = []

    def bring() -> None:
        for number in range(200):
            queue.put(go_on.wait)
            brought.append(number)
        begun.set()

    thread = threading.Thread(target=bring)
    thread.start()
    assert not begun.wait(0.5)
    assert 0 < len(brought) < 200
    go_on.set()
    assert begun.wait(60)
    thread.join()
    queue.finish()


def test_an_error_comes_out_at_the_end_of_its_own_queue():
    thread = PackingThread()
    broken, sound = thread.queue(), thread.queue()

    def fail() -> None:
        raise OSError(28, "No space left on device")

    broken.put(fail)
    sound.put(lambda: None)
    sound.finish()
    with pytest.raises(OSError, match="No space"):
        broken.finish()


def test_work_that_is_given_up_is_not_done():
    queue, go_on, done = PackingThread().queue(), threading.Event(), []
    queue.put(go_on.wait)
    for number in range(10):
        queue.put(lambda number=number: done.append(number))
    threading.Timer(0.2, go_on.set).start()
    queue.give_up()
    assert done == []
    queue.finish()
