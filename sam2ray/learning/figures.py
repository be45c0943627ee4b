"""Figures of steps -> Parquet files beside the checkpoints, TensorBoard's events, and back.

A file holds the steps between two checkpoints and is named by them: a training that goes on from a
checkpoint writes the same files again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch.distributed

from ..parquet_tables import read_table
from ..storage import Store, local_path

FOLDER = "metrics"
EVENTS = "tensorboard"
_NAMES = (
    *("loss", "rate", "focal", "dice", "iou", "presence", "affinity", "edges", "alike_iou"),
    *("first_iou", "last_iou", "followed_iou", "gradient_norm", "seconds"),
    *("iou_1_clicks", "iou_3_clicks", "iou_5_clicks", "iou_box"),
    *("iou_best_of_three", "quality_correlation", "quality_correlation_three"),
    *("cross_entropy", "class_iou", "miou"),
    *("lost", "j_and_f"),
)
SCHEMA = pa.schema(
    [
        ("stage", pa.string()),
        ("stage_number", pa.int32()),
        ("step", pa.int64()),
        ("kind", pa.string()),
        ("skipped", pa.list_(pa.string())),
        *((name, pa.float64()) for name in _NAMES),
    ]
)
"""One row a step; null is what a step has not."""

Figures = Mapping[str, Any]


def write_figures(store: Store, rows: Sequence[Figures]) -> None:
    """Write the rows since the last checkpoint."""
    first, last = rows[0], rows[-1]
    table = pa.Table.from_pylist([dict(row) for row in rows], SCHEMA)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    name = f"{FOLDER}/{first['stage_number']:02d}-{first['step']:08d}-{last['step']:08d}.parquet"
    store.put(name, file.getvalue())


def gathered(rows: list[dict[str, Any]], workers: int) -> list[dict[str, Any]]:
    """The rows of all workers, step by step: means of what they have, and all they skipped."""
    everyones: list[list[dict[str, Any]]] = [[] for _ in range(workers)]
    torch.distributed.all_gather_object(everyones, rows)
    return [together(of_step) for of_step in zip(*everyones, strict=True)]


def together(rows: Sequence[Figures]) -> dict[str, Any]:
    """Rows of one step as one."""
    merged = dict(rows[0])
    for name in _NAMES:
        values = [row[name] for row in rows if row.get(name) is not None]
        known = [value for value in values if value == value]
        if values:
            merged[name] = sum(known) / len(known) if known else float("nan")
    merged["skipped"] = [text for row in rows for text in row["skipped"]]
    return merged


def figure_files(store: Store) -> list[str]:
    """The files so far, in the order of their steps."""
    return sorted(entry.name for entry in store.list(FOLDER))


def read_figure_file(store: Store, name: str) -> pa.Table:
    """The rows between two checkpoints."""
    table = read_table(io.BytesIO(store.read(name)))
    for field in SCHEMA:
        if field.name not in table.schema.names:  # the file is older
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(SCHEMA.names).cast(SCHEMA)


def read_figures(store: Store) -> Iterator[pa.Table]:
    """All rows in their order; steps that were done twice, once."""
    reached = (-1, -1)
    for name in figure_files(store):
        table = read_figure_file(store, name)
        places = zip(table["stage_number"].to_pylist(), table["step"].to_pylist(), strict=True)
        known = sum(place <= reached for place in places)
        if known < len(table):
            yield table.slice(known)
            reached = (table["stage_number"][-1].as_py(), table["step"][-1].as_py())


class Events:
    """TensorBoard's files, where it is installed and the output is a local folder."""

    def __init__(self, uri: str, first_step: int) -> None:
        self._writer: Any = None
        path = local_path(uri)
        if path is None:
            return
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:  # it is not among what sam2ray needs
            return
        self._writer = SummaryWriter(str(path / EVENTS), purge_step=first_step)

    def write(self, rows: Sequence[Figures], steps_before: int) -> None:
        """Add rows of a stage that began after so many steps."""
        if self._writer is None:
            return
        for row in rows:
            for name in _NAMES:
                if row.get(name) is not None:
                    tag = f"{row['stage']}/{name}"
                    self._writer.add_scalar(tag, row[name], steps_before + row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
