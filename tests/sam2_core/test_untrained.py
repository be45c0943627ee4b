"""Nano without training: a click finds something near itself."""

import itertools

import pytest
import torch
from make_clip import textured_picture

from sam2_core import ImageSegmenter, Prompt, build_sam2


@pytest.fixture(scope="module")
def model():
    return build_sam2("nano")


def test_most_masks_lie_about_their_click(model):
    clicks = list(itertools.product(range(20, 300, 40), range(20, 220, 40)))
    prompts = [Prompt(points=[click], labels=[1]) for click in clicks]
    (found,) = ImageSegmenter(model).segment([textured_picture(220, 300)], [prompts])
    places = torch.tensor(clicks, dtype=torch.float32)
    centres, owners = [], []
    for owner, masks in enumerate(found.masks):
        for mask in masks[masks.flatten(1).any(1)]:
            ys, xs = torch.nonzero(mask, as_tuple=True)
            centres.append(torch.stack([xs.float().median(), ys.float().median()]))
            owners.append(owner)
    distance = torch.cdist(torch.stack(centres), places)
    own = distance[torch.arange(len(owners)), owners]
    assert len(owners) > len(clicks)
    assert (own < distance.mean(1) / 2).float().mean() > 0.75
