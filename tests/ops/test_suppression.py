"""Judges suppression by a plain greedy loop over numpy boxes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from ops import suppress


def greedy(boxes: torch.Tensor, scores: torch.Tensor, limit: float) -> list[int]:
    """Keep boxes by falling score, then index, each unless a kept one covers it."""
    iou = box_iou(boxes, boxes).double()  # torchvision compares with the limit in double
    kept: list[int] = []
    for index in np.argsort(-scores.numpy(), kind="stable").tolist():
        if not (iou[index, kept] > limit).any():
            kept.append(index)
    return kept


def random_boxes(count: int, seed: int, spread: int = 60) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, spread, (count, 2), generator=random)
    size = torch.randint(1, 30, (count, 2), generator=random)
    return torch.cat((corner, corner + size), 1).float()


# Few different scores: ties are the rule in bf16.
@settings(deadline=None, max_examples=80)
@given(count=st.integers(0, 40), seed=st.integers(0, 10**6), limit=st.sampled_from([0.0, 0.3, 0.7]))
def test_keeps_what_a_greedy_loop_keeps_in_its_order(count, seed, limit):
    boxes = random_boxes(count, seed)
    scores = torch.randint(0, 5, (count,), generator=torch.Generator().manual_seed(seed)) / 5
    kept = suppress(boxes, scores, limit)
    assert kept.dtype == torch.int64
    assert kept.tolist() == greedy(boxes, scores, limit)


# torchvision changes its method at 1000 boxes
@pytest.mark.parametrize(("count", "spread"), [(60, 60), (3000, 400)])
def test_groups_do_not_see_each_other_and_come_out_in_order(count, spread):
    boxes = random_boxes(count, seed=1, spread=spread)
    random = torch.Generator().manual_seed(2)
    scores = torch.randint(0, 20, (count,), generator=random) / 20
    groups = torch.randint(0, 4, (count,), generator=random)
    expected = []
    for group in range(4):
        members = (groups == group).nonzero().flatten()
        expected += members[greedy(boxes[members], scores[members], 0.5)].tolist()
    kept = suppress(boxes, scores, 0.5, groups)
    assert kept.tolist() == expected
    assert len(expected) < count


def test_integer_boxes_and_half_precision_scores_are_taken():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 60, 60]])
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=torch.bfloat16)
    assert suppress(boxes, scores, 0.5).tolist() == [1, 2]


@pytest.mark.parametrize("groups", [None, torch.zeros(0, dtype=torch.int64)])
def test_no_boxes_give_an_empty_index(groups):
    kept = suppress(torch.zeros(0, 4), torch.zeros(0), 0.5, groups)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64
