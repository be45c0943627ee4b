"""Millions of rows in one array: sorted, found and dropped as a dictionary would have it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2ray import packed
from sam2ray.packed import (
    PackedRows,
    first_places,
    hex_ids,
    is_in,
    keep,
    keep_last_of_each,
    sorted_ids,
)
from sam2ray.records import as_ids

# Halves that are alike, and zeros at either end: what compares texts or halves alone gets it wrong.
_HALVES = st.sampled_from([0, 1, 256, 2**32, 2**63, 2**64 - 256, 2**64 - 1])
_IDS = st.builds(lambda high, low: f"{high:016x}{low:016x}", _HALVES, _HALVES)
_ROWS = st.lists(st.tuples(_IDS, st.integers(0, 255)), max_size=60)


@pytest.fixture(autouse=True, params=[3, 1 << 18])
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_BLOCK", request.param)
    monkeypatch.setattr(packed, "_FIRST_ROOM", 1)


def _packed(rows: list[tuple[str, int]], parts: int) -> PackedRows:
    collected = PackedRows(number="u1")
    for part in range(parts):
        own = rows[part::parts]
        collected.add(as_ids([one for one, _ in own]), number=np.array([n for _, n in own], int))
    return collected


def _pairs(rows: np.ndarray) -> list[tuple[str, int]]:
    return list(zip(hex_ids(rows), rows["number"].tolist(), strict=True))


@settings(deadline=None)
@given(_ROWS, st.integers(1, 4))
def test_rows_come_back_sorted_by_id_and_then_by_number(rows: list, parts: int):
    collected = _packed(rows, parts)
    assert len(collected) == len(rows)
    assert _pairs(collected.take()) == sorted(rows)
    assert len(collected) == 0


@settings(deadline=None)
@given(_ROWS)
def test_of_each_id_the_highest_number_is_kept(rows: list):
    kept = keep_last_of_each(_packed(rows, 2).take())
    assert dict(_pairs(kept)) == {one: max(n for o, n in rows if o == one) for one, _ in rows}
    assert len(kept) == len({one for one, _ in rows})


@settings(deadline=None)
@given(_ROWS, st.lists(_IDS, max_size=20))
def test_ids_are_found_where_they_are_and_only_there(rows: list, asked: list):
    known, wanted = keep_last_of_each(_packed(rows, 1).take()), as_ids(asked)
    found = is_in(wanted, known)
    assert found.tolist() == [one in dict(rows) for one in asked]
    places = first_places(known, wanted[found])
    assert hex_ids(known[places]) == [one for one in asked if one in dict(rows)]


@settings(deadline=None)
@given(_ROWS, st.data())
def test_chosen_rows_are_kept_in_their_order(rows: list, data: st.DataObject):
    given_rows = _packed(rows, 1).take()
    before = _pairs(given_rows)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    kept = keep(given_rows, np.array(chosen, bool))
    assert _pairs(kept) == [row for row, taken in zip(before, chosen, strict=True) if taken]


@settings(deadline=None)
@given(st.lists(st.lists(_IDS, max_size=9), max_size=5))
def test_ids_of_many_parts_are_there_once(parts: list):
    together = sorted_ids(as_ids(part) for part in parts)
    assert hex_ids(together) == sorted({one for part in parts for one in part})


def test_ids_whose_bytes_were_turned_round_are_refused():
    joined = np.concatenate([as_ids(["0" * 32]), as_ids(["1" * 32])])  # numpy's own byte order
    with pytest.raises(AssertionError, match="round"):
        is_in(as_ids(["0" * 32]), joined)
