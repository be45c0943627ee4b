"""Files of a store appear whole or not at all, and nobody overwrites what must stay."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from s3_server import BUCKET

from sam2ray.errors import UsageError
from sam2ray.file_systems import file_system
from sam2ray.storage import TEMPORARY, Entry, Folder, LocalStore, Options, Store, open_store
from sam2ray.store_pages import facts_of_level


def test_what_is_put_can_be_read_and_listed(store: Store):
    store.put("b/c.txt", b"0123456789")
    store.put("a.txt", b"x")
    assert store.read("b/c.txt") == b"0123456789"
    assert store.read_range("b/c.txt", 2, 3) == b"234"
    assert store.read_range("b/c.txt", 8, 30) == b"89"
    assert sorted((e.name, e.size) for e in store.list()) == [("a.txt", 1), ("b/c.txt", 10)]
    assert [e.name for e in store.list("b")] == ["b/c.txt"]
    assert store.exists("a.txt")
    with store.open("b/c.txt") as file:
        file.seek(4)
        assert file.read(2) == b"45"


def test_what_is_not_there_is_an_empty_list_and_not_found(store: Store):
    assert list(store.list("nowhere")) == []
    assert not store.exists("nowhere")
    store.delete("nowhere")
    with pytest.raises(FileNotFoundError):
        store.read("nowhere")


def test_a_file_of_the_disk_can_be_put(store: Store, tmp_path: Path):
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(5 << 20))
    store.put("copy.bin", source)
    assert store.read("copy.bin") == source.read_bytes()


def test_another_content_is_another_version(tmp_path: Path):
    store = LocalStore(tmp_path)
    versions = set()
    for content in (b"one", b"two", b"three"):
        store.put("a", content)
        versions.update(entry.version for entry in store.list())
    assert len(versions) == 3


def test_of_many_that_create_a_file_one_succeeds(store: Store):
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(store.create("a", b"%d" % n)))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    assert [entry.name for entry in store.list()] == ["a"]
    assert not store.create("a", b"late")


def test_only_the_last_byte_makes_a_file_visible(s3_options, tmp_path: Path):
    """Sixty megabytes go up in parts; whoever looks meanwhile sees nothing."""
    store = open_store(f"s3://archive/{tmp_path.name}", s3_options)
    source = tmp_path / "large.bin"
    source.write_bytes(os.urandom(60 << 20))
    seen: list[list[int]] = []
    done = threading.Event()

    def look() -> None:
        other = open_store(f"s3://archive/{tmp_path.name}", s3_options)
        while not done.wait(0.02):
            seen.append([entry.size for entry in other.list()])

    watcher = threading.Thread(target=look)
    watcher.start()
    store.put("large.bin", source)
    done.set()
    watcher.join()
    assert {tuple(sizes) for sizes in seen} <= {(), (60 << 20,)}


def test_unfinished_files_are_not_listed(tmp_path: Path):
    (tmp_path / f"{TEMPORARY}123").write_bytes(b"half")
    assert list(LocalStore(tmp_path).list()) == []


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.put("a", b"old")
    with pytest.raises(FileNotFoundError):
        store.put("a", tmp_path / "no such file")
    assert store.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_address_says_where(tmp_path: Path):
    store = open_store(f"file://{tmp_path}/with%20space")
    assert isinstance(store, LocalStore)
    assert store.folder == tmp_path / "with space"
    with pytest.raises(UsageError, match="nope:// is no kind of storage"):
        open_store("nope://bucket")


# ---------------------------------------------------------------- levels


def test_a_level_is_what_a_folder_itself_holds(store: Store):
    for name in ("a.jpg", "x/b.jpg", "x/y/c.jpg", "xx/d.jpg"):
        store.put(name, b"1")
    of_root = {(type(found), found.name) for found in store.level()}
    assert of_root == {(Entry, "a.jpg"), (Folder, "x"), (Folder, "xx")}
    assert {found.name for found in store.level("x")} == {"x/b.jpg", "x/y"}
    (entry,) = (found for found in store.level("x") if isinstance(found, Entry))
    assert entry == next(found for found in store.list("x") if found.name == "x/b.jpg")
    with pytest.raises(FileNotFoundError):
        list(store.level("none"))


def test_links_and_pipes_are_passed_over(tmp_path: Path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.jpg").write_bytes(b"1")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [found.name for found in LocalStore(tmp_path).level()] == ["x"]


def test_a_level_of_many_objects_comes_page_by_page(s3_options: Options, tmp_path: Path):
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", s3_options)
    for n in range(25):
        store.put(f"{n:02}.jpg", b"1")
        store.put(f"folder {n % 5}/{n:02}.jpg", b"1")
    pages = []

    def ask(question):
        pages.append(question())
        return pages[-1]

    fs = file_system(store.uri, s3_options)
    fs.req_kw = {"MaxKeys": 4}  # goes with every request
    found = list(facts_of_level(fs, store.uri.removeprefix("s3://"), ask))
    assert len(pages) >= 7
    names = [facts["name"].rstrip("/").rpartition("/")[2] for facts in found]
    assert sorted(names) == [
        *(f"{n:02}.jpg" for n in range(25)),
        *(f"folder {n}" for n in range(5)),
    ]
    assert len(list(store.list())) == 50
