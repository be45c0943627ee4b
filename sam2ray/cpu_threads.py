"""How a process that holds a model computes on a CPU."""

from __future__ import annotations

import torch


def use_cpu_threads(count: int) -> None:
    """Compute with so many threads, none of which keeps numbers below 1e-38; a process's first act.

    Sharp attention is full of those, and a CPU multiplies them a hundred times slower than zeros:
    more than a third of a training's step. Threads that are begun later inherit this, those that
    are there do not.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(count)
