"""Names and values -> a table for people; what came from outside cannot steer their terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table


def two_columns(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and values."""
    table = Table(title=harmless(title), show_header=False, title_justify="left")
    for name, value in rows:
        table.add_row(harmless(name), harmless(value))
    return table


def harmless(text: str) -> str:
    """A text without control characters, which may recolour, erase or retitle a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def amount(count: float, noun: str) -> str:
    """`1 CPU`, `0.5 CPUs`, `12 files`."""
    return f"{count:,g} {noun if count == 1 else noun + 's'}"
