"""A clip -> what its frames are called in an export: by their numbers, or as their pictures are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UnitFailed
from ..manifest import read_manifest
from ..patience import STEADY
from ..readers.frames import version_of_frames
from ..readers.locate import frames_of, refuse_change
from ..readers.places import base_name
from ..records import Unit
from ..stages.clip_files import ask
from ..storage import Options, Store
from .exported import CannotBeShown

_DIGITS = 5  # of a frame's number
_CHANGED = "folders of frames that changed since they were labelled"


def patterns_of(store: Store) -> dict[str, str]:
    """Units whose frames are some of a folder's pictures: what tells these from the others."""
    tables = read_manifest(store, ["unit_id", "pattern"])
    rows = (row for table in tables for row in table.drop_null().to_pylist())
    return {row["unit_id"]: row["pattern"] for row in rows}


def frame_names(
    outcome: Mapping[str, Any], patterns: Mapping[str, str], options: Options
) -> Callable[[int], str]:
    """The name of a frame without its suffix. Raises CannotBeShown.

    Frames of a folder are called as its pictures, which other labels of them are matched by.
    """
    if outcome["kind"] != "frames":
        return lambda number: f"{number:0{_DIGITS}}"
    stems = _stems(outcome, patterns.get(outcome["unit_id"]), options)

    def name(number: int) -> str:
        if number >= len(stems):
            raise CannotBeShown(_CHANGED)
        return stems[number]

    return name


def _stems(outcome: Mapping[str, Any], pattern: str | None, options: Options) -> Sequence[str]:
    uri = outcome["source_uri"]
    unit = Unit(uri, "frames", pattern=pattern)
    try:
        entries = ask(lambda: frames_of(unit, options), uri, STEADY)
    except UnitFailed as failure:
        why = failure.error_class.value
        raise CannotBeShown(f"folders of frames that cannot be listed any more: {why}") from failure
    try:
        refuse_change(
            Unit(uri, "frames", version=outcome["etag"] or ""), version_of_frames(entries)
        )
    except UnitFailed as failure:
        raise CannotBeShown(_CHANGED) from failure
    stems = [base_name(entry.name).rpartition(".")[0] for entry in entries]
    if len({*stems}) < len(stems):
        raise CannotBeShown("folders of frames that are called alike but for the suffix")
    return stems
