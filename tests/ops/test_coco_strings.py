"""Judges COCO's compressed strings by pycocotools, byte for byte, and by hostile strings."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as pycoco

from ops import RunLengths, encode_run_lengths, from_coco_strings, to_coco_strings

SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 11), st.integers(1, 11)))


def pycoco_strings(masks: np.ndarray) -> list[str]:
    encoded = [pycoco.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    return [rle["counts"].decode("ascii") for rle in encoded]


@settings(deadline=None, max_examples=150)
@given(masks=SMALL_MASKS)
def test_strings_are_those_of_pycocotools(masks):
    assert to_coco_strings(encode_run_lengths(torch.from_numpy(masks))) == pycoco_strings(masks)


@settings(deadline=None, max_examples=150)
@given(masks=SMALL_MASKS)
def test_reading_gives_back_the_runs_from_text_and_from_bytes(masks):
    runs = encode_run_lengths(torch.from_numpy(masks))
    strings = pycoco_strings(masks)
    for given_strings in (strings, [text.encode() for text in strings]):
        read = from_coco_strings(given_strings, runs.height, runs.width)
        assert torch.equal(read.counts, runs.counts)
        assert torch.equal(read.offsets, runs.offsets)
        assert (read.height, read.width) == (runs.height, runs.width)


def runs_of(masks: list[list[int]], area: int) -> RunLengths:
    counts = torch.tensor([count for mask in masks for count in mask], dtype=torch.int64)
    offsets = torch.tensor([0, *(len(mask) for mask in masks)]).cumsum(0)
    return RunLengths(area, 1, counts, offsets)


# pycocotools writes past its buffer, 6 characters a count, from 2**29 on: stay below it.
@settings(deadline=None, max_examples=150)
@given(masks=st.lists(st.lists(st.integers(0, 2**25), max_size=9), max_size=4))
def test_counts_of_every_magnitude_are_written_as_pycocotools_does(masks):
    area = max((sum(counts) for counts in masks), default=0) + 1
    masks = [[*counts, area - sum(counts)] for counts in masks]
    expected = [pycoco.frPyObjects({"size": [area, 1], "counts": c}, area, 1) for c in masks]
    assert to_coco_strings(runs_of(masks, area)) == [rle["counts"].decode() for rle in expected]


@settings(deadline=None, max_examples=150)
@given(masks=st.lists(st.lists(st.integers(0, 2**30), max_size=9), max_size=4))
def test_counts_of_masks_of_gigapixels_are_read_as_they_were_written(masks):
    area = max((sum(counts) for counts in masks), default=0) + 1
    runs = runs_of([[*counts, area - sum(counts)] for counts in masks], area)
    read = from_coco_strings(to_coco_strings(runs), area, 1)
    assert torch.equal(read.counts, runs.counts)
    assert torch.equal(read.offsets, runs.offsets)


def test_three_thousand_masks_and_a_huge_one_are_written_at_once():
    masks_NHW = torch.rand(3000, 20, 14, generator=torch.Generator().manual_seed(0)) < 0.4
    strings = to_coco_strings(encode_run_lengths(masks_NHW))
    assert strings == pycoco_strings(masks_NHW.numpy())
    huge_1HW = torch.zeros(1, 8192, 8192, dtype=torch.bool)
    huge_1HW[0, 17:8000, 5000:5005] = True
    assert to_coco_strings(encode_run_lengths(huge_1HW)) == pycoco_strings(huge_1HW.numpy())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("", "sum to 0"),
        ("3", "sum to 3"),
        ("5", "run of 5"),
        ("N4", "run of -2"),
        ("o", "ends within a number"),
        ("40P", "ends within a number"),
        ("4 ", "byte 0x20 at place 1"),
        ("4p", "byte 0x70 at place 1"),
        ("4\x00", "byte 0x00"),
        ("é", "byte 0xc3"),
        ("\ud800", "byte 0xed"),
        (b"\xff", "byte 0xff"),
        ("o" * 7 + "0", "more than 7 characters"),
        ("o" * 99 + "0", "more than 7 characters"),
    ],
)
@pytest.mark.parametrize("neighbours", [0, 2])
def test_a_damaged_string_is_refused_by_the_index_of_its_mask(bad, words, neighbours):
    strings = ["4"] * neighbours + [bad, "04", ""]
    with pytest.raises(ValueError, match=f"^mask {neighbours}: .*{words}"):
        from_coco_strings(strings, 2, 2)


def assert_fills(runs: RunLengths, mask_count: int, area: int) -> None:
    assert len(runs) == mask_count
    assert runs.counts.ge(0).all()
    parts = runs.counts.tensor_split(runs.offsets[1:-1])[:mask_count]
    assert [part.sum().item() for part in parts] == [area] * mask_count


@settings(deadline=None, max_examples=300)
@given(
    strings=st.lists(st.binary(max_size=12) | st.text("0123456oPQNM\\", max_size=12), max_size=3)
)
def test_any_string_is_either_refused_with_words_or_gives_runs_that_fill_the_mask(strings):
    try:
        runs = from_coco_strings(strings, 3, 2)
    except ValueError as error:
        refusal = str(error)
    else:
        assert_fills(runs, len(strings), 6)
        return
    assert refusal.startswith("mask ")


def test_overflowing_sums_do_not_pass_for_a_valid_mask():
    # 2**33 twice a step, long enough for a sum modulo 2**64 to come round.
    growing = "oooooo7" * 4000
    with pytest.raises(ValueError, match="mask 0: a run of"):
        from_coco_strings([growing], 2, 2)
