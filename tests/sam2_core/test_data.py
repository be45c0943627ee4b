"""The nouns that move between the verbs: rows are picked and joined without mixing them up."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sam2_core.data import (
    FramePrompt,
    ImageEmbedding,
    MaskPrediction,
    ObjectPrediction,
    PackedPrompts,
    Prompt,
    concatenate_embeddings,
    concatenate_objects,
    concatenate_predictions,
)


def _rows(count: int, *shape: int) -> Tensor:
    """Every row is filled with its number."""
    return torch.arange(float(count)).reshape(-1, *[1] * len(shape)).expand(count, *shape).clone()


def _packed(count: int, *, masks: bool) -> PackedPrompts:
    return PackedPrompts(
        _rows(count, 2, 2),
        _rows(count, 2).long(),
        torch.arange(count),
        _rows(count, 8, 8) if masks else None,
    )


def _embedding(count: int) -> ImageEmbedding:
    return ImageEmbedding(_rows(count, 9, 4), _rows(count, 9, 4, 2), _rows(count, 9, 16, 1))


def _prediction(count: int) -> MaskPrediction:
    return MaskPrediction(_rows(count, 3, 8, 8), _rows(count, 3), _rows(count), _rows(count, 3, 4))


def _objects(count: int) -> ObjectPrediction:
    return ObjectPrediction(_rows(count, 8, 8), _rows(count), _rows(count), _rows(count, 4))


def _first_values(noun: object) -> list[list[float]]:
    """For each tensor of a noun, the number that fills each row."""
    tensors = [getattr(noun, field.name) for field in dataclasses.fields(noun)]
    return [
        x.reshape(len(x), -1)[:, 0].tolist() if x.numel() else []
        for x in tensors
        if isinstance(x, Tensor)
    ]


@pytest.mark.parametrize(
    "noun",
    [_packed(5, masks=True), _packed(5, masks=False), _embedding(5), _prediction(5), _objects(5)],
    ids=lambda noun: type(noun).__name__,
)
@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (slice(1, 3), [1, 2]),
        (slice(0, 0), []),
        (torch.tensor([4, 0, 0]), [4, 0, 0]),
        (torch.tensor([True, False, False, True, False]), [0, 3]),
        (torch.tensor([], dtype=torch.long), []),
    ],
    ids=["slice", "none", "indices", "truth values", "no indices"],
)
def test_rows_are_picked_from_every_tensor_alike(
    noun: PackedPrompts, chosen: slice | Tensor, expected: list[int]
) -> None:
    found = noun.rows(chosen)
    assert type(found) is type(noun)
    assert all(values == expected for values in _first_values(found))
    assert len(_first_values(found)) == len(_first_values(noun))


def test_prompts_embeddings_and_objects_have_a_length() -> None:
    assert [len(noun) for noun in (_packed(3, masks=False), _embedding(3), _objects(3))] == [3] * 3
    assert len(_embedding(0)) == 0


def test_objects_share_the_finer_levels_of_their_frames() -> None:
    """After recall the coarse rows are objects; which frame each is on goes along."""
    recalled = dataclasses.replace(
        _embedding(2),
        coarse_BPC=_rows(4, 9, 4),
        conditioned=True,
        source_index=torch.tensor([0, 0, 1, 1]),
    )
    picked = recalled.rows(torch.tensor([3, 0]))
    assert picked.coarse_BPC[:, 0, 0].tolist() == [3, 0]
    assert picked.source_index.tolist() == [1, 0]
    assert picked.conditioned
    assert picked.middle_BPQC is recalled.middle_BPQC
    assert picked.fine_BPQC is recalled.fine_BPQC


def test_the_coarse_level_is_laid_out_row_by_row() -> None:
    pixels = torch.arange(2 * 9 * 4.0).reshape(2, 9, 4)
    embedding = dataclasses.replace(_embedding(2), coarse_BPC=pixels)
    layout = embedding.coarse_map()
    assert layout.shape == (2, 4, 3, 3)
    for y in range(3):
        for x in range(3):
            assert torch.equal(layout[:, :, y, x], pixels[:, y * 3 + x])


@pytest.mark.parametrize("counts", [(2,), (2, 3), (0, 2, 0), (1, 1, 1)])
def test_parts_are_joined_in_order(counts: tuple[int, ...]) -> None:
    expected = [float(row) for count in counts for row in range(count)]
    predictions = concatenate_predictions([_prediction(count) for count in counts])
    assert all(values == expected for values in _first_values(predictions))
    embeddings = concatenate_embeddings([_embedding(count) for count in counts])
    assert all(values == expected for values in _first_values(embeddings))
    objects = concatenate_objects([_objects(count) for count in counts])
    assert all(values == expected for values in _first_values(objects))


def test_one_part_alone_is_not_copied() -> None:
    prediction, embedding, objects = _prediction(2), _embedding(2), _objects(2)
    assert concatenate_predictions([prediction]) is prediction
    assert concatenate_embeddings([embedding]) is embedding
    assert concatenate_objects([objects]) is objects


def test_a_clone_of_a_row_does_not_keep_its_batch_alive() -> None:
    row = _objects(5).rows(slice(2, 3))
    clone = row.clone()
    assert _first_values(clone) == _first_values(row) == [[2.0]] * 4
    assert clone.logits_Nhw.untyped_storage().nbytes() == 8 * 8 * 4


def test_nouns_are_frozen_and_compared_by_identity() -> None:
    """Tensors have no single truth value, so == on their fields would raise."""
    prompt = Prompt(points=[(1, 2)], labels=[1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.box = (1, 2, 3, 4)
    assert prompt != Prompt(points=[(1, 2)], labels=[1])
    assert FramePrompt(0, 1, prompt) != FramePrompt(0, 1, prompt)
    assert len({prompt, prompt}) == 1


def test_an_empty_prompt_is_made_of_nothing() -> None:
    prompt = Prompt()
    assert len(prompt.points) == len(prompt.labels) == 0
    assert prompt.box is prompt.mask is prompt.low_res_logits is None
