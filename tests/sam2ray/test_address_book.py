"""Whole addresses are found again by their keys, in memory that does not grow with them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from sam2ray.address_book import AddressBook
from sam2ray.records import Unit


def _entry(number: int, secret: str = "hush") -> tuple[str, str]:
    unit = Unit(f"https://host/{number}.jpg", "image")
    return unit.source_key, f"{unit.source_uri}?sig={secret}{number}"


@pytest.mark.parametrize("held_bytes", [1, 20_000, 1 << 30])
def test_addresses_are_found_by_their_keys(held_bytes):
    book = AddressBook(held_bytes)
    entries = [_entry(number) for number in range(500)]
    for start in range(0, 500, 50):
        book.take(entries[start : start + 50])
    keys = [key for key, _ in entries]
    assert book.find([*keys, "0" * 32]) == [*(whole for _, whole in entries), None]


@pytest.mark.parametrize("held_bytes", [1, 1 << 30])
def test_the_later_of_two_addresses_counts_even_after_the_first_was_asked_for(held_bytes):
    book = AddressBook(held_bytes)
    book.take([_entry(1, "old")])
    assert book.find([_entry(1)[0]]) == [_entry(1, "old")[1]]
    book.take([_entry(1, "new")])
    assert book.find([_entry(1)[0]]) == [_entry(1, "new")[1]]


def test_what_goes_to_the_disk_has_no_name_there(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    book = AddressBook(held_bytes=1)
    book.take([_entry(number) for number in range(100)])
    assert list(tmp_path.iterdir()) == []
    assert book.find([_entry(7)[0]]) == [_entry(7)[1]]


def test_few_addresses_touch_no_disk(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/there is no such folder")
    book = AddressBook()
    book.take([_entry(1)])
    assert book.find([_entry(1)[0]]) == [_entry(1)[1]]
