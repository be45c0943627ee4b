"""A JSON object with one long list -> the list's items one by one, and the rest as it is.

Python needs five to seven times a file's size for what is in it; item by item it is the text, once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the object, or one item of its long list."""

    name: str
    value: Any
    text: str  # as it is written; only of an item
    is_item: bool


def members(data: bytes, long_list: str) -> Iterator[Member]:
    """All members in their order, the long list as an empty one before its items.

    ValueError where the file is no JSON object.
    """
    text = data.decode(json.detect_encoding(data))
    at = _past(text, 0, "{")
    while text[at : at + 1] != "}":
        name, at = _DECODER.raw_decode(text, at)
        if not isinstance(name, str):
            raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
        at = _past(text, at, ":")
        if name == long_list and text[at : at + 1] == "[":
            yield Member(name, [], "", is_item=False)
            at = yield from _items(text, at, name)
        else:
            value, at = _DECODER.raw_decode(text, at)
            yield Member(name, value, "", is_item=False)
        at = _next(text, at, "}")
    if _past_blank(text, at + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, at + 1)


def _items(text: str, at: int, name: str) -> Generator[Member, None, int]:
    """The items of a list, and where it ends."""
    at = _past(text, at, "[")
    while text[at : at + 1] != "]":
        value, end = _DECODER.raw_decode(text, at)
        yield Member(name, value, text[at:end], is_item=True)
        at = _next(text, end, "]")
    return at + 1


def _next(text: str, at: int, end: str) -> int:
    """The next of a row behind its comma, or where the row ends."""
    at = _past_blank(text, at)
    if text[at : at + 1] == end:
        return at
    at = _past(text, at, ",")
    if text[at : at + 1] == end:
        raise json.JSONDecodeError("Expecting a value behind the comma", text, at)
    return at


def _past(text: str, at: int, sign: str) -> int:
    at = _past_blank(text, at)
    if text[at : at + 1] != sign:
        raise json.JSONDecodeError(f"Expecting {sign!r}", text, at)
    return _past_blank(text, at + 1)


def _past_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found is not None, "nothing is a blank, too"
    return found.end()
