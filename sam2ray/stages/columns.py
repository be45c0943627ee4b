"""The columns that travel between the stages of a job; one row a unit from end to end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..records import OUTCOME_SCHEMA, UNIT_COLUMNS

TODO_SCHEMA = UNIT_COLUMNS.append(pa.field("attempt", pa.int32()))
"""What a run reads: units, and which attempt each is due."""

PREPARED_SCHEMA = pa.schema(
    [
        *TODO_SCHEMA,
        ("whole_uri", pa.string()),  # of a clip that its actor fetches; it goes no further
        ("pixels", pa.large_binary()),  # null for videos and for failed units
        ("pixel_type", pa.string()),  # numpy's name of the type
        ("pixel_shape", pa.list_(pa.int32())),
        ("is_resized", pa.bool_()),  # to the model's side; else these are the picture's own pixels
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("exif_orientation", pa.int32()),
        ("fetch_s", pa.float32()),
        ("decode_s", pa.float32()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("skipped", pa.bool_()),  # the run stops: no outcome is kept
    ]
)
"""What the fetching stage hands to the model."""

LABELLED_SCHEMA = pa.schema(
    [
        *OUTCOME_SCHEMA,
        ("rows", pa.large_binary()),  # an Arrow stream of results; null where there are none
        ("is_committed", pa.bool_()),  # a video has its file already
        ("skipped", pa.bool_()),
    ]
)
"""What the model hands to the sink."""


def pack_rows(rows: pa.Table) -> bytes:
    """A table as one value, so that no block can tear a unit."""
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, rows.schema) as stream:
        stream.write_table(rows)
    return buffer.getvalue().to_pybytes()


def unpack_rows(packed: pa.Buffer | bytes) -> pa.Table:
    """The table again, without copying."""
    return pa.ipc.open_stream(packed).read_all()


def bytes_of(column: pa.ChunkedArray) -> list[pa.Buffer | None]:
    """The values of a column of large_binary, where they lie: a scalar would be a copy of one."""
    return [value for chunk in column.chunks if len(chunk) for value in _bytes_of_chunk(chunk)]


def _bytes_of_chunk(chunk: pa.Array) -> list[pa.Buffer | None]:
    assert chunk.type == pa.large_binary(), chunk.type
    _, offsets, content = chunk.buffers()
    ends = np.frombuffer(offsets, np.int64)[chunk.offset :][: len(chunk) + 1].tolist()
    content = content or pa.py_buffer(b"")
    return [
        content.slice(start, end - start) if is_there else None
        for start, end, is_there in zip(ends, ends[1:], chunk.is_valid().to_pylist(), strict=False)
    ]
