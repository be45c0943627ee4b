"""Ray Data's way to the committer; its processes load no torch, so that commits begin at once."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from ray.actor import ActorHandle
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from .ray_ledger import RayLedger
from .sinks.commit import Committer


class CommitSink(Datasink[int]):
    """Commits what tasks of Ray Data bring together."""

    def __init__(self, committer: Committer, ledger: ActorHandle, units_per_write: int) -> None:
        self._committer = committer
        self._ledger = ledger
        self._units_per_write = units_per_write

    def write(self, blocks: Any, ctx: Any) -> int:  # noqa: ANN401, ARG002 as Ray declares them
        """Commit what came together; how many units it were."""
        tables = [_as_table(block) for block in blocks]
        return self._committer.commit(pa.concat_tables(tables), RayLedger(self._ledger))

    @property
    def min_rows_per_write(self) -> int:
        """As many units as a file should hold."""
        return self._units_per_write

    def get_name(self) -> str:
        """What progress bars call it."""
        return "Commit"


def _as_table(block: Block) -> pa.Table:
    return BlockAccessor.for_block(block).to_arrow()
