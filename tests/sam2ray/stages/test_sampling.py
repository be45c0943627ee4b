"""Which frames are looked at, and in which ranges a decoder reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2ray.stages.sampling import Sample, Sampling, legs, sample, select


def at_25(number: int) -> float:
    return number / 25


def unknown(number: int) -> None:
    return None


def chosen(length: int = 10, seconds=at_25, first: int = 0, end: int | None = None, **rule):
    return list(sample(length, seconds, Sampling(**rule), first, end).numbers)


def test_every_frame_is_taken_unless_somebody_asks_for_fewer():
    assert chosen() == list(range(10))


def test_every_nth_frame_begins_with_the_first():
    assert chosen(every_nth=4) == [0, 4, 8]


def test_frames_a_second_are_the_first_ones_shown_in_each_interval():
    assert chosen(20, fps=10) == [0, 3, 5, 8, 10, 13, 15, 18]


def test_a_rate_above_that_of_the_video_takes_every_frame_once():
    assert chosen(5, fps=120) == [0, 1, 2, 3, 4]


def test_a_rate_that_divides_that_of_the_video_is_an_even_step():
    numbers = sample(3000, at_25, Sampling(fps=5)).numbers
    assert numbers == range(0, 3000, 5)[: len(numbers)]
    assert isinstance(numbers, range)


def test_a_variable_rate_is_sampled_by_time():
    times = [0.0, 0.01, 0.02, 1.0, 1.01, 5.0]
    assert chosen(6, times.__getitem__, fps=1) == [0, 3, 5]


def test_times_are_those_of_the_frames_not_of_the_file():
    assert chosen(6, lambda number: 100 + number / 25, fps=12.5) == [0, 2, 4]
    assert chosen(6, lambda number: 100 + number / 25, max_duration_s=0.1) == [0, 1, 2]


def test_a_longer_video_is_cut_off_after_so_many_frames_or_seconds():
    assert chosen(max_frames=3) == [0, 1, 2]
    assert chosen(max_frames=7, every_nth=3) == [0, 3, 6]
    assert chosen(max_duration_s=0.08) == [0, 1]
    assert chosen(max_duration_s=99) == list(range(10))


def test_a_sample_knows_whether_somebody_cut_it_off():
    for rule in ({}, {"max_frames": 10}, {"max_duration_s": 1}, {"every_nth": 7}, {"fps": 1}):
        assert sample(10, at_25, Sampling(**rule)).reaches_end, rule
    for rule in ({"max_frames": 9}, {"max_duration_s": 0.3}):
        assert not sample(10, at_25, Sampling(**rule)).reaches_end, rule


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, None),
        ({"max_frames": 10, "max_duration_s": 1.0}, None),
        ({"max_frames": 3}, "frame 2 of 10 by decode.video.max_frames=3"),
        ({"max_duration_s": 0.2}, "frame 4 of 10 by decode.video.max_duration_s=0.2"),
        ({"max_frames": 3, "max_duration_s": 0.2}, "frame 2 of 10 by decode.video.max_frames=3"),
        (
            {"max_frames": 7, "max_duration_s": 0.2},
            "frame 4 of 10 by decode.video.max_duration_s=0.2",
        ),
    ],
)
def test_a_sample_says_where_and_by_what_it_was_cut_off(rule, words):
    expected = words and f"cut off behind {words}"
    assert sample(10, at_25, Sampling(**rule)).cut == expected
    assert sample(10, at_25, Sampling(**rule)).with_frames([9]).cut == expected


def test_a_part_of_a_video_is_sampled_from_its_own_beginning():
    assert chosen(first=3, end=9, every_nth=2) == [3, 5, 7]
    assert chosen(first=3, max_frames=2) == [3, 4]
    assert chosen(first=3, max_duration_s=0.08) == [3, 4]
    assert chosen(first=3, end=99) == list(range(3, 10))
    assert chosen(first=10) == []


def test_without_times_a_rate_cannot_be_met_and_no_duration_is_too_long():
    with pytest.raises(ValueError, match="nothing says when"):
        chosen(seconds=unknown, fps=1)
    assert chosen(seconds=unknown, max_duration_s=0.01) == list(range(10))


def test_frames_that_are_wanted_join_the_sample_in_their_order():
    some = Sample(range(0, 10, 4), reaches_end=True)
    assert list(some.with_frames({4, 8}).numbers) == [0, 4, 8]
    more = some.with_frames({9, 3})
    assert list(more.numbers) == [0, 3, 4, 8, 9]
    assert [more.position_of(number) for number in more.numbers] == [0, 1, 2, 3, 4]
    assert list(more.with_frames({3}).numbers) == [0, 3, 4, 8, 9]


@pytest.mark.parametrize("numbers", [range(3, 40, 4), [1, 5, 6, 30, 31]])
@pytest.mark.parametrize("positions", [range(5), range(4, -1, -1), range(1, 4), range(2, 3)])
def test_positions_select_frames_forward_and_backward(numbers, positions):
    assert list(select(numbers, positions)) == [numbers[p] for p in positions]


def test_an_even_sample_is_read_as_one_range():
    assert list(legs(range(0, 30, 3), seeks=False)) == [(range(0, 30, 3), range(0, 30, 3))]
    assert list(legs([], seeks=True)) == []


@given(
    numbers=st.lists(st.integers(0, 2000), min_size=1, max_size=12, unique=True).map(sorted),
    seeks=st.booleans(),
    backward=st.booleans(),
)
def test_legs_hold_all_that_is_wanted_in_order(numbers, seeks, backward):
    wanted = numbers[::-1] if backward else numbers
    found = list(legs(wanted, seeks=seeks))
    assert [number for _, of_leg in found for number in of_leg] == wanted
    for leg, of_leg in found:
        assert [number for number in leg if number in of_leg] == list(of_leg)
        assert (leg[0], leg[-1]) == (of_leg[0], of_leg[-1])
    assert seeks or len(found) == 1


def test_far_frames_are_sought_and_near_ones_read_through():
    assert [leg for leg, _ in legs([0, 4, 6, 1000, 1001], seeks=True)] == [
        range(0, 7, 2),
        range(1000, 1002),
    ]
