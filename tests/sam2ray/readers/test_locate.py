"""Bytes of units: what may go wrong between the listing and the reading."""

import errno
import time
from email.utils import formatdate
from urllib.error import URLError

import fsspec
import pytest
from make_archive import found_in, jpeg, tar_bytes, web, write_files, write_picture_table

from sam2ray.errors import UnitFailed
from sam2ray.readers.locate import read_unit
from sam2ray.readers.sources import open_source
from sam2ray.readers.store_file import store_errors
from sam2ray.records import ErrorClass, Unit
from sam2ray.web_origins import headers_for


def failure_of(unit, limit_bytes=None) -> UnitFailed:
    with pytest.raises(UnitFailed) as failure:
        read_unit(unit, {}, limit_bytes)
    return failure.value


@pytest.mark.parametrize("name", ["a.jpg", "x.tar", "x.parquet"])
@pytest.mark.parametrize("where", ["local", "memory"])
def test_what_changed_since_it_was_indexed_is_refused(tmp_path, where, name):
    before, after = {
        "a.jpg": (b"1", b"22"),
        "x.tar": (tar_bytes([("a.jpg", b"1")]), tar_bytes([("a.jpg", bytes(20_000))])),
        "x.parquet": (
            write_picture_table(tmp_path / "1", [jpeg()]).read_bytes(),
            write_picture_table(tmp_path / "2", [jpeg()] * 2).read_bytes(),
        ),
    }[name]
    uri = str(tmp_path / name) if where == "local" else f"memory://{tmp_path.name}/{name}"

    def put(content):
        if where == "local":
            write_files(tmp_path, {name: content})
        else:
            fsspec.filesystem("memory").pipe_file(uri, content)

    put(before)
    unit = found_in(open_source(uri))[0][0]
    put(after)
    failed = failure_of(unit)
    assert failed.error_class is ErrorClass.IO
    assert "changed since it was indexed" in failed.message
    assert "run again" in failed.message


@pytest.mark.parametrize("name", ["a.jpg", "x.tar", "x.parquet"])
def test_what_is_larger_than_the_limit_is_refused(tmp_path, name):
    if name == "x.parquet":
        write_picture_table(tmp_path / name, [bytes(1000)])
    else:
        write_files(tmp_path, {"a.jpg": bytes(1000), "x.tar": tar_bytes([("a.jpg", bytes(1000))])})
    unit = found_in(open_source(str(tmp_path / name)))[0][0]
    assert len(read_unit(unit, {}, 1000)) == 1000
    assert failure_of(unit, 999).error_class is ErrorClass.TOO_LARGE


def test_a_file_that_is_gone_is_not_found(tmp_path):
    write_files(tmp_path, ["a.jpg"])
    unit = found_in(open_source(str(tmp_path)))[0][0]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError):
        read_unit(unit, {})


def test_a_pipe_that_somebody_put_there_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match="no regular file"):
        read_unit(Unit(str(tmp_path / "a.jpg"), "image"), {})


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, FileNotFoundError), (403, PermissionError), (503, OSError), (429, OSError)],
)
def test_the_answers_of_a_web_server_are_errors_of_their_kind(status, error):
    with web({"a.jpg": jpeg()}) as server:
        server.statuses["a.jpg"] = status
        with pytest.raises(error, match=rf"{status}"):
            read_unit(Unit(f"{server.url}/a.jpg", "image"), {})


def test_a_web_server_that_is_not_there_is_an_oserror():
    with web({}) as server:
        url = server.url
    with pytest.raises(URLError):
        read_unit(Unit(f"{url}/a.jpg", "image"), {})


def test_a_web_page_is_read_up_to_the_limit_alone():
    with web({"a.jpg": bytes(5000)}) as server:
        unit = Unit(f"{server.url}/a.jpg", "image")
        assert len(read_unit(unit, {}, 5000)) == 5000
        assert failure_of(unit, 4999).error_class is ErrorClass.TOO_LARGE


def test_a_web_server_is_told_the_headers_of_the_settings():
    headers = {"Authorization": "Bearer of-this-test"}
    with web({"a.jpg": b"1"}) as server:
        unit = Unit(f"{server.url}/a.jpg", "image")
        hosts = [server.url.removeprefix("http://")]
        read_unit(unit, {"https": {"client_kwargs": {"headers": headers}, "hosts": hosts}})
        assert server.told["Authorization"] == "Bearer of-this-test"


@pytest.mark.parametrize(
    ("uri", "hosts", "is_told"),
    [
        ("https://Data.example.org/a", ["data.example.org"], True),
        ("https://data.example.org:443/a", ["DATA.example.org"], True),
        ("https://data.example.org/a", ["data.example.org:443"], True),
        ("http://data.example.org/a", ["data.example.org:80"], True),
        ("http://data.example.org/a", ["data.example.org"], False),  # anybody could read it
        ("https://data.example.org:8443/a", ["data.example.org"], False),
        ("https://data.example.org.evil.org/a", ["data.example.org"], False),
        ("https://data.example.org@evil.org/a", ["data.example.org"], False),
    ],
)
def test_headers_are_told_to_the_servers_that_are_named(uri: str, hosts: list[str], is_told: bool):
    headers = {"X-Key": "HUSH"}
    options = {"http": {"client_kwargs": {"headers": headers}, "hosts": hosts}}
    assert headers_for(uri, options) == (headers if is_told else {})


