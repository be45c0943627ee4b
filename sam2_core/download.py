"""Checkpoints on the web -> local files, each fetched once, however many ask at a time.

They are kept in $SAM2RAY_CACHE, else $XDG_CACHE_HOME/sam2ray, else ~/.cache/sam2ray.
SAM2RAY_CHECKPOINT_URL may name a mirror inside a company: an http(s) URL below which the files lie
as they do at the publisher, 092824/sam2.1_hiera_tiny.pt, 072824/sam2_hiera_tiny.pt and so on.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from .errors import ConfigError, DownloadFailed

T = TypeVar("T")
Folder = str | os.PathLike[str]
Answer = HTTPResponse | HTTPError

PUBLISHER = "https://dl.fbaipublicfiles.com/segment_anything_2"
RELEASES = {"sam2.1": "092824", "sam2": "072824"}  # folders at the publisher
PUBLISHED = {  # SHA-256 of every file
    "sam2.1_hiera_tiny": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    "sam2.1_hiera_small": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    "sam2.1_hiera_base_plus": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    "sam2.1_hiera_large": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    "sam2_hiera_tiny": "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    "sam2_hiera_small": "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    "sam2_hiera_base_plus": "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    "sam2_hiera_large": "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
}

_TIMEOUT_S = 30.0  # for any one answer of a server, not for a file
_TRIES = 4  # in a row that bring nothing new
_FIRST_PAUSE_S = 0.5
_TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
_CHUNK_BYTES = 1 << 20

_LOCK_TIMEOUT_S = 3600.0
_LOCK_POLL_S = 0.1
_HEARTBEAT_S = 5.0
_ABANDONED_S = 60.0


class _Interrupted(Exception):
    """A transfer broke off, and may go on."""


def cache_folder(cache: Folder | None = None) -> Path:
    """Where checkpoints are kept."""
    if chosen := cache or os.environ.get("SAM2RAY_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam2ray"


def published_checkpoint(name: str, *, cache: Folder | None = None, progress: bool = True) -> Path:
    """The published file of a model, downloaded and checked if it is not in the cache."""
    if name not in PUBLISHED:
        raise ConfigError(
            f"No checkpoint is published for {name!r}, only for {', '.join(PUBLISHED)}. "
            "Pass checkpoint=PATH."
        )
    base = os.environ.get("SAM2RAY_CHECKPOINT_URL") or PUBLISHER
    if not is_web(base):
        raise ConfigError(f"SAM2RAY_CHECKPOINT_URL={base!r}: write an http:// or https:// URL.")
    url = f"{base.rstrip('/')}/{RELEASES[name.partition('_')[0]]}/{name}.pt"

    def fetch(part: Path) -> None:
        _download(url, Meter(f"{name}.pt", shown=progress), part)
        _check_digest(part, PUBLISHED[name], url)

    return keep(url, cache_folder(cache) / f"{name}.pt", fetch)


def web_checkpoint(url: str, *, cache: Folder | None = None, progress: bool = True) -> Path:
    """A local copy of any file on the web, one for each version of it."""
    version = _until_it_works(url, lambda: _version_of(url))

    def fetch(part: Path) -> None:
        _download(url, Meter(name_in(url), shown=progress), part, version)

    return keep(url, place_of_copy(url, version, cache), fetch)


def place_of_copy(url: str, version: str, cache: Folder | None = None) -> Path:
    """Where the copy of this version of a remote file is kept."""
    key = hashlib.sha256(f"{url}\n{version}".encode()).hexdigest()[:16]
    return cache_folder(cache) / "remote" / f"{key}-{name_in(url)}"


def name_in(url: str) -> str:
    """The bare name of the file that a URL names."""
    return urlsplit(url).path.rpartition("/")[2] or "checkpoint"


def is_web(url: str) -> bool:
    """Whether this is a URL that the web serves."""
    return url.startswith(("http://", "https://"))


def shown(url: str) -> str:
    """A URL without its query, which may hold a signature, for messages."""
    return url.partition("?")[0] if "://" in url else url


def keep(url: str, target: Path, fetch: Callable[[Path], None]) -> Path:
    """Fetch into a part beside the target, under a lock, and rename it once it is whole."""
    part = target.with_name(f"{target.name}.part")
    try:
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(target.with_name(f"{target.name}.lock")):
            if not target.exists():
                fetch(part)
                part.replace(target)
    except OSError as error:
        raise DownloadFailed(
            f"{shown(url)} could not be kept in {target.parent}: {error.strerror or error}. "
            "Make room, or set SAM2RAY_CACHE to another folder."
        ) from error
    return target


def _check_digest(part: Path, wanted: str, url: str) -> None:
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != wanted:
        size = part.stat().st_size
        part.unlink()
        raise DownloadFailed(
            f"{shown(url)} gave another file than the published one: SHA-256 {digest.hexdigest()} "
            f"({size:,} bytes) instead of {wanted}. What came was deleted; try again, or download "
            "the file elsewhere and pass checkpoint=PATH."
        )


# ---------------------------------------------------------------- http


def _download(url: str, meter: Meter, part: Path, version: str | None = None) -> None:
    """Bring the part up to the whole file, going on where an earlier attempt broke off.

    What has neither a digest (no version is given) nor a strong ETag is begun again each time:
    nothing would tell a file that changed in between.
    """
    resumes = version is None or version.startswith('"')

    def size() -> int:
        return part.stat().st_size if resumes and part.exists() else 0

    with meter:
        _until_it_works(url, lambda: _download_rest(url, meter, part, size(), version), size)


def _until_it_works(url: str, act: Callable[[], T], progress: Callable[[], int] = int) -> T:
    """Repeat what was interrupted, as long as it gets further than ever before now and then."""
    furthest, failures = progress(), 0
    while True:
        try:
            return act()
        except _Interrupted as error:  # noqa: PERF203 that is what the loop is for
            if progress() > furthest:
                furthest, failures = progress(), 0
            failures += 1
            if failures == _TRIES:
                raise _gave_up(url, f"{error} ({_TRIES} tries)") from error
            time.sleep(_FIRST_PAUSE_S * 2 ** (failures - 1))


def _gave_up(url: str, reason: str) -> DownloadFailed:
    return DownloadFailed(
        f"{shown(url)} could not be downloaded: {reason}. Download the file elsewhere and pass "
        "checkpoint=PATH, or name a mirror of the published files in SAM2RAY_CHECKPOINT_URL."
    )


def _download_rest(url: str, meter: Meter, part: Path, size: int, version: str | None) -> None:
    same = {"If-Range": version} if version else {}
    headers = {"Range": f"bytes={size}-", **same} if size else {}
    with _open(url, headers) as answer:
        total = _total(answer)
        if isinstance(answer, HTTPError):  # nothing follows what is there already
            if total == size:
                return  # an earlier attempt ended between the last byte and the rename
            part.unlink()
            raise _Interrupted("what was there already is longer than the file")
        start = _first_byte(answer)
        if start not in (0, size):
            raise _Interrupted(f"the server sent what follows byte {start} instead of {size}")
        meter.start(start, total)
        write_part(part, _chunks_of(answer), meter, start)
    written = part.stat().st_size
    if total is not None and written != total:
        raise _Interrupted(f"the server sent {written:,} of {total:,} bytes")


def write_part(part: Path, chunks: Iterator[bytes], meter: Meter, start: int = 0) -> None:
    """Put chunks into the part from this byte on, safe on the disk when they are through."""
    with part.open("r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        for chunk in chunks:
            file.write(chunk)
            meter.advance(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def _open(url: str, headers: dict[str, str]) -> Answer:
    request = Request(url, headers={"User-Agent": "sam2ray", **headers})  # noqa: S310 http(s) only
    try:
        return urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 http(s) only
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return error
        reason = f"HTTP {error.code} {error.reason}"
        error.close()
        if error.code in _TRANSIENT:
            raise _Interrupted(reason) from error
        raise _gave_up(url, reason) from error
    except URLError as error:
        raise _Interrupted(str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _chunks_of(answer: HTTPResponse) -> Iterator[bytes]:
    # Only the network's errors are caught here: a full disk shows where the chunk is written.
    while True:
        try:
            chunk = answer.read1(_CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise _Interrupted(str(error) or type(error).__name__) from error
        if not chunk:
            return
        yield chunk


def _first_byte(answer: Answer) -> int:
    """Where the answer starts in the file: a server may ignore what range was asked for."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _total(answer: Answer) -> int | None:
    """Length of the whole file, where the server tells."""
    if answer.status in (HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdecimal() else None


def _version_of(url: str) -> str:
    """What tells the versions of a remote file apart: its ETag, or else its date and size."""
    # Not by HEAD: signed URLs are good for GET alone.
    with _open(url, {"Range": "bytes=0-0"}) as answer:
        return answer.headers.get("ETag") or f"{answer.headers['Last-Modified']} {_total(answer)}"


# ---------------------------------------------------------------- one at a time


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect and that no dead process keeps."""
    lock = _kernel_lock if find_spec("fcntl") else _heartbeat_lock
    with lock(path):
        yield


@contextmanager
def _kernel_lock(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("a") as file:
        _wait_for(path, lambda: _flock(file))
        try:
            yield
        finally:
            # Closing is not enough if somebody forked: the child holds the same lock.
            fcntl.flock(file, fcntl.LOCK_UN)


def _flock(file: TextIOWrapper) -> bool:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _heartbeat_lock(path: Path) -> Iterator[None]:
    """For systems without flock: a file that its holder touches as long as it lives."""
    _wait_for(path, lambda: _create(path))
    done = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, done), daemon=True)
    heart.start()
    try:
        yield
    finally:
        done.set()
        heart.join()
        path.unlink(missing_ok=True)


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(_HEARTBEAT_S):
        path.touch()


def _create(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        if path.exists() and time.time() - path.stat().st_mtime > _ABANDONED_S:
            path.unlink(missing_ok=True)
        return False
    return True


def _wait_for(path: Path, taken: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while not taken():
        if time.monotonic() > deadline:
            raise DownloadFailed(
                f"{path}: another process has held this lock for {_LOCK_TIMEOUT_S / 60:.0f} "
                "minutes. End it, or set SAM2RAY_CACHE to another folder."
            )
        time.sleep(_LOCK_POLL_S)


# ---------------------------------------------------------------- what the user sees


class Meter:
    """A bar on a terminal, a line in a log, nothing at all if not shown."""

    def __init__(self, name: str, *, shown: bool) -> None:
        self._name = name
        self._done = 0
        self._total: int | None = None
        self._draws = shown and sys.stderr.isatty()
        self._announces = shown and not self._draws
        self._next_s = 0.0

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._draws and self._next_s:
            self._draw()
            sys.stderr.write("\n")

    def start(self, done: int, total: int | None) -> None:
        """Say what is there already, and what there will be if that is known."""
        self._done, self._total = done, total
        if self._announces:
            size = f", {total / 1e6:,.1f} MB" if total is not None else ""
            sys.stderr.write(f"sam2ray: downloading {self._name}{size}\n")
            self._announces = False

    def advance(self, count: int) -> None:
        """Say that this many bytes more have come."""
        self._done += count
        if self._draws and time.monotonic() >= self._next_s:
            self._draw()
            self._next_s = time.monotonic() + 0.1

    def _draw(self) -> None:
        line = f"{self._name} {self._done / 1e6:,.1f} MB"
        if self._total:
            share = min(self._done / self._total, 1.0)
            bar = "#" * round(30 * share)
            line = f"{self._name} [{bar:.<30}] {share:4.0%} of {self._total / 1e6:,.1f} MB"
        sys.stderr.write(f"\r{line}")
        sys.stderr.flush()
