"""What became of a unit -> the row that leaves the actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..records import OUTCOME_SCHEMA, Failure
from .columns import LABELLED_SCHEMA

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every outcome of a run says."""

    model: str
    config_id: str
    run_id: str


def outcome_row(row: Row, stamp: Stamp, failure: Failure | None = None, **found: object) -> Row:
    """A unit's row with what was found out about it; without a failure it is ok."""
    return {
        **{name: row.get(name) for name in OUTCOME_SCHEMA.names},
        "etag": row["version"],
        "model": stamp.model,
        "config_id": stamp.config_id,
        "run_id": stamp.run_id,
        "masks": 0,
        "status": "ok" if failure is None else "failed",
        "error_class": None if failure is None else failure.error_class.value,
        "error_message": None if failure is None else failure.message,
        "retryable": None if failure is None else failure.error_class.retryable,
        "rows": None,
        "is_committed": False,
        "skipped": False,
        **found,
    }


def labelled_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as they travel to the sink."""
    arrays = [pa.array([row[field.name] for row in rows], field.type) for field in LABELLED_SCHEMA]
    return pa.table(arrays, schema=LABELLED_SCHEMA)
