"""How much memory something allocates at most, in a process where nothing else runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Tracing is never stopped: Python up to 3.12.8 crashes where that meets an allocation of a native
# thread, such as those of Arrow and of event loops. So each measurement has a process of its own,
# which leaves without a farewell: Arrow's threads, traced as they are, may not survive Python's.
_FRAME = """
import os, sys, tracemalloc
import pyarrow as pa
{script}
run(*sys.argv[1:])  # loads what is loaded once
arrow = pa.total_allocated_bytes()
tracemalloc.start()
run(*sys.argv[1:])
peak = tracemalloc.get_traced_memory()[1] + max(0, pa.default_memory_pool().max_memory() - arrow)
print(peak, flush=True)
os._exit(0)
"""


def peak_bytes(script: str, *arguments: object) -> int:
    """The most that Python and Arrow hold while `run`, which the script defines, runs again."""
    folders = (Path(__file__).parents[2], Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", _FRAME.format(script=script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
