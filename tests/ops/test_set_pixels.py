"""Judges the search for set pixels by numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ops import set_pixels
from ops.set_pixels import find_set_pixels, mask_chunks


@settings(deadline=None, max_examples=100)
@given(flags=arrays(np.bool_, st.integers(0, 70)))
def test_finds_what_numpy_finds_at_any_length(flags):
    found = find_set_pixels(torch.from_numpy(flags))
    assert found.dtype == torch.int64
    assert found.tolist() == np.flatnonzero(flags).tolist()


def test_finds_pixels_in_a_view_that_starts_between_two_words():
    flags = torch.zeros(100, dtype=torch.bool)
    flags[[3, 50, 99]] = True
    assert find_set_pixels(flags[3:]).tolist() == [0, 47, 96]


@pytest.mark.parametrize(("mask_count", "mask_bytes"), [(0, 10), (1, 10), (7, 10), (3, 1000)])
def test_chunks_cover_every_mask_once_and_stay_within_the_bound(
    monkeypatch, mask_count, mask_bytes
):
    monkeypatch.setattr(set_pixels, "CPU_CHUNK_BYTES", 25)
    chunks = mask_chunks(mask_count, mask_bytes, torch.device("cpu"))
    covered = [mask for chunk in chunks for mask in range(chunk.start, chunk.stop)]
    assert covered == list(range(mask_count))
    # A mask larger than the bound still has to be looked at, alone.
    assert all((chunk.stop - chunk.start) * mask_bytes <= max(25, mask_bytes) for chunk in chunks)
