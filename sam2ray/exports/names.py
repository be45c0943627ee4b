"""What a unit is called in an export: its place below the folder that was labelled.

Names of archives' members are anybody's: what is made of them stays below where it is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import JobConfig
from ..readers.places import absolute, path_of, root_of, suffix_of

_SLASHES = re.compile(r"[/\\]+")


def roots_of(config: JobConfig) -> list[str]:
    """The folders that were labelled, with their last slash, the deepest first."""
    folders = {absolute(root_of(uri)).rstrip("/") for uri in config.source.uri}
    return sorted((f"{folder}/" for folder in folders), key=len, reverse=True)


def name_of(outcome: Mapping[str, Any], roots: Sequence[str]) -> str:
    """A relative name; that of a whole address where it lies below no root."""
    uri = outcome["source_uri"]
    root = next((one for one in roots if uri.startswith(one)), None)
    name = path_of(uri) if root is None else uri[len(root) :]
    if outcome["member"]:
        name = f"{_without_suffix(name)}/{outcome['member']}"
    kept = [part for part in _SLASHES.split(name) if part not in ("", ".", "..")]
    return "/".join(part.replace("\0", "") for part in kept)


def whole_name_of(outcome: Mapping[str, Any]) -> str:
    """What no other unit is called: its whole address, and its place in an archive behind it."""
    uri, member = outcome["source_uri"], outcome["member"]
    return f"{uri}/{member}" if member else uri


def stem_of(outcome: Mapping[str, Any], roots: Sequence[str]) -> str:
    """The same without the suffix of a file; folders of frames have none."""
    name = name_of(outcome, roots)
    return name if outcome["kind"] == "frames" else _without_suffix(name)


def _without_suffix(name: str) -> str:
    return name[: len(name) - len(suffix_of(name))]
