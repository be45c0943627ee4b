"""What answers say of themselves: their shapes, and never the numbers of their tensors."""

from __future__ import annotations

import torch

from sam2_core import RELEASED, TrackedFrame
from sam2_core.data import ImageEmbedding
from sam2_core.inference.image_segmenter import EmbeddedImages, Segmentation


def test_a_segmentation_says_its_shapes_and_computes_no_mask_for_it() -> None:
    logits = torch.zeros(2, 3, 16, 16)
    answer = Segmentation(torch.zeros(2, 3), logits, torch.zeros(2), (480, 640), logits)
    assert repr(answer) == ("Segmentation(masks=[2, 3, 480, 640], low_res_logits=[2, 3, 16, 16])")
    assert "masks" not in vars(answer)


def test_embedded_images_say_how_many_they_are_and_by_whom() -> None:
    embedding = ImageEmbedding(*(torch.zeros(2, 4, 8) for _ in range(3)))
    images = EmbeddedImages(embedding, ((480, 640), (90, 70)), RELEASED["nano"])
    assert repr(images) == "EmbeddedImages(2 pictures, embedded by nano at 384 px)"


def test_a_tracked_frame_says_its_number_its_objects_and_its_shape() -> None:
    frame = TrackedFrame(
        7, (1, 5), torch.zeros(2, 16, 16), torch.zeros(2), torch.zeros(2), (480, 640)
    )
    assert repr(frame) == "TrackedFrame(frame=7, object_ids=(1, 5), masks=[2, 480, 640])"
