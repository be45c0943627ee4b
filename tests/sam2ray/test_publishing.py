"""The last step of a write: asked about when all bytes are there, and nothing is left without."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import pytest
from s3_server import BUCKET

from sam2ray import claims, lease
from sam2ray.config_file import load_config
from sam2ray.errors import RootRefused
from sam2ray.kept_config import (
    CONFIG,
    kept_config,
    pin_config,
    refuse_another_config,
    refuse_another_listing,
)
from sam2ray.publishing import PART_BYTES, TEMPORARY
from sam2ray.storage import LocalStore, Options, Store, open_store

WEIGHTS = "cd" * 32

NAME, SIZE = "masks/a.parquet", PART_BYTES + 12345


class _TakenOver:
    """Another run takes the output at the very moment before the step."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.saw_name = True

    def __call__(self) -> None:
        self.saw_name = self.store.exists(NAME)
        raise RootRefused("another run has taken this output over")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "result"
    path.write_bytes(bytes(SIZE))
    return path


def _uploads(store: Store, options: Options) -> list[dict]:
    """Unfinished uploads below a prefix, with the bytes of their parts."""
    fs = fsspec.filesystem("s3", **options["s3"], use_listings_cache=False)
    prefix = store.uri.removeprefix(f"s3://{BUCKET}/") + "/"
    found = fs.call_s3("list_multipart_uploads", Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    for upload in found:
        key, upload_id = upload["Key"], upload["UploadId"]
        parts = fs.call_s3("list_parts", Bucket=BUCKET, Key=key, UploadId=upload_id)
        upload["bytes"] = sum(part["Size"] for part in parts["Parts"])
    return found


@pytest.mark.parametrize("size", [100, SIZE])
def test_who_lost_the_output_before_the_last_step_shows_nothing(
    store: Store, file: Path, size: int
):
    file.write_bytes(bytes(size))
    taken = _TakenOver(store)
    with pytest.raises(RootRefused):
        store.publish(NAME, file, taken)
    assert not taken.saw_name
    assert not store.exists(NAME)
    store.publish(NAME, file, lambda: None)
    assert store.read(NAME) == bytes(size)


def test_on_a_disk_all_bytes_are_written_when_it_is_asked(tmp_path: Path, file: Path):
    store = LocalStore(tmp_path / "root")
    seen: list[int] = []

    def still_mine() -> None:
        seen.extend(path.stat().st_size for path in (tmp_path / "root/masks").iterdir())
        raise RootRefused("taken over")

    with pytest.raises(RootRefused):
        store.publish(NAME, file, still_mine)
    assert seen == [SIZE]
    assert not list((tmp_path / "root").rglob(f"{TEMPORARY}*"))


def test_on_s3_all_parts_are_there_when_it_is_asked(
    tmp_path: Path, file: Path, s3_options: Options
):
    store = open_store(f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}", s3_options)
    seen: list[int] = []

    def still_mine() -> None:
        seen.extend(upload["bytes"] for upload in _uploads(store, s3_options))
        raise RootRefused("taken over")

    with pytest.raises(RootRefused):
        store.publish(NAME, file, still_mine)
    assert seen == [SIZE]
    assert _uploads(store, s3_options) == []


# ---------------------------------------------------------------- file systems without hard links

_NO_LINKS = [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP]


def _let_links_fail(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As on exFAT, CIFS and some of FUSE's."""

    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    claims._say_once.cache_clear()


@pytest.mark.parametrize("number", _NO_LINKS)
def test_a_file_system_without_hard_links_is_warned_of_once_and_serves(
    tmp_path: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    _let_links_fail(monkeypatch, number)
    store = LocalStore(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert store.create("x/a", b"1")
        assert not store.create("x/a", b"2")
        assert store.create("b", b"3")
    assert {entry.name: store.read(entry.name) for entry in store.list()} == {
        "x/a": b"1",
        "b": b"3",
    }
    assert not list(store.unfinished())
    (warning,) = caplog.records
    assert f"{tmp_path}: this file system knows no hard links" in warning.getMessage()


def test_without_hard_links_too_one_of_many_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _let_links_fail(monkeypatch, errno.EPERM)
    store, won = LocalStore(tmp_path), []
    threads = [
        threading.Thread(target=lambda n=n: won.append((store.create("a", b"%d" % n), b"%d" % n)))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [content for has_it, content in won if has_it] == [store.read("a")]


def test_a_disk_that_fails_otherwise_is_not_taken_for_one_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _let_links_fail(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        LocalStore(tmp_path).create("a", b"1")
    assert not list(tmp_path.iterdir())


_KILLED_IN_BETWEEN = """
import errno, os, signal, sys
from pathlib import Path
from sam2ray.storage import LocalStore

def link(*_):
    raise OSError(errno.EPERM, "no links here")

os.link = link
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
LocalStore(Path(sys.argv[1])).create(sys.argv[2], b"all of it")
"""


def _is_killed_as_it_creates(store: LocalStore, name: str) -> None:
    words = [sys.executable, "-c", _KILLED_IN_BETWEEN, store.uri, name]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert store.read(name) == b""


def test_a_lease_that_was_never_written_to_its_end_holds_nobody_up(tmp_path: Path):
    store = LocalStore(tmp_path)
    _is_killed_as_it_creates(store, f"{lease.FOLDER}/000001.json")
    held = lease.acquire(store, lease.this_process("next"), watch_s=0.0)
    assert held.number == 2
    held.close()


def test_a_config_that_was_never_written_to_its_end_binds_nobody(tmp_path: Path):
    store = LocalStore(tmp_path)
    config = load_config(None, [], source="/a", output=str(tmp_path), model="nano")
    _is_killed_as_it_creates(store, CONFIG)
    with pytest.raises(FileNotFoundError):
        kept_config(store)
    refuse_another_config(store, config, WEIGHTS)
    refuse_another_listing(store, config)
    own = pin_config(store, config, WEIGHTS)
    assert kept_config(store).config_id == own
