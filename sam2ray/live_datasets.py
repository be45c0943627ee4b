"""An output -> pyarrow datasets whose filter passes over the rows that do not count.

The filter names units, so that whatever scans a dataset (DuckDB, pandas, Arrow itself) gets the
same rows. It takes memory: 32 characters for each unit that was superseded, and in that of units
for each attempt that another one followed; batches (Dataset.masks) do without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from .errors import UsageError
from .live_units import LiveUnits
from .outcomes import outcome_tables
from .packed import Rows, first_places, hex_ids, is_in
from .parquet_tables import let_readers_end
from .records import OUTCOME_SCHEMA
from .sinks.result_files import RESULT_SCHEMAS, UNITS, units_name
from .storage import Options, Store, file_system, local_path


@dataclass(frozen=True, slots=True, eq=False)
class ArrowPlace:
    """A store as Arrow's scanners know it."""

    system: Any  # of pyarrow or of fsspec, which has no types
    root: str

    def path(self, name: str) -> str:
        """The path of a file of the store."""
        return f"{self.root.rstrip('/')}/{name}"


def arrow_place(uri: str, options: Options) -> ArrowPlace:
    """Where an output lies."""
    path = local_path(uri)
    if path is not None:
        return ArrowPlace(pafs.LocalFileSystem(), str(path))
    let_readers_end()
    system = file_system(uri, options)
    return ArrowPlace(system, system._strip_protocol(uri))


def results_dataset(live: LiveUnits, store: Store, place: ArrowPlace, folder: str) -> pads.Dataset:
    """Rows of masks, or of embeddings, that count."""
    files = [n for n in _files_that_count(live) if live.names[n].startswith(f"{folder}/")]
    superseded, followed = _gone(live, files)
    _refuse_repeated(live, store, followed[followed["is_ok"] == 1])  # others have no rows
    names = [live.names[file] for file in files]
    return _scanned(place, names, RESULT_SCHEMAS[folder]).filter(~_is_one_of(superseded))


def outcomes_dataset(live: LiveUnits, store: Store, place: ArrowPlace) -> pads.Dataset:
    """One row a unit, of its latest attempt; rows whose copy is lost come from the footers."""
    files = _files_that_count(live)
    superseded, followed = _gone(live, files)
    latest = live.rows[first_places(live.rows, followed)]
    _refuse_repeated(live, store, followed[followed["attempt"] == latest["attempt"]])
    copies = {entry.name for entry in store.list(UNITS)}
    results = [live.names[file] for file in files]
    kept = [units_name(name) for name in results if units_name(name) in copies]
    lost = [name for name in results if units_name(name) not in copies]
    dataset = _scanned(place, kept, OUTCOME_SCHEMA)
    if lost:
        tables = [table.cast(OUTCOME_SCHEMA) for table in outcome_tables(store, lost)]
        dataset = pads.dataset([dataset, pads.dataset(pa.concat_tables(tables))])
    attempts = np.unique(followed["attempt"]).tolist()
    earlier = (
        (pc.field("attempt") == number) & _is_one_of(followed[followed["attempt"] == number])
        for number in attempts
    )
    return dataset.filter(~reduce(or_, earlier, _is_one_of(superseded)))


def _files_that_count(live: LiveUnits) -> list[int]:
    return [file for file in range(len(live.names)) if live.kept_in(file).any()]


def _gone(live: LiveUnits, files: Sequence[int]) -> tuple[Rows, Rows]:
    """Outcomes that do not count: of superseded units, and those that another one followed."""
    gone = live.gone[np.isin(_files_of(live, live.gone), files)]
    is_superseded = is_in(gone, live.superseded)
    return gone[is_superseded], gone[~is_superseded]


def _files_of(live: LiveUnits, rows: Rows) -> np.ndarray:
    return np.searchsorted(live.offsets, rows["place"], side="right") - 1


def _scanned(place: ArrowPlace, names: Sequence[str], schema: pa.Schema) -> pads.Dataset:
    if not names:
        return pads.dataset(schema.empty_table())
    paths = [place.path(name) for name in names]
    return pads.dataset(paths, schema=schema, filesystem=place.system, format="parquet")


def _is_one_of(rows: Rows) -> pc.Expression:
    return pc.field("unit_id").isin(pa.array(hex_ids(rows), pa.string()))


def _refuse_repeated(live: LiveUnits, store: Store, rows: Rows) -> None:
    """Refuse rows that another file has as well: no filter can tell the one from the other."""
    if len(rows):
        file = int(_files_of(live, rows[:1])[0])
        raise UsageError(
            f"{store.uri_of(live.names[file])}: repeats units of other files, which no filter can "
            "tell apart. Read batches, as masks() and units() give them, or what "
            f"`sam2ray compact {store.uri} NEW_ROOT` makes of it."
        )
