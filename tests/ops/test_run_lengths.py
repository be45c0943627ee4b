"""Judges run lengths by pycocotools, and by decoding what was encoded."""

from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as pycoco

from ops import (
    RunLengths,
    concatenate_runs,
    decode_run_lengths,
    encode_run_lengths,
    run_areas,
    run_lengths,
    select_runs,
    set_pixels,
)

SMALL_MASKS = arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 11), st.integers(1, 11)))


def counts_of(runs: RunLengths) -> list[list[int]]:
    return [part.tolist() for part in runs.counts.tensor_split(runs.offsets[1:-1])][: len(runs)]


def pycoco_strings(masks: np.ndarray) -> list[bytes]:
    return [pycoco.encode(np.asfortranarray(mask, np.uint8))["counts"] for mask in masks]


def as_pycoco_strings(runs: RunLengths) -> list[bytes]:
    size = [runs.height, runs.width]
    every = [{"size": size, "counts": counts} for counts in counts_of(runs)]
    return [pycoco.frPyObjects(rle, *size)["counts"] for rle in every]


def ellipses(mask_count: int, height: int, width: int) -> torch.Tensor:
    random = np.random.default_rng(0)
    y, x = np.ogrid[:height, :width]
    masks = np.zeros((mask_count, height, width), bool)
    for mask in masks:
        centre_y, centre_x = random.uniform((0, 0), (height, width))
        radius_y, radius_x = random.uniform(0.02, 0.3, 2) * (height, width)
        mask |= ((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 < 1
    return torch.from_numpy(masks)


@settings(deadline=None, max_examples=150)
@given(masks=SMALL_MASKS)
def test_encodes_the_runs_that_pycocotools_encodes(masks):
    runs = encode_run_lengths(torch.from_numpy(masks))
    assert len(runs) == len(masks)
    assert as_pycoco_strings(runs) == pycoco_strings(masks)


@settings(deadline=None, max_examples=150)
@given(masks=SMALL_MASKS)
def test_decoding_gives_back_what_was_encoded(masks):
    masks_NHW = torch.from_numpy(masks)
    assert torch.equal(decode_run_lengths(encode_run_lengths(masks_NHW)), masks_NHW)


@settings(deadline=None, max_examples=50)
@given(masks=SMALL_MASKS)
def test_chunks_of_a_few_bytes_give_the_same_runs_and_masks(masks):
    masks_NHW = torch.from_numpy(masks)
    whole = encode_run_lengths(masks_NHW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_pixels, "CPU_CHUNK_BYTES", 40)
        cut = encode_run_lengths(masks_NHW)
        assert torch.equal(cut.counts, whole.counts)
        assert torch.equal(cut.offsets, whole.offsets)
        assert torch.equal(decode_run_lengths(cut), masks_NHW)


@pytest.mark.parametrize(
    ("pixels", "counts"),
    [
        ([], [6]),  # empty
        ([0, 1, 2, 3, 4, 5], [0, 6]),  # full
        ([0], [0, 1, 5]),  # the first pixel alone
        ([5], [5, 1]),  # the last pixel alone
        ([2, 3], [2, 2, 2]),  # from the bottom of a column to the top of the next
    ],
)
@pytest.mark.parametrize("size", [(3, 2), (6, 1), (1, 6), (2, 3)])
def test_counts_start_with_the_zeros_and_run_down_the_columns(size, pixels, counts):
    height, width = size
    mask = torch.zeros(width, height, dtype=torch.bool)
    mask.view(-1)[pixels] = True
    assert counts_of(encode_run_lengths(mask.T[None])) == [counts]


def test_masks_of_a_batch_do_not_run_into_each_other():
    full, empty = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    runs = encode_run_lengths(torch.stack((full, full, empty, full)))
    assert counts_of(runs) == [[0, 4], [0, 4], [4], [0, 4]]


def test_strided_views_are_encoded_as_they_look():
    masks_NHW = ellipses(6, 30, 41)[::2, ::3].transpose(1, 2)
    assert torch.equal(decode_run_lengths(encode_run_lengths(masks_NHW)), masks_NHW)


def test_noise_survives_although_every_word_of_it_changes():
    masks_NHW = torch.rand(8, 97, 103, generator=torch.Generator().manual_seed(0)) < 0.5
    runs = encode_run_lengths(masks_NHW)
    assert as_pycoco_strings(runs) == pycoco_strings(masks_NHW.numpy())
    assert torch.equal(decode_run_lengths(runs), masks_NHW)


def test_a_mask_of_8192_by_8192_survives():
    mask_1HW = torch.zeros(1, 8192, 8192, dtype=torch.bool)
    mask_1HW[0, 100:8000, 3000:3003] = True
    mask_1HW[0, -1, -1] = mask_1HW[0, 0, 0] = True
    runs = encode_run_lengths(mask_1HW)
    assert as_pycoco_strings(runs) == pycoco_strings(mask_1HW.numpy())
    assert torch.equal(decode_run_lengths(runs), mask_1HW)


@pytest.mark.parametrize("height", [*range(1, 27), 99, 100, 101])
def test_masks_of_any_height_survive(height):
    masks_NHW = torch.rand(3, height, 7, generator=torch.Generator().manual_seed(height)) < 0.3
    assert torch.equal(decode_run_lengths(encode_run_lengths(masks_NHW)), masks_NHW)


def test_a_high_mask_is_decoded_in_few_operations(monkeypatch):
    operations = []
    through = run_lengths._accumulate_rows

    def counted(rows):
        operations.append(len(rows) - 1)
        through(rows)

    monkeypatch.setattr(run_lengths, "_accumulate_rows", counted)
    masks_NHW = ellipses(2, 2500, 1700)  # over 4 MiB: a chunk each
    assert torch.equal(decode_run_lengths(encode_run_lengths(masks_NHW)), masks_NHW)
    assert sum(operations) <= 2 * 2 * 50


def test_three_thousand_masks_at_once_survive():
    masks_NHW = ellipses(3000, 64, 48)
    runs = encode_run_lengths(masks_NHW)
    assert as_pycoco_strings(runs) == pycoco_strings(masks_NHW.numpy())
    assert torch.equal(decode_run_lengths(runs), masks_NHW)


def test_runs_of_no_pixels_are_decoded_as_nothing():
    masks = [[1, 0, 1, 1, 1], [0, 1, 0, 1, 2], [1, 0, 0, 1, 0, 2], [2, 2, 0, 0]]
    offsets = torch.tensor([0, 5, 10, 16, 20])
    counts = torch.tensor([count for mask in masks for count in mask])
    expected = [[0, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    for size in [(4, 1), (2, 2), (1, 4)]:
        masks_NHW = decode_run_lengths(RunLengths(*size, counts, offsets))
        assert masks_NHW.transpose(1, 2).flatten(1).view(torch.uint8).tolist() == expected


@pytest.mark.parametrize(
    "masks", [torch.zeros(2, 3, 4), torch.zeros(3, 4, dtype=torch.bool), torch.ones(1, 0, 4).bool()]
)
def test_what_is_not_a_batch_of_bool_masks_is_refused_with_its_shape(masks):
    with pytest.raises(ValueError, match=r"float32 \[2, 3, 4\]|\[3, 4\]|\[1, 0, 4\]"):
        encode_run_lengths(masks)


@settings(deadline=None, max_examples=60)
@given(masks=SMALL_MASKS.filter(len), data=st.data())
def test_selecting_runs_is_indexing_masks(masks, data):
    masks_NHW = torch.from_numpy(masks)
    index = data.draw(st.lists(st.integers(-len(masks), len(masks) - 1), max_size=6))
    chosen = torch.tensor(index, dtype=torch.int64)
    selected = select_runs(encode_run_lengths(masks_NHW), chosen)
    assert torch.equal(decode_run_lengths(selected), masks_NHW[chosen])
    assert torch.equal(selected.counts, encode_run_lengths(masks_NHW[chosen]).counts)


def test_selecting_runs_takes_a_bool_mask_too():
    masks_NHW = ellipses(5, 9, 8)
    keep = torch.tensor([True, False, False, True, True])
    selected = select_runs(encode_run_lengths(masks_NHW), keep)
    assert torch.equal(decode_run_lengths(selected), masks_NHW[keep])


def test_concatenated_runs_are_the_masks_in_order():
    parts = [ellipses(count, 12, 7) for count in (3, 0, 2)]
    joined = concatenate_runs([encode_run_lengths(part) for part in parts])
    assert torch.equal(decode_run_lengths(joined), torch.cat(parts))


def test_runs_of_different_sizes_are_not_concatenated():
    batches = [encode_run_lengths(ellipses(1, *size)) for size in [(4, 5), (5, 4)]]
    with pytest.raises(ValueError, match="4 x 5, 5 x 4"):
        concatenate_runs(batches)
    with pytest.raises(ValueError, match="no batch"):
        concatenate_runs([])


def test_runs_compare_by_identity_and_move_as_a_whole():
    runs = encode_run_lengths(ellipses(2, 5, 5))
    assert runs != encode_run_lengths(ellipses(2, 5, 5))
    moved = runs.to("meta")
    assert (moved.counts.device.type, moved.offsets.device.type) == ("meta", "meta")
    assert (moved.height, moved.width, len(moved)) == (5, 5, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_runs_and_masks_of_the_cpu():
    masks_NHW = ellipses(50, 90, 77)
    expected, found = encode_run_lengths(masks_NHW), encode_run_lengths(masks_NHW.cuda())
    assert torch.equal(found.counts.cpu(), expected.counts)
    assert torch.equal(found.offsets.cpu(), expected.offsets)
    assert torch.equal(decode_run_lengths(found).cpu(), masks_NHW)
    assert torch.equal(run_areas(found).cpu(), run_areas(expected))


@pytest.mark.reference
def test_counts_are_those_of_the_reference():
    amg = import_module("sam2.utils.amg")
    masks_NHW = torch.cat((ellipses(20, 61, 83), torch.ones(1, 61, 83).bool()))
    expected = [rle["counts"] for rle in amg.mask_to_rle_pytorch(masks_NHW)]
    assert counts_of(encode_run_lengths(masks_NHW)) == expected
