"""All masks of small pictures: what work is done, how often, and what is kept for how long."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from all_masks import ALL, SOME, all_masks, count_rows, small_picture
from small_models import lively_model

from sam2_core import ImageError, MaskGenerator, Sam2
from sam2_core.inference import candidates, mask_generator
from sam2_core.inference.candidates import Candidates


@pytest.fixture(scope="module")
def model() -> Sam2:
    return lively_model(64)


def test_every_point_is_decoded_once_in_full_batches_across_pictures(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    encoded = count_rows(monkeypatch, model, "embed_images", len)
    all_masks(
        model,
        [small_picture(), small_picture(33, 47), small_picture(20, 20)],
        **SOME,
        points_per_batch=10,
    )
    assert sum(decoded) == 3 * 16
    assert decoded == [10, 10, 10, 10, 8]
    assert sum(encoded) == 3


def test_only_masks_that_pass_the_iou_filter_are_upsampled_and_only_the_last_ones_encoded(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    (everything,) = all_masks(model, [small_picture()], **{**ALL, "points_per_side": 4})
    passing = sum(mask.predicted_iou > 0.5 for mask in everything)
    assert 0 < passing < len(everything) == 48
    measured = count_rows(
        monkeypatch, mask_generator, "measure_upsampled", lambda logits, *_: len(logits)
    )
    drawn = count_rows(
        monkeypatch, candidates, "upsampled_run_lengths", lambda logits, *_, **__: len(logits)
    )
    (found,) = all_masks(model, [small_picture()], **SOME)
    assert sum(measured) == passing
    assert sum(drawn) == len(found) < passing


def test_nothing_is_upsampled_where_no_mask_passes(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = count_rows(
        monkeypatch, mask_generator, "measure_upsampled", lambda logits, *_: len(logits)
    )
    all_masks(model, [small_picture()], **{**SOME, "pred_iou_thresh": 1.0})
    assert sum(measured) == 0


@pytest.mark.parametrize("settings", [{}, {"use_m2m": True}, {"points_per_batch": 3}])
def test_what_depends_on_images_alone_is_computed_once_for_each_batch_of_them(
    model: Sam2, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = model.mask_decoder
    pieces = [(model, "scene"), (decoder, "prepare_levels"), (decoder.transformer, "share")]
    encoded = count_rows(monkeypatch, model, "embed_images", len)
    decoded = count_rows(monkeypatch, model, "decode_masks", lambda _, prompts, __: len(prompts))
    counted = [
        count_rows(monkeypatch, *piece, lambda maps, *_, **__: len(maps)) for piece in pieces
    ]
    all_masks(model, [small_picture()] * 6, **{**ALL, "points_per_side": 5, **settings})
    assert encoded == [4, 2]
    assert counted == [[4, 2]] * len(pieces)
    assert sum(decoded) == 6 * 25 * (4 if settings.get("use_m2m") else 1)
    assert len(decoded) >= 3


def test_a_scene_is_let_go_before_the_next_batch_of_pictures_is_encoded(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes: list[weakref.ref[torch.Tensor]] = []
    prepare, embed = model.scene, model.embed_images
    alive: list[int] = []

    def scene(*args: Any, **kwargs: Any) -> Any:
        made = prepare(*args, **kwargs)
        scenes.append(weakref.ref(made.fine_BPQC))
        return made

    def embed_images(pixels: torch.Tensor) -> Any:
        alive.append(_alive(scenes))
        return embed(pixels)

    monkeypatch.setattr(model, "scene", scene)
    monkeypatch.setattr(model, "embed_images", embed_images)
    all_masks(model, [small_picture()] * 9, **SOME)
    assert len(scenes) == 3
    assert alive == [0, 0, 0]


@pytest.mark.parametrize("layers", [0, 1])
def test_candidates_of_one_picture_are_let_go_before_the_next_ones_are_found(
    model: Sam2, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**ALL, "points_per_side": 2, "crop_n_layers": layers}

    def most_alive(pictures: int) -> int:
        found: list[weakref.ref[torch.Tensor]] = []
        alive: list[int] = []
        drop = MaskGenerator._drop_duplicates

        def kept(self: MaskGenerator, every: Candidates) -> Candidates:
            left = drop(self, every)
            found.append(weakref.ref(left.logits_Nhw))
            alive.append(_alive(found))
            return left

        with monkeypatch.context() as patch:
            patch.setattr(MaskGenerator, "_drop_duplicates", kept)
            all_masks(model, [small_picture(30, 30)] * pictures, **settings)
        assert len(found) == pictures * (1 if layers == 0 else 5)
        return max(alive)

    assert most_alive(9) == most_alive(3) <= (2 if layers == 0 else 6)


def test_pictures_are_taken_when_their_turn_comes(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def pictures() -> Iterator[np.ndarray]:
        for number in range(10):
            taken.append(number)
            yield small_picture()

    encoded = count_rows(monkeypatch, model, "embed_images", lambda _: len(taken))
    assert len(all_masks(model, pictures(), **SOME)) == 10
    assert encoded == [4, 8, 10]


def test_pictures_before_a_bad_one_cost_no_more_than_their_batches(
    model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = count_rows(monkeypatch, model, "embed_images", len)
    pictures = [*[small_picture()] * 5, small_picture() / 255, small_picture()]
    with pytest.raises(ImageError, match="Picture 5: "):
        all_masks(model, pictures, **SOME)
    assert encoded == [4]


def _alive(tensors: list[weakref.ref[torch.Tensor]]) -> int:
    return sum(tensor() is not None for tensor in tensors)
