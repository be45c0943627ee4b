"""Patience with a store that is bad on purpose, in front of a real one."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from faulty_store import Faults, FaultyStore, Request, faulty_store
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from s3_server import BUCKET

from sam2ray import claims
from sam2ray.claims import knows_conditions
from sam2ray.errors import StorageError, UnitFailed
from sam2ray.file_systems import web_timeout_s, with_timeout
from sam2ray.patience import Patience, classify, may_pass, patiently, said_without_secrets
from sam2ray.readers.listing import entry_at, look
from sam2ray.readers.locate import read_unit
from sam2ray.records import ErrorClass, Unit
from sam2ray.stages.fetch import fetch
from sam2ray.storage import Options, Store, open_store

UNTIRING = Patience(attempts=20, first_pause_s=0.0)
TWICE = Patience(attempts=2, first_pause_s=0.0)


@pytest.fixture(scope="module")
def bad(s3_options: Options) -> Iterator[FaultyStore]:
    with faulty_store(s3_options["s3"]["endpoint_url"], seed=5) as store:
        yield store


@pytest.fixture
def good(bad: FaultyStore, s3_options: Options, tmp_path: Path) -> Store:
    """An empty place, reached directly."""
    bad.faults = Faults()
    bad.injected.clear()
    return open_store(f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}", s3_options)


def _options(bad: FaultyStore, **more: object) -> Options:
    return {"s3": {"endpoint_url": bad.url, **more}}


def _through(bad: FaultyStore, good: Store, patience: Patience = UNTIRING) -> Store:
    return open_store(good.uri, _options(bad), patience)


@pytest.mark.parametrize(
    "faults",
    [
        Faults(slow_down=0.5),
        Faults(internal_error=0.5),
        Faults(reset=0.5),
        Faults(lost_answer=0.5),
        Faults(truncated=0.5),
    ],
    ids=["slow_down", "internal_error", "reset", "lost_answer", "truncated"],
)
def test_whatever_a_store_is_asked_is_asked_again(
    bad: FaultyStore, good: Store, tmp_path: Path, faults: Faults
):
    bad.faults = faults
    store = _through(bad, good)
    source = tmp_path / "file"
    source.write_bytes(b"from a file")
    for n in range(6):
        store.put(f"a/b/{n}", b"0123456789")
        store.put(f"a/c/{n}", source)
        assert store.read(f"a/b/{n}") == b"0123456789"
        assert store.read_range(f"a/b/{n}", 2, 3) == b"234"
        assert store.exists(f"a/c/{n}")
        assert not store.exists(f"a/d/{n}")
        with store.open(f"a/c/{n}") as file:
            file.seek(5)
            assert file.read() == b"a file"
    assert len(list(store.list())) == 12
    for n in range(6):
        store.delete(f"a/b/{n}")
    assert len(list(store.list("a"))) == 6
    assert sum(bad.injected.values()) > 5


def test_a_folder_that_cannot_be_read_is_no_empty_folder(bad: FaultyStore, good: Store):
    for name in ("a/b/c", "d/e/f"):
        good.put(name, b"x")
    bad.faults = Faults(internal_error=1, where=lambda request: "d%2Fe" in request.path)
    with pytest.raises(StorageError, match="could not be listed"):
        list(_through(bad, good, TWICE).list())
    assert bad.injected["internal_error"] == 2


def test_the_end_of_patience_says_store_name_and_way_out(bad: FaultyStore, good: Store):
    bad.faults = Faults(slow_down=1)
    words = (
        r"/masks/a: could not be written: .*reduce your request rate.* \(asked 2 times\)\. .* wait"
    )
    with pytest.raises(StorageError, match=good.uri + words):
        _through(bad, good, TWICE).put("masks/a", b"x")
    assert bad.injected["slow_down"] == 2


def test_what_is_forbidden_is_asked_once(bad: FaultyStore, good: Store):
    bad.faults = Faults(expired_after=0)
    with pytest.raises(StorageError, match="Mend the credentials") as caught:
        _through(bad, good).put("a", b"x")
    assert classify(caught.value.__cause__) is ErrorClass.FORBIDDEN
    assert bad.injected["expired"] == 1


def test_patience_does_not_multiply(bad: FaultyStore, good: Store):
    bad.faults = Faults(slow_down=1)
    store = _through(bad, good, Patience(3, 0.0))
    with pytest.raises(UnitFailed) as caught:
        fetch(lambda: store.read("a"), TWICE)
    assert caught.value.error_class is ErrorClass.THROTTLED
    assert bad.injected["slow_down"] == 2


def test_a_store_is_as_patient_in_another_process(bad: FaultyStore, good: Store):
    bad.faults = Faults(slow_down=1)
    store = pickle.loads(pickle.dumps(_through(bad, good, TWICE)))
    with pytest.raises(StorageError, match="asked 2 times"):
        store.put("a", b"x")
    assert bad.injected["slow_down"] == 2


def test_a_hanging_store_is_left_after_the_time_that_was_set(bad: FaultyStore, good: Store):
    good.put("a.jpg", b"x")
    options = with_timeout(_options(bad), 0.5)
    bad.faults = Faults(hang=1)
    start = time.monotonic()
    with pytest.raises(UnitFailed) as caught:
        fetch(lambda: read_unit(Unit(good.uri_of("a.jpg"), "image"), options), TWICE)
    assert caught.value.error_class is ErrorClass.IO
    assert 1.0 <= time.monotonic() - start < 10
    assert bad.injected["hang"] == 2


def test_a_web_server_that_hangs_is_left_as_well(bad: FaultyStore, good: Store):
    good.put("a.jpg", b"x")
    address = good.uri_of("a.jpg").replace("s3:/", bad.url)
    options = with_timeout({}, 0.5)
    assert web_timeout_s(options) == 0.5
    bad.faults = Faults(hang=1)
    for ask in (
        lambda: read_unit(Unit(address, "image"), options),
        lambda: open_store(address.rpartition("/")[0], options).read("a.jpg"),
    ):
        start = time.monotonic()
        with pytest.raises(UnitFailed):
            fetch(ask, TWICE)
        assert 1.0 <= time.monotonic() - start < 10


def test_a_slow_store_is_waited_for_as_long_as_it_says_something(bad: FaultyStore, good: Store):
    good.put("a", bytes(4000))
    bad.faults = Faults(pause_s=0.2)
    store = open_store(good.uri, with_timeout(_options(bad), 1.0), Patience(1, 0.0))
    assert store.read("a") == bytes(4000)


def test_half_a_file_of_the_web_is_no_file(bad: FaultyStore, good: Store, s3_options: Options):
    good.put("a.jpg", bytes(5000))
    fsspec.filesystem("s3", **s3_options["s3"]).chmod(good.uri_of("a.jpg"), acl="public-read")
    address = good.uri_of("a.jpg").replace("s3:/", bad.url)
    bad.faults = Faults(truncated=1)
    with pytest.raises(OSError, match="2500 bytes of it did not come"):
        read_unit(Unit(address, "image"), {}, limit_bytes=1 << 20)


def test_listings_of_a_source_are_patient(bad: FaultyStore, good: Store):
    for name in ("a/0.jpg", "a/1.jpg", "b/2.jpg"):
        good.put(name, b"x")
    bad.faults = Faults(slow_down=0.4)
    for _ in range(5):
        assert len(look(good.uri, "", _options(bad)).folders) == 2
        assert entry_at(good.uri_of("a/0.jpg"), _options(bad)).size == 1
    assert bad.injected["slow_down"] > 2


# ---------------------------------------------------------------- claims


def test_a_claim_whose_answer_got_lost_is_not_taken_for_somebody_elses(
    bad: FaultyStore, good: Store
):
    def first_write(request: Request) -> bool:
        return request.method == "PUT" and not bad.injected["lost_answer"]

    bad.faults = Faults(lost_answer=1, where=first_write)
    assert _through(bad, good).create("a", b"ours")
    assert bad.injected["lost_answer"] == 1
    assert not _through(bad, good).create("a", b"ours")  # a second one of the same words is late
    assert good.read("a") == b"ours"


def test_a_claim_that_lost_its_answer_and_the_race_is_lost(bad: FaultyStore, good: Store):
    def they_were_first(request: Request) -> bool:
        if request.method != "PUT" or bad.injected["reset"]:
            return False
        good.put("a", b"theirs")
        return True

    bad.faults = Faults(reset=1, where=they_were_first)
    assert not _through(bad, good).create("a", b"ours")
    assert good.read("a") == b"theirs"


def test_of_many_claims_on_a_bad_store_one_succeeds(bad: FaultyStore, good: Store):
    bad.faults = Faults(slow_down=0.2, lost_answer=0.2, reset=0.1)
    won = _race([_through(bad, good) for _ in range(8)])
    assert won.count(True) == 1


def _race(stores: list[Store]) -> list[bool]:
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n, s=s: won.append(s.create("a", b"%d" % n)))
        for n, s in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(stores)
    return won


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "SETTLE_S", 1.0)
    claims._say_once.cache_clear()


def test_a_store_that_ignores_conditions_is_found_out_and_warned_of_once(
    bad: FaultyStore, good: Store, soon: None, caplog: pytest.LogCaptureFixture
):
    bad.faults = Faults(ignores_conditions=True)
    with caplog.at_level(logging.WARNING):
        assert _race([_through(bad, good) for _ in range(4)]).count(True) == 1
        assert not _through(bad, good).create("a", b"late")
        assert _through(bad, good).create("b", b"another")
    (warning,) = caplog.records
    assert "knows no conditional writes" in warning.getMessage()
    assert good.uri in warning.getMessage()


class LooksFirst(MemoryFileSystem):
    """A file system whose only way to create a file is to look before it writes."""

    protocol = "looksfirst"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    pipe_file = AbstractFileSystem.pipe_file


@pytest.mark.parametrize(("protocol", "warnings"), [("memory", 0), ("looksfirst", 1)])
def test_file_systems_without_conditions_are_warned_of(
    protocol: str, warnings: int, soon: None, caplog: pytest.LogCaptureFixture
):
    fsspec.register_implementation("looksfirst", LooksFirst, clobber=True)
    store = open_store(f"{protocol}://claims")
    with caplog.at_level(logging.WARNING):
        assert store.create("a", b"1")
        assert not store.create("a", b"1")
        assert store.create("b", b"2")
    assert len(caplog.records) == warnings
    assert knows_conditions(fsspec.filesystem(protocol)) is not bool(warnings)


# ---------------------------------------------------------------- words


def test_bugs_are_not_tried_again():
    tries = []

    def broken() -> None:
        tries.append(1)
        raise TypeError("ours")

    with pytest.raises(TypeError):
        patiently(broken, UNTIRING, lambda error, _: error)
    assert tries == [1]
    assert not may_pass(TypeError("ours"))


def test_no_secret_is_said():
    error = OSError("no answer from https://me:secret@host/a?X-Amz-Signature=secret 'x'")
    assert said_without_secrets(error, 1) == "OSError: no answer from https://host/a?... 'x'"


def test_what_was_set_for_a_store_goes_before_the_time_for_all():
    own = {"s3": {"key": "k", "config_kwargs": {"read_timeout": 7, "max_pool_connections": 3}}}
    limited = with_timeout(own, 20.0)
    assert limited["s3"]["config_kwargs"] == {
        "connect_timeout": 20.0,
        "read_timeout": 7,
        "max_pool_connections": 3,
    }
    assert own["s3"]["config_kwargs"] == {"read_timeout": 7, "max_pool_connections": 3}
    assert with_timeout({"abfs": {"account_name": "a"}}, 20.0)["abfs"] == {
        "account_name": "a",
        "connection_timeout": 20,
        "read_timeout": 20,
    }
