"""Tables of detections, a row a box -> prompts under the names that a column gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from ...storage import Entry, Options
from ..cells import as_text
from ..tables import read_chunks, row_name
from .columns import PromptColumns
from .matching import NamedPrompts


def detection_prompts(
    entry: Entry,
    uri_column: str,
    columns: PromptColumns,
    options: Options,
    late: frozenset[str] = frozenset(),
) -> Iterator[NamedPrompts]:
    """Prompts of one table, consecutive rows of one file together."""
    for chunk in read_chunks(entry, [uri_column, *columns.names], options, late):
        numbered = enumerate(chunk.rows, chunk.first_row)
        for name, rows in groupby(numbered, lambda item: as_text(item[1].get(uri_column))):
            if name is None:
                continue
            prompts = [
                prompt
                for number, row in rows
                for prompt in columns.prompts_of(row, row_name(entry, number))
            ]
            if prompts:
                yield NamedPrompts(name, tuple(prompts))
