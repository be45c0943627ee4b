"""Which units are done, and which attempt is due for the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_outcomes import outcome, outcome_table, unit_id

from sam2ray.outcomes import OutcomeIndex, index_of
from sam2ray.packed import hex_ids
from sam2ray.records import ErrorClass, as_ids


def _index(*rows: dict) -> OutcomeIndex:
    return index_of([outcome_table([row]) for row in rows])


def _due(index: OutcomeIndex, *names: object, retried: tuple[ErrorClass, ...] = ()) -> list[int]:
    ids = as_ids([unit_id(name) for name in names])
    return index.next_attempts(ids, max_attempts=3, retried=frozenset(retried)).tolist()


def test_what_was_never_tried_is_due_for_its_first_attempt():
    assert _due(_index(), "a", "b") == [1, 1]
    assert _due(_index(outcome("c")), "a", "b") == [1, 1]


def test_what_is_done_is_not_due():
    assert _due(_index(outcome("a"), outcome("b", error_class="partial")), "a", "b") == [0, 0]


def test_what_may_pass_is_tried_three_times_in_all():
    for attempt, due in ((1, 2), (2, 3), (3, 0)):
        assert _due(_index(outcome("a", attempt=attempt, error_class="throttled")), "a") == [due]


def test_bad_files_are_tried_again_only_when_asked():
    index = _index(outcome("a", error_class="corrupt"), outcome("b", error_class="bomb"))
    assert _due(index, "a", "b") == [0, 0]
    assert _due(index, "a", "b", retried=(ErrorClass.CORRUPT,)) == [2, 0]


def test_asking_goes_beyond_three_attempts():
    index = _index(outcome("a", attempt=3, error_class="io"))
    assert _due(index, "a", retried=(ErrorClass.IO,)) == [4]


def test_the_highest_attempt_counts_in_whatever_order_files_are_read():
    rows = [
        outcome("a", attempt=1, error_class="io"),
        outcome("a", attempt=3),
        outcome("a", attempt=2, error_class="corrupt"),
    ]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        index = _index(*[rows[place] for place in order])
        assert len(index) == 1
        assert _due(index, "a") == [0]
        assert index.count() == {"ok": 1}


def test_outcomes_are_counted_by_class():
    index = _index(outcome("a"), outcome("b"), outcome("c", error_class="bomb"))
    assert index.count() == {"ok": 2, "bomb": 1}


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.integers(0, 40), st.sampled_from([None, "io", "corrupt"]), max_size=40),
    st.lists(st.integers(0, 60), max_size=20),
)
def test_looking_up_many_equals_looking_up_one_by_one(known: dict, asked: list[int]):
    index = _index(*[outcome(name, error_class=error) for name, error in known.items()])
    expected = [1 if name not in known else 2 if known[name] == "io" else 0 for name in asked]
    assert _due(index, *asked) == expected


@pytest.mark.parametrize("tail", ["00", "0000", "00" * 8])
def test_ids_that_end_with_zeros_are_kept_apart(tail: str):
    ids = as_ids([("ab" * 16)[: -len(tail)] + tail, "ab" * 16])
    assert len(np.unique(ids)) == 2


def test_ids_that_begin_alike_are_told_apart():
    ids = [f"{half:016x}{number:016x}" for half in (0, 7, 2**64 - 1) for number in range(9)]
    known = ids[::2]
    index = index_of([outcome_table([{**outcome(0), "unit_id": one} for one in known])])
    found, places = index.find(as_ids(ids))
    assert found.tolist() == [one in known for one in ids]
    assert hex_ids(index.rows[places[found]]) == known
