"""What a listing found and added, as a table; and what it means for the mark of completeness."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from .manifest import Listed, Merged
from .outcomes import latest_outcomes
from .report import counted, late_in_words
from .root import SUCCESS, standing
from .storage import Store
from .tables import two_columns


def index_table(uri: str, listed: Listed, merged: Merged) -> Table:
    """What `sam2ray index` shows."""
    return two_columns(uri, _rows(listed, merged))


def _rows(listed: Listed, merged: Merged) -> Iterator[tuple[str, str]]:
    yield "listed", f"{listed.units:,}"
    yield "added", f"{merged.added:,}"
    yield "of these superseding", f"{merged.superseding:,}"
    yield "known", f"{merged.known:,}"
    if merged.duplicates:
        yield "listed twice", f"{merged.duplicates:,}"
    if listed.unchanged:
        yield "unchanged shards", f"{listed.unchanged:,}, not read again"
    if listed.damaged:
        yield "damaged places", f"{listed.damaged:,}: each is a unit that a run ends as failed"
    if listed.note:
        yield "prompts", listed.note
    if listed.late:
        yield "columns", late_in_words(listed.late)
    if listed.ignored:
        yield "ignored files", f"{counted(listed.ignored)}, such as {', '.join(listed.examples)}"


def unmark_if_more_waits(store: Store, max_attempts: int) -> None:
    """Take the mark of completeness away from an output that has new units."""
    if not store.exists(SUCCESS):
        return
    if not standing(store, latest_outcomes(store), max_attempts).earns_mark:
        store.delete(SUCCESS)
