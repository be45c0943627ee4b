"""The weights that come with the package: whole, small, and of use without any network."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sam2_core import ImageSegmenter, MaskGenerator, Prompt, load_sam2, read_image
from sam2_core.errors import ConfigError
from sam2_core.learning.world import World
from sam2_core.shipped import SHIPPED, known_digest, own_weights


def test_the_file_is_the_one_that_is_known_and_is_small():
    for name, digest in SHIPPED.items():
        content = own_weights(name).read_bytes()
        assert sha256(content).hexdigest() == digest == known_digest(name)
        assert len(content) <= 8_000_000
        assert {weight.dtype for weight in load_file(own_weights(name)).values()} == {torch.float16}


def test_models_that_do_not_ship_are_published_or_have_no_weights():
    digest = known_digest("sam2.1_hiera_tiny")
    assert digest is not None
    assert digest.startswith("7402e0d8")
    assert known_digest("four_blocks") is None
    with pytest.raises(ConfigError, match="No checkpoint is published for 'four_blocks'"):
        own_weights("four_blocks")


def test_nano_finds_what_is_clicked_on():
    made = World(77).picture(1)
    largest = max(made.object_ids(), key=lambda n: int(made.masks([n]).sum()))
    mask = made.masks([largest])[0]
    rows, columns = np.nonzero(mask)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    (answer,) = ImageSegmenter(load_sam2("nano")).segment(
        [made.pixels], [[Prompt(box=tuple(map(float, box)))]], multimask=False
    )
    found = answer.masks[0, 0].numpy()
    assert (found & mask).sum() / (found | mask).sum() > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["truck", "bedroom_00000", "bedroom_00060"])
def test_a_photograph_has_regions_of_many_sizes(media, name):
    picture = read_image(media / f"{name}.jpg")[::3, ::3]
    (masks,) = MaskGenerator(load_sam2("nano")).generate([picture])
    assert 10 <= len(masks) <= 80
    shares = np.array([mask.area for mask in masks]) / picture[..., 0].size
    assert shares.min() < 0.01
    assert shares.max() > 0.05
    assert (shares < 0.9).all()
