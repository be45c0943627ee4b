"""An output -> which of its units a page shows, and how much there is of everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sam2_core.shipped import SHIPPED

from ..config_section import public_uri
from ..dataset import Dataset
from ..errors import UsageError
from ..kept_config import KeptConfig, kept_config
from ..manifest import row_groups
from ..outcomes import latest_outcomes
from ..records import OUTCOME_SCHEMA, UNIT_COLUMNS, Unit
from ..root import Standing, standing
from ..storage import Store
from ..unit_rows import unit_of

Row = dict[str, Any]

_COLUMNS = (
    *("unit_id", "source_uri", "member", "kind", "width", "height", "frames", "fps", "masks"),
    *("attempt", "status", "error_class", "error_message"),
)


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is in an output."""

    kept: KeptConfig
    standing: Standing
    masks: int  # of mode embed: embeddings

    @property
    def mode(self) -> str:
        """What was done with its archive."""
        return self.kept.config.mode

    @property
    def model(self) -> str:
        """By which model."""
        return self.kept.config.model.name


@dataclass(frozen=True, slots=True)
class Sample:
    """Some units of an output; which, their ids say, and these are digests: a fair sample."""

    overview: Overview
    good: tuple[Row, ...]  # as OUTCOME_SCHEMA has them, in the order of their names
    failed: tuple[Row, ...]
    units: Mapping[str, Unit]  # where those that are good were read from, by id


def sample_units(data: Dataset, most_good: int, most_failed: int) -> Sample:
    """Go once through all units that have ended; so many of them stay in memory."""
    schema = pa.schema([OUTCOME_SCHEMA.field(name) for name in _COLUMNS])
    good, failed, masks = schema.empty_table(), schema.empty_table(), 0
    for batch in data.units(_COLUMNS):
        table = pa.Table.from_batches([batch])
        is_ok = pc.field("status") == "ok"
        good = _with_lowest_ids(good, table.filter(is_ok), most_good)
        failed = _with_lowest_ids(failed, table.filter(~is_ok), most_failed)
        masks += sum(count or 0 for count in table["masks"].to_pylist())
    rows = _in_order(good)
    units = units_called(data.store, [row["unit_id"] for row in rows])
    return Sample(_overview(data, masks), rows, _in_order(failed), units)


def _overview(data: Dataset, masks: int) -> Overview:
    store = data.store
    try:
        kept = kept_config(store)
    except FileNotFoundError:
        kept = None
    if kept is None or not len(data):
        raise UsageError(
            f"{public_uri(store.uri)}: no unit has ended here yet, so there is nothing to show. "
            f"`sam2ray status {public_uri(store.uri)}` tells how far it is."
        )
    attempts = kept.config.limits.max_attempts
    return Overview(kept, standing(store, latest_outcomes(store), attempts), masks)


def _with_lowest_ids(kept: pa.Table, more: pa.Table, most: int) -> pa.Table:
    return pa.concat_tables([kept, more]).sort_by("unit_id").slice(0, most)


def _in_order(table: pa.Table) -> tuple[Row, ...]:
    rows = table.to_pylist()
    return tuple(sorted(rows, key=lambda row: (row["source_uri"], row["member"] or "")))


def units_called(store: Store, unit_ids: Sequence[str]) -> dict[str, Unit]:
    """Units of the manifest by their id, as far as it knows them."""
    found: dict[str, Unit] = {}
    is_wanted = pc.field("unit_id").isin(pa.array(unit_ids, pa.string()))
    for group in row_groups(store):
        # Prompts are most of a manifest: they are read where a unit is wanted.
        if len(group.read(["unit_id"]).filter(is_wanted)):
            for row in group.read(UNIT_COLUMNS.names).filter(is_wanted).to_pylist():
                found.setdefault(row["unit_id"], unit_of(row))
    return found


def modest_words(kept: Iterable[KeptConfig]) -> str | None:
    """That masks are those of the model that is only there to try things with."""
    digests = {digest: name for name, digest in SHIPPED.items()}
    names = sorted({digests[one.weights] for one in kept if one.weights in digests})
    if not names:
        return None
    return (
        f"The model {', '.join(names)} comes with the package to try things with: it is very "
        "small, and has seen made pictures and clips only. The published ones find far more in "
        "photographs and videos."
    )
