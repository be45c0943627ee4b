"""What a compaction made of an output, as a table."""

from __future__ import annotations

from rich.table import Table

from .compact import Compacted
from .dry_run import in_bytes
from .tables import two_columns


def compact_table(uri: str, made: Compacted) -> Table:
    """What `sam2ray compact` shows."""
    unmarked = "no, as the old output is not: a run on the new one goes on"
    rows = [
        ("units", f"{made.units:,}"),
        ("masks", f"{made.masks:,}, read again and the same as before"),
        ("files", f"{made.files_before:,} -> {made.files_after:,}"),
        ("size", f"{in_bytes(made.bytes_before)} -> {in_bytes(made.bytes_after)}"),
        ("complete", "yes" if made.is_complete else unmarked),
    ]
    return two_columns(uri, rows)
