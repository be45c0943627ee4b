"""Ray Data's executor, kept from looking around without a pause.

While nothing is to be started and nobody takes what is made, its loop in Ray 2.60 has nothing to
wait for, and turns as fast as it can: half of a core, in a thread of the process that learns.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

_PAUSE_S = 0.02  # nothing to who makes blocks for a second each


class Unhurried(ExecutionCallback):
    """Pauses after each look."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:  # noqa: ARG002
        """Let others have the interpreter."""
        time.sleep(_PAUSE_S)
