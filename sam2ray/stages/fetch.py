"""A unit's bytes, with patience for stores that are busy, and a reason where they do not come."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnitFailed
from ..patience import Patience, classify, patiently, said_without_secrets

PIECE_BYTES = 16 << 20  # of a video
MOST_IN_MEMORY = 2 << 30  # of a video that only comes in one piece


def fetch(read: Callable[[], bytes], patience: Patience) -> bytes:
    """What `read` gives, asked again where another try may help."""
    return patiently(read, patience, _failure)


def _failure(error: Exception, attempts: int) -> UnitFailed:
    """Every store has errors of its own; a unit's end is its row."""
    return UnitFailed(classify(error), said_without_secrets(error, attempts))
