"""Files that appear whole or not at all: their bytes are brought first, and shown by a last step.

Between the two whoever writes can be asked whether it still may.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from .claims import warn_once

TEMPORARY = ".writing-"  # prefix of files that are not finished; readers pass over dotted names
PART_BYTES = 16 << 20  # of an upload; what is smaller is one request
_AT_A_TIME = 4 << 20
_NO_HARD_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

StillMine = Callable[[], None]
"""Raises if somebody else has taken the place over."""


@dataclass(frozen=True, slots=True, eq=False)
class Unfinished:
    """A file that somebody began to write, and may be writing still."""

    name: str
    began: float  # seconds since 1970
    drop: Callable[[], None]


def anybody() -> None:
    """Asks nothing: for files that are anybody's to write."""


def write_aside(target: Path, content: bytes | Path) -> Path:
    """A file beside its target, down to the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f"{TEMPORARY}{uuid4().hex}"
    try:
        with aside.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                with content.open("rb") as source:
                    while piece := source.read(_AT_A_TIME):
                        file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return aside


def show(aside: Path, target: Path, still_mine: StillMine = anybody) -> None:
    """Rename a file to its target, if that may still be written."""
    try:
        still_mine()
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


def show_unless_taken(aside: Path, target: Path, root: str) -> bool:
    """Give a file its name unless another one has it; whether it was given."""
    try:
        if not _linked(aside, target, root):
            return False
    finally:
        aside.unlink(missing_ok=True)
    flush_folder(target.parent)
    return True


def _linked(aside: Path, target: Path, root: str) -> bool:
    try:
        os.link(aside, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        warn_once(
            root,
            "this file system knows no hard links, so that two runs that start on one output at "
            "the same moment may take it from each other. Start one at a time.",
        )
        return _renamed(aside, target)
    return True


def _renamed(aside: Path, target: Path) -> bool:
    """Take the name by an empty file, and put the whole one in its place.

    Whoever is killed in between leaves it empty, and never half. Readers take no empty file for
    whole: a lease that says nothing holds nobody up, and a config that does is as good as none.
    """
    try:
        target.open("xb").close()
    except FileExistsError:
        return False
    try:
        aside.replace(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return True


def flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def upload(fs: Any, source: Path, path: str, still_mine: StillMine) -> None:  # noqa: ANN401 fsspec has no types
    """Bring a file to a store, and show it with the last request, if that may still be done.

    Of the clients here only that of S3 is known to leave the last request to its caller; what goes
    to other stores, or in one request, is asked about before it.
    """
    if "s3" not in fs.protocol or source.stat().st_size <= PART_BYTES:
        still_mine()
        fs.put_file(str(source), path)
        return
    file = fs.open(path, "wb", block_size=PART_BYTES, autocommit=False)
    try:
        with source.open("rb") as content:
            while piece := content.read(PART_BYTES):
                file.write(piece)
        file.flush(force=True)
        still_mine()
        file.commit()
        file.close()
    except BaseException:
        with suppress(Exception):  # parts that stay are swept by the next run; this error matters
            file.discard()
        file.closed = True  # else it would be flushed when it is collected
        raise


def asides(folder: Path) -> Iterator[Unfinished]:
    """Files aside of their targets, in a folder and below."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):  # shown or dropped meanwhile
            name = path.relative_to(folder).as_posix()
            yield Unfinished(name, path.stat().st_mtime, partial(path.unlink, missing_ok=True))


def uploads(fs: Any, root: str) -> Iterator[Unfinished]:  # noqa: ANN401 fsspec has no types
    """Uploads to a prefix that have parts and no end; Google and Azure drop theirs after a week."""
    if "s3" not in fs.protocol:
        return
    bucket, _, prefix = root.partition("/")
    after: Mapping[str, str] = {}
    while True:
        page = fs.call_s3(
            "list_multipart_uploads", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", **after
        )
        for found in page.get("Uploads", []):
            key, upload_id = found["Key"], found["UploadId"]
            drop = partial(fs.abort_mpu, bucket, key, upload_id)
            name = key.removeprefix(f"{prefix}/")
            yield Unfinished(name, found["Initiated"].timestamp(), drop)
        if not page.get("IsTruncated"):
            return
        after = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }
