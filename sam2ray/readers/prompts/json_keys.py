"""The beginning of a JSON file -> the keys of its outermost object, as far as they stand there."""

from __future__ import annotations

import re

# A text in quotes, or what opens and closes objects and lists.
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[\[{]|[\]}]', re.DOTALL)


def outer_keys(beginning: str) -> set[str]:
    """Keys of the object that a text begins; none if it begins with something else."""
    keys: set[str] = set()
    depth = 0
    for token in _TOKEN.finditer(beginning):
        if token[0] in "[{":
            depth += 1
            if depth == 1 and token[0] == "[":
                return set()
        elif token[0] in "]}":
            depth -= 1
        elif depth == 1 and token[2]:
            keys.add(token[1])
    return keys
