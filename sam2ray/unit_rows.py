"""Units <-> rows of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from .records import UNIT_COLUMNS, Unit

WHOLE_URI = "whole_uri"


def unit_table(units: Sequence[Unit]) -> pa.Table:
    """Units as rows of a manifest."""
    contents = [unit.content_id for unit in units]  # a digest costs more than all the rest
    made: dict[str, list[Any]] = {
        "content_id": contents,
        "unit_id": [u.unit_id if u.repeat else c for u, c in zip(units, contents, strict=True)],
        "user": [list(unit.user.items()) for unit in units],
    }
    names = UNIT_COLUMNS.names
    columns = [made.get(n) or [getattr(unit, n) for unit in units] for n in names]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, UNIT_COLUMNS, strict=True)]
    return pa.table(arrays, schema=UNIT_COLUMNS)


def unit_of(row: dict[str, Any]) -> Unit:
    """The unit that a row of a manifest describes."""
    fields = {name: row[name] for name in Unit.__dataclass_fields__ if name != WHOLE_URI}
    fields[WHOLE_URI] = row.get(WHOLE_URI)  # no manifest has it, but what is on its way to a fetch
    return Unit(**{**fields, "user": dict(row["user"] or [])})