@pytest.mark.parametrize(
    "hosts", [[], ["data.example.org"], ["127.0.0.1:1"], ["7.0.0.1"], ["127.0.0.1"]]
)
def test_a_host_that_a_list_names_hears_nothing_that_is_meant_for_others(hosts: list[str]):
    options = {"http": {"client_kwargs": {"headers": {"X-Key": "HUSH"}}, "hosts": hosts}}
    with web({"a.jpg": b"1"}) as server:
        read_unit(Unit(f"{server.url}/a.jpg", "image"), options)
        assert "X-Key" not in server.told


def test_a_web_page_of_another_etag_than_the_listed_one_has_changed():
    with web({"a.jpg": b"1"}) as server:
        url = f"{server.url}/a.jpg"
        assert failure_of(Unit(url, "image", version="old")).error_class is ErrorClass.IO


MONDAY, TUESDAY = "Mon, 01 Jan 2024 10:00:00 GMT", "Tue, 02 Jan 2024 10:00:00 GMT"


@pytest.mark.parametrize("date", [MONDAY, None])
def test_a_web_server_that_tags_only_what_it_sends_is_read(date: str | None):
    with web({"a.jpg": b"12345"}) as server:
        server.tagged = ("GET",)
        server.changed = {} if date is None else {"a.jpg": date}
        unit = found_in(open_source(f"{server.url}/a.jpg"))[0][0]
        assert unit.version == f"5-{date or ''}"
        assert read_unit(unit, {}) == b"12345"
        server.files["a.jpg"] = b"1234567"
        assert "changed since it was indexed" in failure_of(unit).message


def test_a_web_page_of_the_same_size_and_another_date_has_changed():
    with web({"a.jpg": b"12345"}) as server:
        server.tagged, server.changed = ("GET",), {"a.jpg": MONDAY}
        unit = found_in(open_source(f"{server.url}/a.jpg"))[0][0]
        server.files["a.jpg"], server.changed["a.jpg"] = b"54321", TUESDAY
        failed = failure_of(unit)
    assert failed.error_class is ErrorClass.IO
    assert f"(5-{MONDAY} then, 5-{TUESDAY} now)" in failed.message


def test_a_web_server_that_says_of_everything_that_it_is_new_is_read():
    with web({"a.jpg": b"12345"}) as server:
        server.tagged = ()
        server.changed = {"a.jpg": formatdate(time.time() - 30, usegmt=True)}
        unit = found_in(open_source(f"{server.url}/a.jpg"))[0][0]
        server.changed = {"a.jpg": formatdate(usegmt=True)}
        assert read_unit(unit, {}) == b"12345"


def test_a_web_server_that_tags_only_what_it_is_asked_about_is_read():
    with web({"a.jpg": b"12345"}) as server:
        server.tagged = ("HEAD",)
        unit = found_in(open_source(f"{server.url}/a.jpg"))[0][0]
        assert read_unit(unit, {}) == b"12345"


@pytest.mark.parametrize("url", ["http://", "http://[bad", "http://host name/a.jpg"])
def test_an_address_that_is_none_is_an_oserror(url):
    with pytest.raises(OSError):
        read_unit(Unit(url, "image"), {})


def test_a_store_that_gives_fewer_bytes_than_it_promised_is_an_oserror(tmp_path, monkeypatch):
    from sam2ray.storage import LocalStore

    write_files(tmp_path, {"a.jpg": b"12345", "x.tar": tar_bytes([("a.jpg", b"12345")])})
    file, member = (
        found_in(open_source(str(tmp_path / name)))[0][0] for name in ("a.jpg", "x.tar")
    )
    monkeypatch.setattr(LocalStore, "read", lambda *_: b"123")
    monkeypatch.setattr(LocalStore, "read_range", lambda *_: b"123")
    for unit in (file, member):
        with pytest.raises(OSError, match="3 of 5 bytes"):
            read_unit(unit, {})


class ClientError(Exception):
    """As packages of stores have them."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


@pytest.mark.parametrize(
    ("status", "error"), [(404, FileNotFoundError), (401, PermissionError), (503, OSError)]
)
def test_errors_of_a_stores_package_become_the_oserrors_that_they_stand_for(status, error):
    ClientError.__module__ = "aiohttp.client_exceptions"
    with pytest.raises(error) as raised, store_errors("s3://b/a"):
        raise ClientError(status)
    assert isinstance(raised.value.__cause__, ClientError)


def test_errors_of_our_own_are_not_taken_for_those_of_a_store():
    with pytest.raises(ZeroDivisionError), store_errors("s3://b/a"):
        raise ZeroDivisionError
    with pytest.raises(OSError) as raised, store_errors("s3://b/a"):
        raise OSError(errno.ENOSPC, "full")
    assert raised.value.errno == errno.ENOSPC
