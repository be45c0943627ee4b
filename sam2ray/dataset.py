"""An output -> its masks, units and embeddings as Arrow has them, without what no longer counts.

Nothing is ever read as a whole: every table comes as a stream of batches, file by file, with only
the columns and rows that are asked for. What is hidden: units that a newer version of their source
has superseded, and all but the last attempt of a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from .errors import UsageError
from .live_datasets import ArrowPlace, arrow_place, outcomes_dataset, results_dataset
from .live_units import LiveUnits, read_live_units, require_output
from .outcomes import outcome_tables
from .records import EMBEDDING_SCHEMA, MASK_SCHEMA, OUTCOME_SCHEMA
from .sinks.result_files import EMBEDDINGS, MASKS, RESULT_SCHEMAS
from .storage import Options, Store, local_path, open_store

_BATCHES_AHEAD, _FILES_AHEAD = 4, 2  # what a scan holds in memory
_HEX_DIGITS = 32
_SHOWN = 3


def open(uri: str, options: Options | None = None) -> Dataset:  # noqa: A001 sam2ray.open(OUT)
    """Open the output of a run, finished or not; `options` are fsspec's, by protocol.

    What is written to it later is not seen: open it again.
    """
    store = open_store(uri, options)
    require_output(store)
    return Dataset(store, arrow_place(store.uri, options or {}), read_live_units(store))


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """The results of an archive as they count today; made by `sam2ray.open`."""

    store: Store
    _place: ArrowPlace
    _live: LiveUnits

    def __repr__(self) -> str:
        return f"<sam2ray.Dataset {self.store.uri}: {len(self):,} units in {self._files():,} files>"

    def __len__(self) -> int:
        """Units that have ended, well or not."""
        return int(np.count_nonzero(self._live.counts))

    def _files(self) -> int:
        return len(self._live.names)

    def units(
        self, columns: Sequence[str] | None = None, where: pc.Expression | None = None
    ) -> pa.RecordBatchReader:
        """One row a unit that has ended, as OUTCOME_SCHEMA has it."""
        schema = _projected(OUTCOME_SCHEMA, columns)
        return pa.RecordBatchReader.from_batches(schema, self._unit_batches(schema, where))

    def failures(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The units without results, each with its error_class and error_message."""
        return self.units(columns, pc.field("status") == "failed")

    def masks(
        self, columns: Sequence[str] | None = None, where: pc.Expression | None = None
    ) -> pa.RecordBatchReader:
        """One row a mask, as MASK_SCHEMA has it; a unit's rows follow one another."""
        schema = _projected(MASK_SCHEMA, columns)
        return pa.RecordBatchReader.from_batches(schema, self._batches(MASKS, schema, where))

    def embeddings(
        self, columns: Sequence[str] | None = None, where: pc.Expression | None = None
    ) -> pa.RecordBatchReader:
        """One row a unit and frame, as EMBEDDING_SCHEMA has it."""
        schema = _projected(EMBEDDING_SCHEMA, columns)
        return pa.RecordBatchReader.from_batches(schema, self._batches(EMBEDDINGS, schema, where))

    def masks_dataset(self) -> pads.Dataset:
        """The rows of `masks` as a dataset of pyarrow; what its filter costs: live_datasets."""
        return results_dataset(self._live, self.store, self._place, MASKS)

    def embeddings_dataset(self) -> pads.Dataset:
        """The rows of `embeddings`, likewise."""
        return results_dataset(self._live, self.store, self._place, EMBEDDINGS)

    def units_dataset(self) -> pads.Dataset:
        """The rows of `units`, likewise."""
        return outcomes_dataset(self._live, self.store, self._place)

    def unit(self, unit: str, *, member: str | None = None) -> UnitResult:
        """Everything about one unit, by its unit_id or by where its source lies."""
        unit_id = unit if _is_id(unit) else self._id_at(unit, member)
        file = self._file_of(unit_id)
        (outcomes,) = outcome_tables(self.store, [self._live.names[file]])
        this_unit = pc.field("unit_id") == unit_id
        (outcome,) = outcomes.filter(this_unit).to_pylist()
        schema = RESULT_SCHEMAS[_folder(self._live.names[file])]
        batches = self._scan([file], schema, this_unit)
        return UnitResult(outcome, pa.Table.from_batches(batches, schema))

    def unit_masks(
        self,
        unit_id: str,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.RecordBatchReader:
        """The rows that `masks` has of one unit, from its own file alone, batch by batch."""
        file, schema = self._file_of(unit_id), _projected(MASK_SCHEMA, columns)
        this_unit = pc.field("unit_id") == unit_id
        batches: Iterator[pa.RecordBatch] = iter(())
        if _folder(self._live.names[file]) == MASKS:
            batches = self._scan([file], schema, this_unit if where is None else this_unit & where)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def by_unit(
        self, on_file: Callable[[int, int], None] = lambda _done, _of: None
    ) -> Iterator[tuple[dict[str, Any], Iterator[pa.RecordBatch]]]:
        """Each unit that has ended well, with its masks batch by batch, in one pass over all files.

        Batches are read before the next unit is asked for. `on_file` hears how many files are done.
        """
        names = self._live.names
        for file, table in enumerate(outcome_tables(self.store, names)):
            on_file(file, len(names))
            kept = table.filter(pa.array(self._live.kept_in(file)))
            ok = kept.filter(pc.field("status") == "ok").to_pylist()
            outcomes = {outcome["unit_id"]: outcome for outcome in ok}
            if _folder(names[file]) == MASKS:
                parts = _parts_of_units(self._scan([file], MASK_SCHEMA, None))
                for unit_id, batches in groupby(parts, key=_unit_id):
                    outcome = outcomes.pop(unit_id, None)
                    if outcome is not None:
                        yield outcome, batches
            yield from ((outcome, iter(())) for outcome in outcomes.values())
        on_file(len(names), len(names))

    def _file_of(self, unit_id: str) -> int:
        file = self._live.file_of(unit_id)
        if file is None:
            why = "was superseded" if self._live.is_superseded(unit_id) else "has not ended"
            raise UsageError(f"{self.store.uri}: unit {unit_id} {why}, or is of another output.")
        return file

    def _id_at(self, uri: str, member: str | None) -> str:
        local = local_path(uri)
        there = pc.field("source_uri").isin([uri] if local is None else [uri, str(local)])
        if member is not None:
            there &= pc.field("member") == member
        found = self.units(["unit_id"], there).read_all()["unit_id"].to_pylist()
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(f"{self.store.uri}: no unit of {uri!r} has ended here.")
        raise UsageError(
            f"{self.store.uri}: {uri!r} holds {len(found):,} units: name one by its unit_id "
            f"({', '.join(found[:_SHOWN])} ...), or give its member."
        )

    def _unit_batches(
        self, schema: pa.Schema, where: pc.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        names = self._live.names
        for file, table in enumerate(outcome_tables(self.store, names)):
            kept = table.filter(pa.array(self._live.kept_in(file)))
            chosen = kept if where is None else kept.filter(where)
            yield from chosen.select(schema.names).cast(schema).to_batches()

    def _batches(
        self, folder: str, schema: pa.Schema, where: pc.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        """Scan files one after another; those in which nothing is hidden many at a time."""
        own = [n for n, name in enumerate(self._live.names) if _folder(name) == folder]
        for whole, files in groupby(own, key=lambda n: bool(self._live.kept_in(n).all())):
            if whole:
                yield from self._scan(list(files), schema, where)
                continue
            for file in files:
                counts = ~pc.field("unit_id").isin(self._live.hidden_in(file))
                yield from self._scan([file], schema, counts if where is None else counts & where)

    def _scan(
        self, files: Sequence[int], schema: pa.Schema, where: pc.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        names = [self._live.names[file] for file in files]
        dataset = pads.dataset(
            [self._place.path(name) for name in names],
            schema=RESULT_SCHEMAS[_folder(names[0])],
            filesystem=self._place.system,
            format="parquet",
        )
        batches = dataset.to_batches(
            columns=schema.names,
            filter=where,
            batch_readahead=_BATCHES_AHEAD,
            fragment_readahead=_FILES_AHEAD,
        )
        return (batch for batch in batches if len(batch))


@dataclass(frozen=True, slots=True, eq=False)
class UnitResult:
    """One picture or clip: how it ended, and its rows; masks are decoded when asked for."""

    outcome: dict[str, Any]  # as OUTCOME_SCHEMA has it
    rows: pa.Table  # of masks, or of embeddings

    @property
    def frames(self) -> list[int]:
        """The frames of a clip that have rows; none for a picture."""
        return sorted(self.rows["frame_index"].unique().drop_null().to_pylist())

    def masks(self, frame: int | None = None) -> np.ndarray:
        """Masks as bool [N, H, W]; those of a clip frame by frame."""
        from ops import decode_run_lengths, from_coco_strings  # torch takes its time to load

        rows = self._rows_of(frame)
        if not len(rows):
            height, width = self.outcome["height"] or 0, self.outcome["width"] or 0
            return np.zeros((0, height, width), bool)
        height, width = rows["height"][0].as_py(), rows["width"][0].as_py()
        runs = from_coco_strings(rows["rle_counts"].to_pylist(), height, width)
        return decode_run_lengths(runs).numpy()

    def boxes(self, frame: int | None = None) -> np.ndarray:
        """Boxes as float32 [N, 4]: x, y, width, height."""
        boxes = self._rows_of(frame)["bbox_xywh"].to_pylist()
        return np.array(boxes, np.float32).reshape(-1, 4)

    def scores(self, frame: int | None = None) -> np.ndarray:
        """The model's own estimate of each mask's IoU, float32 [N]."""
        return self._rows_of(frame)["predicted_iou"].to_numpy()

    def object_ids(self, frame: int | None = None) -> list[int | None]:
        """Which object each mask is of; None in modes that know no objects."""
        return self._rows_of(frame)["object_id"].to_pylist()

    def labels(self, frame: int | None = None) -> list[str | None]:
        """What each mask is called: in mode semantic by its class, else as its prompt was."""
        return self._rows_of(frame)["label"].to_pylist()

    def _rows_of(self, frame: int | None) -> pa.Table:
        if "rle_counts" not in self.rows.column_names:
            raise UsageError(f"{self.outcome['source_uri']}: has embeddings, see `rows`.")
        if frame is not None:
            return self.rows.filter(pc.field("frame_index") == frame)
        if len(self.frames) > 1:
            raise UsageError(
                f"{self.outcome['source_uri']}: has masks on {len(self.frames):,} frames "
                f"({self.frames[0]} to {self.frames[-1]}): name one, as in masks(frame="
                f"{self.frames[0]})."
            )
        return self.rows


def _projected(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    if columns is None:
        return schema
    unknown = [name for name in columns if name not in schema.names]
    if unknown or isinstance(columns, str):
        wrong = columns if isinstance(columns, str) else unknown[0]
        raise UsageError(f"columns={wrong!r}: name some of {', '.join(schema.names)}, in a list.")
    return pa.schema([schema.field(name) for name in columns])


def _parts_of_units(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches where another unit begins."""
    for batch in batches:
        ids = batch.column("unit_id").dictionary_encode().indices.to_numpy()
        ends = [*(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
        for start, end in pairwise([0, *ends]):
            yield batch.slice(start, end - start)


def _unit_id(batch: pa.RecordBatch) -> str:
    return batch.column("unit_id")[0].as_py()


def _folder(name: str) -> str:
    return name.partition("/")[0]


def _is_id(text: str) -> bool:
    return len(text) == _HEX_DIGITS and not set(text) - set("0123456789abcdef")
