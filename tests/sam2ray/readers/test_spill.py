"""Records that do not fit into memory come back whole, each key once."""

import random
import tempfile

import pytest

from sam2ray.readers.spill import Spill


@pytest.mark.parametrize("limit_bytes", [1, 1000, 1 << 20])
def test_all_records_of_a_key_come_together_in_their_order(limit_bytes):
    rng = random.Random(0)
    records = [(f"key {rng.randrange(500)}", n) for n in range(5000)]
    with Spill(limit_bytes) as spill:
        for key, record in records:
            spill.add(key, {"n": record})
        found = [item for share in spill.shares() for item in share.items()]
    assert len(found) == len({key for key, _ in found})
    expected: dict[str, list[dict]] = {}
    for key, record in records:
        expected.setdefault(key, []).append({"n": record})
    assert dict(found) == expected


def test_what_fits_into_memory_keeps_its_order_and_touches_no_disk(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/there is no such folder")
    with Spill() as spill:
        for key in "cabac":
            spill.add(key, None)
        assert [list(share) for share in spill.shares()] == [["c", "a", "b"]]


def test_memory_holds_a_small_part_of_many_records_at_a_time():
    with Spill(limit_bytes=10_000) as spill:
        for n in range(64_000):
            spill.add(f"key {n}", n)
        sizes = [len(share) for share in spill.shares()]
    assert sum(sizes) == 64_000
    assert max(sizes) < 2000


def test_temporary_files_are_removed_even_if_nobody_reads_them(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with Spill(limit_bytes=1) as spill:
        spill.add("a", 1)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_keys_of_any_text_fill_all_temporary_files():
    with Spill(limit_bytes=1) as spill:
        for n in range(1250):
            spill.add(f"key {n}\udcff", n)
        sizes = [len(share) for share in spill.shares()]
    assert len(sizes) == 64
    assert min(sizes) > 0
