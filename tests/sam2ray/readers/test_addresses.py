"""Addresses on the web: what a query hides, and what a server refuses."""

from __future__ import annotations

import pytest
from make_archive import found_in, jpeg, web, webdataset

from sam2ray.errors import StorageError, UsageError
from sam2ray.readers.sources import open_source


@pytest.mark.parametrize(
    ("name", "kind", "units"),
    [("photo.jpg", "image", 1), ("clip.mp4", "video", 1), ("a.tar", "image", 3)],
)
def test_a_suffix_stands_before_the_query(name: str, kind: str, units: int):
    content = webdataset(3, json_fields=False) if name == "a.tar" else jpeg()
    with web({name: content}) as server:
        found, ignored = found_in(open_source(f"{server.url}/{name}?size=full&page=1.html"))
    assert [unit.kind for unit in found] == [kind] * units
    assert not ignored


def test_a_list_behind_a_query_is_a_list():
    with web({"list.csv": b"uri\na.jpg\n"}) as server:
        ((unit,), _) = found_in(open_source(f"{server.url}/list.csv?page=1"))
        assert unit.source_uri == f"{server.url}/a.jpg"


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, StorageError, r"could not be looked at: .*403.* Mend the credentials"),
        (401, StorageError, r"could not be looked at: .*401.* Mend the credentials"),
        (404, UsageError, r"the server has no such file"),
        (500, StorageError, r"could not be looked at: .*500.* Look after the store"),
    ],
)
def test_what_a_server_refuses_is_called_by_its_name(
    status: int, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sam2ray.patience.sleep", lambda _: None)
    with web({"a.tar": b""}) as server:
        server.statuses["a.tar"] = status
        with pytest.raises(error, match=words):
            open_source(f"{server.url}/a.tar")


def test_a_server_that_is_not_there_is_no_missing_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam2ray.patience.sleep", lambda _: None)
    with web({}) as server:
        away = server.url
    with pytest.raises(StorageError, match=r"could not be looked at: .*Connect"):
        open_source(f"{away}/a.tar")
