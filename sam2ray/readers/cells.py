"""Cells of tables and JSON, of whatever type, as the few types that units are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal

from ..records import canonical_json

_PLAIN = frozenset((type(None), str, int, float, bool))


def plain(value: object) -> object:
    """A cell as JSON can write it: text, numbers, lists and dicts of them, or None."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def as_text(value: object) -> str | None:
    """A cell as a column of text keeps it; None if it is empty."""
    if type(value) is str and value.isascii():  # nearly all of them
        return value
    value = plain(value)
    if value is None or isinstance(value, str):
        text = value
    elif isinstance(value, float) and not math.isfinite(value):
        text = str(value)
    else:
        text = canonical_json(value)
    # Half a character pair, which JSON can spell, cannot be written to a table.
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


def from_json_text(value: object) -> object:
    """What a cell says that may spell a list or a number as text; a ValueError if it does not."""
    if not isinstance(value, str):
        return plain(value)
    text = value.strip()
    if not text:
        return None
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists too deep in each other") from error
