"""Everything that a labeller needs around it, for real but for Ray: ledger, store and lease."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco

from sam2_core import Sam2
from sam2ray.config import JobConfig
from sam2ray.ledger import Ledger, Process
from sam2ray.parquet_tables import read_table
from sam2ray.readers.prompts.fields import prompts_text
from sam2ray.readers.sources import open_source
from sam2ray.records import EMBEDDING_SCHEMA, MASK_SCHEMA, Unit
from sam2ray.sinks.commit import Committer
from sam2ray.sinks.result_files import EMBEDDINGS, MASKS, ResultPlace
from sam2ray.stages.columns import PREPARED_SCHEMA, unpack_rows
from sam2ray.stages.hands import Hands
from sam2ray.stages.make_labeller import make_labeller
from sam2ray.stages.outcome_rows import Stamp
from sam2ray.storage import LocalStore
from sam2ray.unit_rows import unit_table

RUN = "run"


def ledger() -> Ledger:
    """A ledger whose nodes are all there."""
    return Ledger(lambda _: True, stop_window=200, max_failed_fraction=0.5, actors=1)


@dataclass
class Bench:
    """A labeller as an actor has it, and what it leaves in the store."""

    model: Sam2
    folder: Path
    settings: Mapping[str, Any]
    ledger: Ledger = field(default_factory=ledger)
    pid: int = 1
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        given = {"source": {"uri": "x"}, "output": {"uri": str(self.folder)}}
        for name, value in self.settings.items():
            given[name] = given.get(name, {}) | value if isinstance(value, dict) else value
        self.config = JobConfig.model_validate(given)
        self.store = LocalStore(self.folder)
        table = EMBEDDINGS if self.config.mode == "embed" else MASKS
        self.place = ResultPlace(self.store, table, RUN)
        self.committer = Committer(self.place, 0, 256, 1 << 28, "zstd")
        self.hands = Hands(self.ledger, Process("node", self.pid, "label"), self.timeout_s)
        stamp = Stamp("test", "config", RUN)
        self.labeller = make_labeller(self.config, self.model, self.hands, stamp, self.committer)

    def label(self, units: Sequence[Unit], **columns: Sequence[object]) -> list[dict[str, Any]]:
        """The rows that come out, with what the units' results are under `found`."""
        out = self.labeller(prepared(units, **columns)).to_pylist()
        assert [row["unit_id"] for row in out] == [unit.unit_id for unit in units]
        return [row | {"found": self.found(row)} for row in out]

    def found(self, row: Mapping[str, Any]) -> pa.Table:
        """Masks or embeddings of a unit, from wherever they went."""
        if row["rows"] is not None:
            return unpack_rows(row["rows"])
        if row["is_committed"]:
            with self.store.open(self.name_of(row)) as file:
                return read_table(file)
        schema = EMBEDDING_SCHEMA if self.config.mode == "embed" else MASK_SCHEMA
        return schema.empty_table()

    def name_of(self, row: Mapping[str, Any]) -> str:
        """The file of a video."""
        return self.place.name_of([row["unit_id"]], [row["attempt"]])

    def files(self) -> list[str]:
        """All that was committed."""
        return sorted(entry.name for entry in self.store.list())


def prepared(units: Sequence[Unit], **columns: Sequence[object]) -> pa.Table:
    """Units as the step before hands them over."""
    table = unit_table(units).append_column("attempt", pa.array([1] * len(units), pa.int32()))
    for spec in list(PREPARED_SCHEMA)[len(table.schema) :]:
        values = columns.get(spec.name, [None] * len(units))
        table = table.append_column(spec, pa.array(values, spec.type))
    return table.cast(PREPARED_SCHEMA)


def units_of(uri: Path | str, kind: str = "auto") -> list[Unit]:
    """Units of a source as the listing finds them."""
    return [unit for unit in open_source(str(uri), kind=kind).all_units() if isinstance(unit, Unit)]


def prompts(*fields: Mapping[str, Any]) -> str:
    """The prompts of a unit, as its column has them."""
    text = prompts_text(dict(one) for one in fields)
    assert text is not None
    return text


def masks_of(table: pa.Table) -> np.ndarray:
    """Rows of masks as pixels."""
    rows = table.select(["height", "width", "rle_counts"]).to_pylist()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation")  # pycocotools' own
        masks = [
            coco.decode({"size": [row["height"], row["width"]], "counts": row["rle_counts"]})
            for row in rows
        ]
    return np.array(masks, bool)
