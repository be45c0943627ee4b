"""Rows of masks or embeddings -> one Parquet file whose footer says which units it holds.

The file is the commit: a unit is done if, and only if, a result file lists it. Its rows of outcomes
are copied beside it afterwards, so that engines can read them; a copy that is missing is made again
from the footer (see outcomes).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import StorageError
from ..own_folder import OwnFolder
from ..publishing import StillMine
from ..records import EMBEDDING_SCHEMA, MASK_SCHEMA, OUTCOME_SCHEMA, SCHEMA_VERSION, digest
from ..storage import Store

MASKS, EMBEDDINGS, UNITS = "masks", "embeddings", "units"
RESULT_SCHEMAS = {MASKS: MASK_SCHEMA, EMBEDDINGS: EMBEDDING_SCHEMA}

_FOOTER_UNITS = b"sam2ray.units"
_FOOTER_VERSION = b"sam2ray.schema_version"
_ROW_GROUP_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class ResultPlace:
    """Where a run puts its files."""

    store: Store
    folder: str  # MASKS or EMBEDDINGS
    run_id: str

    def name_of(self, unit_ids: Sequence[str], attempts: Sequence[int], part: int = 0) -> str:
        """The file of these units: the same for the same units, whoever writes it again.

        Units that do not fit into one file have further parts.
        """
        name = digest(sorted(zip(unit_ids, attempts, strict=True)))[:20]
        return f"{self.folder}/{self.run_id}-{name}{f'-{part}' if part else ''}.parquet"


class ResultFile:
    """A file in the making: it grows on the local disk, and appears at once when it is whole.

    Used as a context: leaving it without `commit` leaves nothing behind.
    """

    def __init__(self, place: ResultPlace, *, compression: str = "zstd") -> None:
        self._place = place
        self._schema = RESULT_SCHEMAS[place.folder]
        self._folder = OwnFolder()
        self._path = self._folder.path / "result.parquet"
        self._writer = pq.ParquetWriter(
            self._path, self._schema, compression=compression, write_page_checksum=True
        )
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self.rows = 0

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
        self._folder.close()

    def add(self, rows: pa.Table) -> None:
        """Take rows; they go to the disk in row groups of some size."""
        self._waiting.append(rows.cast(self._schema))
        self._waiting_bytes += rows.nbytes
        self.rows += len(rows)
        if self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._waiting_bytes = [], 0

    def commit(
        self,
        outcomes: pa.Table,
        *,
        still_mine: StillMine,
        name: str | None = None,
        is_new: bool = False,
    ) -> str:
        """Close the file, make it visible in one step, and copy its outcomes beside it.

        `still_mine` is asked right before the step. What is there under this name stays: somebody
        wrote it who died before the copy was made. `is_new` says that the caller has looked.
        """
        self._flush()
        outcomes = outcomes.cast(OUTCOME_SCHEMA)
        footer = {_FOOTER_UNITS: _packed(outcomes), _FOOTER_VERSION: SCHEMA_VERSION.encode()}
        self._writer.add_key_value_metadata(footer)
        self._writer.close()
        ids, attempts = outcomes["unit_id"].to_pylist(), outcomes["attempt"].to_pylist()
        store, name = self._place.store, name or self._place.name_of(ids, attempts)
        if not is_new and store.exists(name):
            outcomes = read_outcomes(store, name)  # of another attempt at the same, as it ended
        else:
            store.publish(name, self._path, still_mine)
        copy_outcomes(store, name, outcomes)
        return name


def copy_outcomes(store: Store, result_name: str, outcomes: pa.Table) -> None:
    """Write the outcomes of a result file where engines look for them."""
    buffer = pa.BufferOutputStream()
    pq.write_table(outcomes, buffer, compression="zstd")
    store.put(units_name(result_name), buffer.getvalue().to_pybytes())


def units_name(result_name: str) -> str:
    """The name of the copy of a result file's outcomes."""
    return f"{UNITS}/{result_name.partition('/')[2]}"


def read_outcomes(store: Store, result_name: str) -> pa.Table:
    """The outcomes that a result file lists in its footer."""
    try:
        with store.open(result_name) as file:
            metadata = pq.read_metadata(file).metadata or {}
    except pa.ArrowInvalid as error:
        raise StorageError(
            f"{store.uri_of(result_name)}: is no Parquet file, or a torn one ({error}). Move it "
            "out of the output, and run the same command again; `sam2ray verify "
            f"{store.uri}` says what else is wrong."
        ) from error
    packed = metadata.get(_FOOTER_UNITS)
    if packed is None:
        raise StorageError(
            f"{store.uri_of(result_name)}: lists no units, so sam2ray did not write it. Move it "
            "out of the output."
        )
    found = metadata.get(_FOOTER_VERSION, b"?").decode()
    if found.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise StorageError(
            f"{store.uri_of(result_name)}: has schema {found}, this is a sam2ray for "
            f"{SCHEMA_VERSION}. Use the release that wrote it, or another output."
        )
    return _unpacked(packed)


def _packed(outcomes: pa.Table) -> bytes:
    """A table as text: footers hold strings, and other readers expect them to be."""
    buffer = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(buffer, outcomes.schema, options=options) as stream:
        stream.write_table(outcomes)
    return base64.b64encode(buffer.getvalue().to_pybytes())


def _unpacked(packed: bytes) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(packed)).read_all()
