"""Which column of a table names the media, by its name."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError

_KNOWN = (
    "uri",
    "source_uri",
    "url",
    "path",
    "file",
    "file_name",
    "filename",
    "file_path",
    "image",
    "image_path",
    "image_uri",
    "video",
    "video_path",
    "video_uri",
)


def find_uri_column(
    names: Sequence[str], place: str, said: str | None = None, *, setting: str = "source.uri_column"
) -> str:
    """The column that holds addresses; UsageError if it is not clear which: `setting` says it."""
    if said is not None:
        require_columns([said], names, place)
        return said
    found = [name for name in _KNOWN if name in names]
    if len(found) == 1:
        return found[0]
    has = f"It has: {', '.join(names) or 'nothing'}."
    if found:
        raise UsageError(
            f"{place}: is it {' or '.join(found)} that names the files? Say {setting}=NAME. {has}"
        )
    raise UsageError(
        f"{place}: no column names the files. Say which: {setting}=NAME. By themselves are known: "
        f"{', '.join(_KNOWN)}. {has}"
    )


def require_columns(wanted: Sequence[str], names: Sequence[str], place: str) -> None:
    """UsageError if a table lacks a column that somebody named."""
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UsageError(
            f"{place} has no column {', '.join(missing)}. It has: {', '.join(names) or 'nothing'}."
        )
