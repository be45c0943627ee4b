"""Classes of pixels, streamed: the same as of all logits at once."""

from __future__ import annotations

import pytest
import torch

from ops import upsample_classes, upsample_logits


def _logits(classes: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(classes, 12, 12, generator=generator)


@pytest.mark.parametrize("size_hw", [(120, 160), (300, 7), (12, 12), (5, 9), (1, 1)])
@pytest.mark.parametrize("classes", [1, 2, 40, 255])
@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20, None])
def test_a_few_classes_at_a_time_give_what_all_at_once_give(
    monkeypatch, classes: int, size_hw, chunk_bytes: int | None
):
    if chunk_bytes is not None:
        monkeypatch.setattr("ops.class_maps.CHUNK_BYTES", chunk_bytes)
    logits = _logits(classes)
    found = upsample_classes(logits, size_hw)
    whole = upsample_logits(logits[None], size_hw)[0]
    ids = whole.argmax(0)
    assert torch.equal(found.ids_HW.long(), ids)
    assert torch.equal(found.areas_C, torch.bincount(ids.flatten(), minlength=classes))
    sure = whole.softmax(0).amax(0)
    for number in range(classes):
        mine = sure[ids == number]
        if len(mine):
            torch.testing.assert_close(found.chances_C[number], mine.mean(), rtol=1e-4, atol=1e-6)
        else:
            assert found.chances_C[number].isnan()


def test_channels_last_and_halves_are_the_same_numbers():
    logits = _logits(6)
    plain = upsample_classes(logits, (50, 70))
    batch = logits[None].contiguous(memory_format=torch.channels_last)
    assert torch.equal(upsample_classes(batch[0], (50, 70)).ids_HW, plain.ids_HW)
    half = upsample_classes(logits.bfloat16(), (50, 70))
    assert torch.equal(half.ids_HW, upsample_classes(logits.bfloat16().float(), (50, 70)).ids_HW)


def test_of_equal_logits_the_first_class_wins_and_huge_ones_overflow_nothing():
    found = upsample_classes(torch.zeros(255, 2, 2), (300, 300))
    assert not found.ids_HW.any()
    assert found.chances_C[0].item() == pytest.approx(1 / 255)
    logits = torch.tensor([1e30, -1e30, 3e38]).view(3, 1, 1).expand(3, 2, 2)
    huge = upsample_classes(logits, (4, 4))
    assert huge.areas_C.tolist() == [0, 0, 16]
    assert huge.chances_C[2].item() == 1.0


@pytest.mark.parametrize("shape", [(0, 2, 2), (257, 2, 2), (3, 2), (1, 3, 2, 2)])
def test_what_are_no_logits_of_classes_is_refused(shape):
    with pytest.raises(ValueError, match="pass logits"):
        upsample_classes(torch.zeros(shape), (4, 4))
