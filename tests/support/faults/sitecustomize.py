"""Units and moments that break things; every Python process with this folder on its path loads it.

A file whose bytes hold one of the words below makes the process that decodes it die, as a damaged
file may do to a decoder in C, or take its time; a video does
so at its fourth frame. Other faults happen once, to who gets there first
after a test has put a file of their name into the folder that ARMED_FAULTS names:
`kill-between-writes` to a process that has written a file of masks, before it copies the outcomes,
and `kill-in-a-task` to an actor that gets to the third batch of a task.
"""

import importlib
import importlib.util
import os
import sys
import time
from collections import Counter
from importlib.abc import MetaPathFinder
from pathlib import Path

DEADLY, SLOW, ENDLESS = b"this unit kills", b"this unit is slow", b"this unit never ends"


_WORD_BYTES = 32  # where the end of a file has one


def _break(data: bytes) -> None:
    if DEADLY in data:
        os.kill(os.getpid(), 9)
    if ENDLESS in data:
        time.sleep(3600)
    if SLOW in data:
        time.sleep(0.25)


def _die_if_armed(fault: str, done: str) -> None:
    """Die, and leave word of what was done last."""
    folder = os.environ.get("ARMED_FAULTS")
    if folder is None:
        return
    try:
        (Path(folder) / fault).unlink()  # of several processes one can do that
    except FileNotFoundError:
        return
    (Path(folder) / f"{fault}.done").write_text(done)
    os.kill(os.getpid(), 9)


def _wrap_decode() -> None:
    module = importlib.import_module("sam2ray.stages.decode")
    through = module.decode_picture

    def decode_picture(data, **options):
        _break(bytes(data))
        return through(data, **options)

    module.decode_picture = decode_picture


def _wrap_video() -> None:
    module = importlib.import_module("sam2ray.stages.clip_frames")
    through = module.BoundedVideoFile._decoded

    def decoded(self, container, stream):
        for number, frame in enumerate(through(self, container, stream)):
            if number == 3:
                _break(self.path.read_bytes()[-_WORD_BYTES:])
            yield frame

    module.BoundedVideoFile._decoded = decoded


def _wrap_copy() -> None:
    module = importlib.import_module("sam2ray.sinks.result_files")
    through = module.copy_outcomes

    def copy_outcomes(store, name, outcomes):
        _die_if_armed("kill-between-writes", name)
        through(store, name, outcomes)

    module.copy_outcomes = copy_outcomes


def _wrap_labeller() -> None:
    module = importlib.import_module("sam2ray.stages.make_labeller")
    ray = importlib.import_module("ray")
    through = module.make_labeller

    def make_labeller(*arguments, **options):
        label, batches = through(*arguments, **options), Counter()

        def label_or_die(prepared):
            task = ray.get_runtime_context().get_task_id()
            batches[task] += 1
            if batches[task] == 3:
                _die_if_armed("kill-in-a-task", "two batches")
            return label(prepared)

        return label_or_die

    module.make_labeller = make_labeller


# By the module that uses what is wrapped, so that it finds the wrapped one.
_WRAPS = {
    "sam2ray.stages.prepare": _wrap_decode,
    "sam2ray.stages.clips": _wrap_video,
    "sam2ray.sinks.commit": _wrap_copy,
    "sam2ray.processes": _wrap_labeller,
}


class _Finder(MetaPathFinder):
    """Wraps a function right before the module that uses it is imported."""

    def find_spec(self, name, path=None, target=None):
        wrap = _WRAPS.pop(name, None)
        if wrap is None:
            return None
        wrap()
        return importlib.util.find_spec(name)


sys.meta_path.insert(0, _Finder())
