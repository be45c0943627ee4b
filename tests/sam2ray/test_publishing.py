"""The last step of a write: asked about when all bytes are there, and nothing is left without."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from s3_server import BUCKET

from sam2ray.errors import RootRefused
from sam2ray.publishing import PART_BYTES, TEMPORARY
from sam2ray.storage import LocalStore, Options, Store, open_store

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
