"""Rows of outcomes and of masks, with honest defaults."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from sam2ray.records import MASK_SCHEMA, OUTCOME_SCHEMA, digest


def unit_id(name: object) -> str:
    """A digest that belongs to a name."""
    return digest(["unit", name])


def outcome(name: object, *, attempt: int = 1, error_class: str | None = None, masks: int = 0):
    """One unit's row."""
    row = dict.fromkeys(OUTCOME_SCHEMA.names)
    return row | {
        "unit_id": unit_id(name),
        "source_uri": f"/archive/{name}.jpg",
        "kind": "image",
        "attempt": attempt,
        "masks": masks,
        "status": "ok" if error_class in (None, "partial") else "failed",
        "error_class": error_class,
        "user": [],
    }


def outcome_table(rows: Sequence[dict]) -> pa.Table:
    """Rows as the table that result files list in their footer."""
    return pa.Table.from_pylist(list(rows), schema=OUTCOME_SCHEMA)


def mask_rows(name: object, count: int = 1) -> pa.Table:
    """Masks of one unit: each is the first pixel of four."""
    row = dict.fromkeys(MASK_SCHEMA.names)
    row |= {"unit_id": unit_id(name), "height": 2, "width": 2, "rle_counts": "013", "area": 1}
    return pa.Table.from_pylist([row] * count, schema=MASK_SCHEMA)
