"""Numbers next to nothing are nothing, in each thread that computes."""

from __future__ import annotations

import subprocess
import sys

_COUNT = """
import threading
import torch
from sam2ray.cpu_threads import use_cpu_threads

def lost(count):
    nearly = torch.full((count,), 1 << 20, dtype=torch.int32).view(torch.float32)  # 1.5e-39
    return int(((nearly * 0.5).view(torch.int32) == 0).sum())

found = [lost(8)]  # too short for a second thread to begin
use_cpu_threads(2)
found.append(lost(1 << 22))  # long enough for all threads
thread = threading.Thread(target=lambda: found.append(lost(1 << 22)))
thread.start()
thread.join()
print(torch.get_num_threads(), *found)
"""


def test_no_thread_keeps_what_is_next_to_nothing() -> None:
    # A process of its own: threads that were begun before stay as they were.
    told = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["2", "0", str(1 << 22), str(1 << 22)]
