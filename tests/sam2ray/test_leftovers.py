"""What killed runs leave is removed by the next one, and nothing else is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import fsspec
from made_outputs import make_output
from s3_server import BUCKET

from sam2ray import lease
from sam2ray.leftovers import sweep
from sam2ray.publishing import PART_BYTES, TEMPORARY
from sam2ray.storage import LocalStore, Options, Store, open_store

DEAD = (
    "_sam2ray/runs/20260101T000000-dead/todo-00000.parquet",
    "_sam2ray/runs/20260101T000000-dead/todo-00001.parquet",
    "_sam2ray/listing/20260101T000000-dead/00000-00000.parquet",
)
KEPT = (
    "_sam2ray/runs/20260101T000000-dead.json",
    "_sam2ray/runs/20260101T000000-dead.crash.txt",
    "_sam2ray/config.yaml",
    "masks/todo-00000.parquet",
    "notes/listing.txt",
)


def test_lists_of_dead_runs_go_and_all_else_stays(store: Store):
    for name in (*DEAD, *KEPT):
        store.put(name, b"x")
    assert sweep(store) == len(DEAD)
    assert {entry.name for entry in store.list()} == set(KEPT)
    assert sweep(store) == 0


def test_an_output_is_as_it_was(tmp_path: Path):
    store = make_output(tmp_path).store
    before = [(entry.name, entry.version) for entry in store.list()]
    assert sweep(store) == 0
    assert [(entry.name, entry.version) for entry in store.list()] == before


def test_half_files_of_a_disk_go_but_those_of_a_lease_that_may_be_written_now(tmp_path: Path):
    store = LocalStore(tmp_path)
    names = [f"{folder}/{TEMPORARY}1" for folder in ("masks", "units", lease.FOLDER)]
    for name in (*names, f"{lease.FOLDER}/{TEMPORARY}2", f"{TEMPORARY}3"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(tmp_path / lease.FOLDER / f"{TEMPORARY}2", (long_ago, long_ago))
    assert sweep(store) == 4
    assert [path.name for path in tmp_path.rglob(f"{TEMPORARY}*")] == [f"{TEMPORARY}1"]


def test_an_output_that_lies_deeper_keeps_what_is_being_written(tmp_path: Path):
    half = tmp_path / "videos" / "masks" / f"{TEMPORARY}1"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    assert sweep(LocalStore(tmp_path)) == 0
    assert half.exists()
    assert sweep(LocalStore(tmp_path / "videos")) == 1


def test_uploads_that_nobody_ends_go_from_s3_and_those_of_a_neighbour_stay(
    tmp_path: Path, s3_options: Options
):
    own = f"{tmp_path.parent.name}/{tmp_path.name}"
    store = open_store(f"s3://{BUCKET}/{own}", s3_options)
    fs = fsspec.filesystem("s3", **s3_options["s3"], use_listings_cache=False)
    begun = [f"{own}/masks/a.parquet", f"{own}/masks/b.parquet", f"{own}-2/masks/a.parquet"]
    begun.append(f"{own}/videos/masks/a.parquet")
    for key in begun:
        file = fs.open(f"{BUCKET}/{key}", "wb", block_size=PART_BYTES // 2, autocommit=False)
        file.write(bytes(PART_BYTES // 2))
        file.closed = True  # its process was killed
    assert sweep(store) == 2
    left = fs.call_s3("list_multipart_uploads", Bucket=BUCKET, Prefix=tmp_path.parent.name)
    assert [upload["Key"] for upload in left["Uploads"]] == begun[2:]
    fs.clear_multipart_uploads(BUCKET)


def test_a_store_that_lists_no_uploads_does_not_stop_a_run(tmp_path: Path, s3_options: Options):
    where = f"{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}"
    store = open_store(f"s3://{where}", s3_options)
    store.put(DEAD[0], b"x")
    refused = open_store("s3://no-such-bucket/out", s3_options)
    assert sweep(refused) == 0
    assert sweep(store) == 1
