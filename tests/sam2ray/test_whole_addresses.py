"""From a list of signed addresses to pictures: a manifest that tells nobody, a book beside."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from label_bench import ledger
from make_archive import write_parquet
from make_clip import textured_picture
from PIL import Image
from s3_server import BUCKET
from signed_web import signed_web

from sam2ray.address_book import AddressBook
from sam2ray.addresses import take_apart
from sam2ray.errors import failure_by_surprise
from sam2ray.ledger import Process
from sam2ray.manifest import complete, merge_bucket, read_manifest, write_runs
from sam2ray.patience import Patience
from sam2ray.readers.prompts import PromptSource
from sam2ray.readers.sources import open_source
from sam2ray.records import OUTCOME_SCHEMA, UNIT_COLUMNS, ErrorClass, Unit
from sam2ray.stages.columns import PREPARED_SCHEMA
from sam2ray.stages.decode import PictureLimits
from sam2ray.stages.hands import Hands
from sam2ray.stages.prepare import Preparer, PrepareSpec
from sam2ray.storage import LocalStore

VALID = "HUSH-valid"


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(textured_picture(48, 60, seed))).save(file, "png")
    return file.getvalue()


def _index(store: LocalStore, uri: Path, book: AddressBook, **more: object) -> pa.Table:
    """What a run makes of a list: its manifest, with a book for what is not in there."""

    def keep(units: Sequence[Unit]) -> None:
        book.take([(unit.source_key, unit.address) for unit in units])

    source = open_source(str(uri), **more)  # pyright: ignore[reportArgumentType]
    join = source.join()

    def through(units):
        return join.run(units, source.all_prompts()) if source.prompts else units

    listed = write_runs(store, "1", 0, source.all_units(), through, keep)
    merged = merge_bucket(store, "1", listed.runs, [], 0, 1)
    for name in listed.runs:
        _assert_hushed(store, name)
    complete(store, "1", [str(uri)], listed, merged)
    for entry in store.list():
        _assert_hushed(store, entry.name)
    return pa.concat_tables(read_manifest(store))


def _assert_hushed(store: LocalStore, name: str) -> None:
    assert b"HUSH" not in store.read(name)
    if name.endswith(".parquet"):
        with store.open(name) as file:
            assert "HUSH" not in repr(pq.read_table(file).to_pylist())


def _prepare(todo: pa.Table, book: AddressBook) -> list[dict]:
    spec = PrepareSpec("rounded", 64, PictureLimits(), Patience(1, 0.0), 2, {})
    hands = Hands(ledger(), Process("node", 1, "prepare"), 600.0)
    return Preparer(spec, hands, book.find)(todo).to_pylist()


def test_pictures_are_fetched_by_addresses_that_no_table_has(tmp_path: Path):
    book, store = AddressBook(), LocalStore(tmp_path / "out")
    with signed_web({"a.png": _png(1), "b.png": _png(2)}, VALID) as web:
        addresses = [
            web.signed("a.png", VALID),
            web.of_user("b.png"),
            web.signed("c.mp4", VALID),
            "s3://KEY:HUSH/HUSH@bucket/d.png",
        ]
        notes = [f"see {address}" for address in addresses]
        uri = write_parquet(tmp_path / "list.parquet", {"uri": addresses, "note": notes})
        manifest = _index(store, uri, book, keep=["note"])
        todo = manifest.append_column("attempt", pa.array([1] * len(manifest), pa.int32()))
        rows = {row["source_uri"].rpartition("/")[2]: row for row in _prepare(todo, book)}
        is_of_the_web = pc.call_function(
            "starts_with", [todo["source_uri"]], pc.MatchSubstringOptions("http")
        )
        forgotten = _prepare(todo.filter(is_of_the_web), AddressBook())
    assert rows["a.png"]["pixels"] is not None
    assert rows["b.png"]["pixels"] is not None
    assert rows["a.png"]["whole_uri"] is None  # nobody after this needs it
    assert rows["c.mp4"]["whole_uri"] == addresses[2]  # its actor does
    assert rows["d.png"]["error_class"] == "forbidden"
    assert "HUSH" not in "".join(row["error_message"] or "" for row in rows.values())
    failed = [row for row in forgotten if row["kind"] == "image"]
    assert [row["error_class"] for row in failed] == ["forbidden"] * 2
    assert all("came without a signature" in row["error_message"] for row in failed)


def test_presigned_addresses_of_an_s3_server_are_read_by_its_web_side(tmp_path: Path, s3_options):
    bucket = fsspec.filesystem("s3", **s3_options["s3"])
    bucket.pipe_file(f"{BUCKET}/{tmp_path.name}/m.png", _png(3))
    address = bucket.sign(f"{BUCKET}/{tmp_path.name}/m.png", expiration=600)
    signature = take_apart(address).whole.rpartition("ignature=")[2].partition("&")[0]
    book, store = AddressBook(), LocalStore(tmp_path / "out")
    manifest = _index(store, write_parquet(tmp_path / "list.parquet", {"uri": [address]}), book)
    (row,) = _prepare(manifest.append_column("attempt", pa.array([1], pa.int32())), book)
    assert row["source_uri"] == f"{s3_options['s3']['endpoint_url']}/{BUCKET}/{tmp_path.name}/m.png"
    assert row["pixels"] is not None
    assert all(signature.encode() not in store.read(entry.name) for entry in store.list())


def test_a_list_and_its_prompts_may_be_signed_apart(tmp_path: Path):
    book, store = AddressBook(), LocalStore(tmp_path / "out")
    address = "https://host/x/a.png?id=1"
    uri = write_parquet(tmp_path / "list.parquet", {"uri": [f"{address}&token=HUSH-1"]})
    columns = {"uri": [f"{address}&token=HUSH-2"], "label": ["see https://host/b?sig=HUSH"]}
    box = {"x0": [1], "y0": [1], "x1": [5], "y1": [5]}
    prompts = write_parquet(tmp_path / "prompts.parquet", columns | box)
    source = PromptSource(uri=str(prompts), coordinates="pixels")
    (row,) = _index(store, uri, book, prompts=source).to_pylist()
    assert row["source_uri"] == address
    assert '"see https://host/b"' in row["prompts"]
    assert book.find([row["source_key"]]) == [f"{address}&token=HUSH-1"]


def test_no_table_has_a_column_for_whole_addresses():
    assert "whole_uri" not in {*UNIT_COLUMNS.names, *OUTCOME_SCHEMA.names}
    assert "whole_uri" in PREPARED_SCHEMA.names


def test_what_nobody_foresaw_is_said_without_secrets():
    failure = failure_by_surprise(ZeroDivisionError("at https://me:HUSH@host/a?sig=HUSH"))
    assert failure.error_class is ErrorClass.INTERNAL
    assert "HUSH" not in failure.message


@pytest.mark.parametrize("name", ["whole_uri", "address"])
def test_a_unit_shows_its_whole_address_to_nobody_who_prints_it(name: str):
    unit = Unit("https://host/a", "image", whole_uri="https://host/a?sig=HUSH")
    assert "HUSH" not in f"{unit} {unit!r}"
    assert "HUSH" in getattr(unit, name)
