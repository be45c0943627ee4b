"""A page -> its file on this machine, whole or not at all, and over no other kind of file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from .. import publishing
from ..errors import UsageError
from ..storage import local_path

_SUFFIXES = (".html", ".htm")
_BEGINNING = b"<!doctype html"


def page_place(text: str) -> Path:
    """Where a page may be written; UsageError for any place where it must not."""
    path = local_path(text)
    if path is None:
        raise UsageError(
            f"{text}: a page is written to this machine: give a file, such as masks.html."
        )
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{text}: give the name of a page, such as masks.html.")
    if not path.parent.is_dir():
        raise UsageError(f"{text}: there is no folder {path.parent}. Make it, or name another.")
    if path.is_dir():
        raise UsageError(f"{text}: is a folder; give a file in it, such as {path / 'masks.html'}.")
    if path.exists() and not is_page(path):
        raise UsageError(
            f"{text}: is there, and no page: nothing is written over it. Name another."
        )
    return path


def is_page(path: Path) -> bool:
    """Whether this is a file that begins as pages do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_BEGINNING)).lower() == _BEGINNING


def write_page(path: Path, pieces: Iterable[str]) -> int:
    """Write a page as its pieces are made; how many bytes it has."""
    aside = path.with_name(f"{publishing.TEMPORARY}{uuid4().hex}")
    try:
        with aside.open("x", encoding="utf-8") as file:
            file.writelines(pieces)
        size = aside.stat().st_size
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    publishing.show(aside, path)
    return size
