"""Slices of a source are shared out by the work that they are."""

from __future__ import annotations

from sam2ray.readers.slices import ReaderName, Slice
from sam2ray.shares import cut, is_large_list
from sam2ray.storage import Entry

MIB = 1 << 20


def _files(count: int) -> Slice:
    return Slice("files", "s3://b", files=(Entry("a.jpg", 9, "1"),) * count)


def _one(reader: ReaderName, name: str, size: int) -> Slice:
    return Slice(reader, "s3://b", files=(Entry(name, size, "1"),))


def test_a_small_source_is_one_share_which_no_task_is_started_for():
    assert len(cut([_files(10_000), _files(3)])) == 1
    assert len(cut([Slice("files", "s3://b", f"folder {n}") for n in range(4)])) == 1
    assert len(cut([_one("tar", f"{n}.tar", 9) for n in range(10)])) == 1
    assert cut([]) == []


def test_a_handful_of_folders_or_shards_is_work_for_tasks():
    assert len(cut([Slice("files", "s3://b", f"folder {n}") for n in range(33)])) == 9
    assert len(cut([_one("tar", f"{n}.tar", 1024 * MIB) for n in range(5)])) == 5
    assert len(cut([_files(10_000) for _ in range(20)])) == 4


def test_all_slices_are_shared_out_in_their_order():
    slices = [_one("tar", f"{n}.tar", n % 7 * 99 * MIB) for n in range(100)]
    shares = cut(slices)
    assert [piece for share in shares for piece in share] == slices
    assert all(shares)


def test_however_many_slices_there_are_a_driver_looks_after_two_thousand_shares_at_most():
    pieces = [Slice("files", "s3://b", f"folder {n}") for n in range(100_000)]
    assert 1000 < len(cut(pieces)) <= 2000


def test_a_list_is_dealt_out_from_sixteen_mebibytes_of_text_on():
    assert not is_large_list(_one("list", "s3://b/a.csv", 15 * MIB))
    assert is_large_list(_one("list", "s3://b/a.jsonl.gz", 17 * MIB))
    assert is_large_list(_one("list", "s3://b/a.parquet", 5 * MIB))
    assert not is_large_list(_one("list", "s3://b/a.pdf", 500 * MIB))
    assert not is_large_list(_one("tar", "a.tar", 500 * MIB))
