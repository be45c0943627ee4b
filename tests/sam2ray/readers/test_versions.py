"""What is named without a version is asked for one, with few requests."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from make_archive import Web, found_in, jpeg, web
from s3_server import BUCKET

from sam2ray.config_file import load_config
from sam2ray.errors import StorageError, UnitFailed
from sam2ray.listing import list_source
from sam2ray.manifest import Merged
from sam2ray.readers.locate import read_unit
from sam2ray.readers.sources import open_source
from sam2ray.readers.versions import Versions
from sam2ray.storage import LocalStore, Options


def _list_of(folder: Path, uris: list[str]) -> str:
    path = folder / "list.csv"
    path.write_text("\n".join(["uri", *uris]) + "\n")
    return str(path)


def _put(options: Options, files: dict[str, bytes]) -> None:
    fs = fsspec.filesystem("s3", **options["s3"])
    for name, content in files.items():
        fs.pipe_file(f"{BUCKET}/{name}", content)


# ---------------------------------------------------------------- object stores


@pytest.mark.parametrize("count", [3, 40])
def test_objects_that_a_list_names_have_the_versions_that_reading_asks_for(
    tmp_path: Path, s3_options: Options, count: int
):
    """Few are asked for one by one, many in a folder are looked up in its list."""
    folder = f"versions-{count}"
    _put(s3_options, {f"{folder}/{n:02}.jpg": jpeg(seed=n) for n in range(count)})
    _put(s3_options, {f"{folder}/{n:02}/below.jpg": b"" for n in range(3)})
    names = [f"{n:02}.jpg" for n in range(count)]
    uris = [f"s3://{BUCKET}/{folder}/{name}" for name in (*names, "absent.jpg", "zz.jpg")]
    units, _ = found_in(open_source(_list_of(tmp_path, uris), s3_options))
    assert all(unit.version and unit.length for unit in units[:count])
    assert [(unit.version, unit.length) for unit in units[count:]] == [("", None)] * 2
    assert read_unit(units[0], s3_options) == jpeg(seed=0)
    _put(s3_options, {f"{folder}/01.jpg": b"other"})
    with pytest.raises(UnitFailed, match="changed since it was indexed"):
        read_unit(units[1], s3_options)


def test_a_few_names_among_very_many_are_asked_for_and_not_searched(
    s3_options: Options, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sam2ray.readers.versions._LOOKED_AT_A_NAME", 1)
    _put(s3_options, {f"sparse/{n:03}.jpg": b"1" for n in range(120)})
    uris = [f"s3://{BUCKET}/sparse/{n:03}.jpg" for n in range(0, 120, 6)]
    found = Versions(s3_options).of({uri: uri for uri in uris})
    assert list(found) == uris
    assert all(entry is not None and entry.size == 1 for entry in found.values())


def test_a_store_that_does_not_answer_ends_the_listing(tmp_path: Path):
    with web({}) as server:
        away = server.url
    options = {"s3": {"endpoint_url": away, "key": "k", "secret": "s"}}
    path = _list_of(tmp_path, ["s3://bucket/a.jpg"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2ray.patience.sleep", lambda _: None)
        with pytest.raises(StorageError, match=r"s3://bucket/a\.jpg: could not be looked at"):
            found_in(open_source(path, options))


# ---------------------------------------------------------------- the web


def test_a_server_says_what_it_has_without_sending_it(tmp_path: Path):
    with web({"a.jpg": jpeg(), "refused.jpg": b""}) as server:
        server.statuses["refused.jpg"] = 405
        names = ("a.jpg", "refused.jpg", "absent.jpg")
        path = _list_of(tmp_path, [f"{server.url}/{name}" for name in names])
        units, _ = found_in(open_source(path))
        assert [bool(unit.version) for unit in units] == [True, False, False]
        assert units[0].length == len(jpeg())
        assert server.sent["a.jpg"] == 0
        assert read_unit(units[0], {}) == jpeg()
        server.requests.clear()
        found_in(open_source(path, ask_versions=False))
        assert not server.requests


def test_a_server_that_is_gone_is_not_asked_for_ever(tmp_path: Path):
    with web({}) as server:
        away = server.url
    versions = Versions({})
    uris = [f"{away}/{n}.jpg" for n in range(200)]
    found = versions.of({uri: uri for uri in uris})
    assert set(found.values()) == {None}
    assert max(versions._silences.values()) < 100


# ---------------------------------------------------------------- the next listing


def test_new_content_under_an_old_address_is_noticed_and_a_lost_server_changes_nothing(
    tmp_path: Path,
):
    store = LocalStore(tmp_path / "out")
    with web({"a.jpg": jpeg(), "b.jpg": jpeg(seed=1)}) as server:
        path = _list_of(tmp_path, [f"{server.url}/a.jpg", f"{server.url}/b.jpg"])

        def listed(index: str) -> Merged:
            config = load_config(None, (), source=path, output=store.uri)
            return list_source(config, store, index)[1]

        assert listed("1").added == 2
        server.files["b.jpg"] = jpeg(seed=2)
        assert (listed("2").added, listed("3").known) == (1, 2)
        _refuse_all(server)
        assert (listed("4").added, listed("5").known) == (0, 2)
        server.statuses.clear()
        server.files["a.jpg"] = jpeg(seed=3)
        assert (listed("6").superseding, listed("7").added) == (1, 0)


def _refuse_all(server: Web) -> None:
    server.statuses.update(dict.fromkeys(server.files, 503))


def test_a_file_of_the_web_that_is_the_source_itself_is_asked_for_as_well(tmp_path: Path):
    store = LocalStore(tmp_path / "out")
    with web({"a.jpg": jpeg()}) as server:

        def listed(index: str) -> Merged:
            config = load_config(None, (), source=f"{server.url}/a.jpg", output=store.uri)
            return list_source(config, store, index)[1]

        assert (listed("1").added, listed("2").known) == (1, 1)
        _refuse_all(server)
        assert listed("3").known == 1
        server.statuses.clear()
        server.files["a.jpg"] = jpeg(seed=3)
        assert listed("4").superseding == 1
