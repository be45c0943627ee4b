"""Prompts are refused with words where they make no sense, and scaled and packed where they do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from ops import downsample_mask_antialiased
from sam2_core import RELEASED, Prompt, PromptError
from sam2_core.inference.prompts import (
    CheckedPrompt,
    check_prompt,
    dense_logits,
    pack_prompts,
    to_model_pixels,
)

CONFIG = dataclasses.replace(RELEASED["nano"], name="test", image_size=64)
HEIGHT, WIDTH = 40, 100
SIZE = (HEIGHT, WIDTH)
CPU = torch.device("cpu")


def _check(**fields: object) -> CheckedPrompt:
    return check_prompt(Prompt(**fields), SIZE, CONFIG)


def _mask() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[5:20, 30:80] = True
    return mask


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "point", [(-1, 5), (5, -0.5), (WIDTH + 0.5, 5), (5, HEIGHT + 1), (5000, 5000)]
)
def test_a_point_outside_its_picture_is_refused_with_the_size(point: tuple[float, float]) -> None:
    with pytest.raises(PromptError, match=r"point \(.*outside its picture of 100 x 40 pixels"):
        _check(points=[(3, 3), point], labels=[1, 1])


@pytest.mark.parametrize("point", [(0, 0), (WIDTH, HEIGHT), (99.9, 39.9)])
def test_a_point_on_the_border_is_inside(point: tuple[float, float]) -> None:
    assert len(_check(points=[point], labels=[1]).labels_T) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("field", ["points", "box", "labels", "low_res_logits"])
def test_a_number_that_is_none_is_refused(field: str, bad: float) -> None:
    fields: dict[str, dict[str, object]] = {
        "points": {"points": [(3, bad)], "labels": [1]},
        "labels": {"points": [(3, 3)], "labels": [bad]},
        "box": {"box": (1, 1, bad, 9)},
        "low_res_logits": {"low_res_logits": torch.full((16, 16), bad)},
    }
    with pytest.raises(PromptError, match=f"{field} holds NaN or infinity"):
        _check(**fields[field])


@pytest.mark.parametrize(
    "fields",
    [{}, {"points": [], "labels": []}, {"points": np.zeros((0, 2)), "labels": np.zeros(0)}],
    ids=["nothing", "lists", "arrays"],
)
def test_an_empty_prompt_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(PromptError, match="needs points with labels, a box, a mask or low_res"):
        _check(**fields)


@pytest.mark.parametrize(
    ("points", "labels", "text"),
    [
        ([(1, 1), (2, 2)], [1], "2 points but 1 labels"),
        ([(1, 1)], [], "1 points but 0 labels"),
        ([], [1], "0 points but 1 labels"),
        ([(1, 1)], [1, 0, 1], "1 points but 3 labels"),
    ],
)
def test_points_and_labels_of_unequal_number_are_refused(
    points: object, labels: object, text: str
) -> None:
    with pytest.raises(PromptError, match=text):
        _check(points=points, labels=labels)


@pytest.mark.parametrize("label", [2, 3, -1, 0.5])
def test_a_label_that_is_neither_one_nor_zero_is_refused(label: float) -> None:
    with pytest.raises(PromptError, match=r"labels are 1 \(on the object\) or 0"):
        _check(points=[(1, 1)], labels=[label])


@pytest.mark.parametrize(
    "box", [(50, 5, 10, 30), (10, 30, 50, 5), (10, 5, 10, 30), (10, 5, 50, 5), (0, 0, 0, 0)]
)
def test_a_box_that_is_reversed_or_empty_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match=r"box \(.*is empty.*second corner right of and below"):
        _check(box=box)


@pytest.mark.parametrize("box", [(-1, 0, 10, 10), (0, 0, 101, 10), (0, 0, 10, 41)])
def test_a_box_outside_its_picture_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(PromptError, match="outside its picture"):
        _check(box=box)


@pytest.mark.parametrize("box", [(1, 2, 3), (1, 2, 3, 4, 5), [(1, 2, 3, 4), (5, 6, 7, 8)], 7.0])
def test_a_box_that_is_not_four_numbers_is_refused(box: object) -> None:
    with pytest.raises(PromptError, match="four numbers"):
        _check(box=box)


def test_the_whole_picture_is_a_box() -> None:
    assert _check(box=(0, 0, WIDTH, HEIGHT)).coords_T2.tolist() == [[0, 0], [64, 64]]


@pytest.mark.parametrize("shape", [(WIDTH, HEIGHT), (1, *SIZE), (*SIZE, 1), (64, 64), ()])
def test_a_mask_of_another_shape_is_refused_with_both(shape: tuple[int, ...]) -> None:
    with pytest.raises(PromptError, match=r"mask has shape \(.*\(height, width\) = \(40, 100\)"):
        _check(mask=np.ones(shape, dtype=bool))


def test_logits_given_as_a_mask_are_refused_with_the_way_out() -> None:
    with pytest.raises(PromptError, match="pass logits as low_res_logits"):
        _check(mask=np.full(SIZE, 0.7))


def test_a_mask_and_logits_together_are_refused() -> None:
    with pytest.raises(PromptError, match="say the same thing twice"):
        _check(mask=_mask(), low_res_logits=torch.zeros(16, 16))


@pytest.mark.parametrize("shape", [(15, 16), (256, 256), (3, 16, 16), (2, 1, 16, 16), (16,), ()])
def test_logits_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PromptError, match=r"low_res_logits has shape .*\(16, 16\), one mask"):
        _check(low_res_logits=torch.zeros(shape))


@pytest.mark.parametrize(
    "fields",
    [
        {"points": [(1, 2), (3,)], "labels": [1, 1]},
        {"points": ["a", "b"], "labels": [1, 1]},
        {"points": [(1, 2, 3)], "labels": [1]},
        {"points": 5.0, "labels": 1},
        {"points": None, "labels": None},
        {"points": [(1, 1)], "labels": 1},
        {"box": "1,2,3,4"},
        {"mask": "a mask"},
        {"mask": [[True], [True, False]]},
        {"low_res_logits": "logits"},
        {"low_res_logits": [[1.0], [1.0, 2.0]]},
    ],
    ids=str,
)
def test_whatever_is_no_array_is_refused_by_our_own_error(fields: dict[str, object]) -> None:
    with pytest.raises(PromptError):
        _check(**fields)


@pytest.mark.parametrize(
    ("points", "labels", "words"),
    [
        ((30, 20), [1], r"points are a list of \(x, y\) pairs, .* not an array of shape \(2,\)"),
        ((30, 20), [1, 1], r"points are a list .* not an array of shape \(2,\)"),
        ([[[3, 4], [5, 6]]], [1], r"points are a list .* not an array of shape \(1, 2, 2\)"),
        ([(1, 2, 3)], [1], r"points are a list .* not an array of shape \(1, 3\)"),
        (5, 1, "points are a list .* not a single number"),
        ([(3, 4)], [[1, 0]], r"labels are a flat list, .* not an array of shape \(1, 2\)"),
        ([(3, 4)], 1, "labels are a flat list, .* not a single number"),
    ],
)
def test_points_and_labels_of_another_shape_are_refused_with_the_one_that_is_wanted(
    points: object, labels: object, words: str
) -> None:
    with pytest.raises(PromptError, match=words):
        _check(points=points, labels=labels)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.array([[3 + 1j, 4]]), "complex numbers"),
        (torch.tensor([[3 + 1j, 4]]), "complex numbers"),
        ([("3", "4")], "text"),
        ([(None, 4)], r"objects \(NoneType, int\)"),
        ({3: 4}, r"objects \(dict\)"),
        (np.array([["2020-01-01", "2020-01-02"]], dtype="datetime64[s]"), r"datetime64\[s\]"),
    ],
)
@pytest.mark.parametrize("field", ["points", "labels", "box", "mask", "low_res_logits"])
def test_what_are_no_real_numbers_is_refused_by_its_kind_in_our_own_words(
    field: str, value: object, kind: str
) -> None:
    points = {"points": [(1, 1)], "labels": [1]}
    with pytest.raises(PromptError, match=f"{field} must be numbers in rows of .* not {kind}") as e:
        _check(**{**points, field: value})
    assert "supported types" not in str(e.value)


def test_an_array_like_that_fails_on_being_read_is_refused_by_our_own_error() -> None:
    class Unreadable:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise ConnectionError("the store is gone")

    with pytest.raises(PromptError, match=r"mask must be numbers.*the store is gone"):
        _check(mask=Unreadable())
    with pytest.raises(PromptError, match="points must be numbers"):
        _check(points=torch.zeros(1, 2, device="meta"), labels=[1])
    with pytest.raises(PromptError, match="points must be numbers"):
        _check(points=[torch.zeros(2, requires_grad=True)], labels=[1])


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ((1, 2), "holds 0, 1, 2.*write mask == 1"),
        ((2,), "holds 0, 2.*write mask == 2"),
        ((1, 255), "holds 0, 1, 255"),
        ((-1,), "holds -1, 0.*write mask == -1"),
        ((3, 4, 5, 6, 7), r"holds 0, 3, 4, 5, \.\.\."),
    ],
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_map_of_ids_is_no_mask_because_they_would_become_one_object(
    ids: tuple[int, ...], words: str, as_tensor: bool
) -> None:
    labelled = np.zeros(SIZE, dtype=np.int64)
    for row, number in enumerate(ids):
        labelled[row] = number
    with pytest.raises(PromptError, match=f"A mask is true or false.*{words}"):
        _check(mask=torch.from_numpy(labelled) if as_tensor else labelled)


# ---------------------------------------------------------------- what is understood


def test_none_is_the_same_as_nothing() -> None:
    found = _check(points=None, labels=None, box=(25, 10, 75, 30))
    assert found.labels_T.tolist() == [2, 3]
    with pytest.raises(PromptError, match="0 points but 1 labels"):
        _check(points=None, labels=[1])


@pytest.mark.parametrize(
    "mask",
    [
        torch.as_tensor(np.eye(*SIZE)).to(torch.bfloat16),
        torch.as_tensor(np.eye(*SIZE)).to_sparse(),
        torch.as_tensor(np.eye(*SIZE), dtype=torch.uint8) * 255,
        np.eye(*SIZE, dtype=np.uint16),
        np.eye(*SIZE, dtype=">f8"),
        np.eye(*SIZE, dtype=np.longdouble),
    ],
    ids=["bfloat16", "sparse", "0 and 255", "uint16", "other byte order", "long double"],
)
def test_a_mask_of_an_unusual_type_is_a_mask(mask: object) -> None:
    assert torch.equal(_check(mask=mask).mask_HW, torch.eye(*SIZE, dtype=torch.bool))


def test_masks_without_a_set_pixel_are_masks_of_any_type() -> None:
    for dtype in (bool, np.uint8, np.int64, np.float32):
        assert not _check(mask=np.zeros(SIZE, dtype=dtype)).mask_HW.any()


@pytest.mark.parametrize(
    "points",
    [
        [(30, 10), (50, 20)],
        ((30, 10), (50, 20)),
        np.array([[30, 10], [50, 20]]),
        np.array([[30, 10], [50, 20]], dtype=np.float64),
        np.array([[10, 30], [20, 50]])[:, ::-1],
        np.array([[30, 10], [50, 20]]).T.copy().T,
        torch.tensor([[30, 10], [50, 20]]),
        torch.tensor([[30.0, 10.0], [50.0, 20.0]], dtype=torch.float16),
        [torch.tensor([30, 10]), torch.tensor([50, 20])],
        [np.array([30, 10]), np.array([50, 20])],
    ],
    ids=[
        "list",
        "tuple",
        "int array",
        "array",
        "flipped",
        "Fortran",
        "tensor",
        "half",
        "tensors",
        "arrays",
    ],
)
def test_points_may_be_anything_that_holds_numbers(points: object) -> None:
    found = _check(points=points, labels=[1, 0])
    expected = torch.tensor([[30 / 100 * 64, 10 / 40 * 64], [32, 32]])
    assert torch.allclose(found.coords_T2, expected)
    assert found.coords_T2.dtype == torch.float32


@pytest.mark.parametrize(
    "labels",
    [
        [1, 0],
        (True, False),
        np.array([1, 0], dtype=np.uint8),
        np.array([True, False]),
        torch.tensor([1, 0]),
        np.array([0, 1])[::-1],
    ],
    ids=["list", "truth values", "array", "bool array", "tensor", "reversed array"],
)
def test_labels_may_be_anything_that_holds_numbers(labels: object) -> None:
    found = _check(points=[(1, 1), (2, 2)], labels=labels)
    assert found.labels_T.tolist() == [1, 0]
    assert found.labels_T.dtype == torch.int64


def test_a_box_may_be_any_array_of_four() -> None:
    for box in (np.array([25, 10, 75, 30]), torch.tensor([[25, 10, 75, 30]]), (25, 10, 75, 30)):
        assert _check(box=box).coords_T2.tolist() == [[16, 16], [48, 48]]


@pytest.mark.parametrize(
    "make",
    [
        lambda mask: mask,
        lambda mask: mask.astype(np.uint8),
        lambda mask: mask.astype(np.uint8) * 255,
        lambda mask: mask.astype(np.float32),
        lambda mask: mask.tolist(),
        torch.as_tensor,
        lambda mask: mask[::-1].copy()[::-1],
        np.asfortranarray,
        lambda mask: np.asarray(Image.fromarray(mask)),
    ],
    ids=[
        "bool",
        "uint8",
        "0 and 255",
        "float",
        "list",
        "tensor",
        "flipped",
        "Fortran",
        "read only",
    ],
)
def test_a_mask_may_be_anything_that_holds_truth_values(make: object) -> None:
    found = _check(mask=make(_mask()))
    assert found.mask_HW.dtype == torch.bool
    assert torch.equal(found.mask_HW, torch.as_tensor(_mask()))


def test_a_prompt_is_not_changed_by_looking_at_it() -> None:
    points = np.array([[30.0, 10.0]], dtype=np.float32)
    logits = torch.full((16, 16), 99.0)
    _check(points=points, labels=[1], low_res_logits=logits)
    assert points.tolist() == [[30, 10]]
    assert logits.eq(99).all()


def test_x_and_y_are_scaled_each_by_its_own_side() -> None:
    found = to_model_pixels(torch.tensor([[50.0, 10.0], [100.0, 40.0]]), SIZE, 64)
    assert found.tolist() == [[32, 16], [64, 64]]


def test_a_box_comes_before_the_points_as_two_corners() -> None:
    found = _check(points=[(50, 20)], labels=[0], box=(25, 10, 75, 30))
    assert found.labels_T.tolist() == [2, 3, 0]
    assert found.coords_T2.tolist() == [[16, 16], [48, 48], [32, 32]]
    assert found.has_points


def test_a_mask_alone_has_no_points() -> None:
    assert not _check(mask=_mask()).has_points


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (1, 1, 16, 16)])
def test_logits_are_clamped_and_may_carry_axes_of_one(shape: tuple[int, ...]) -> None:
    logits = torch.linspace(-99, 99, 256).reshape(shape)
    found = _check(low_res_logits=logits)
    assert torch.equal(found.logits_hw, logits.reshape(16, 16).clamp(-32, 32))


def test_a_mask_becomes_logits_of_ten_either_side_resized_with_antialias() -> None:
    found = dense_logits(_check(mask=_mask()), CONFIG)
    full = torch.as_tensor(_mask()).float() * 20 - 10
    expected = downsample_mask_antialiased(full[None, None], (16, 16))[0, 0]
    assert torch.equal(found, expected)
    assert found.max().item() == pytest.approx(10)
    assert found.min().item() == pytest.approx(-10)


# ---------------------------------------------------------------- packing


def _many() -> list[CheckedPrompt]:
    return [
        _check(points=[(10, 10)], labels=[1]),  # 0: one token
        _check(box=(0, 0, 50, 20)),  # 1: two
        _check(points=[(20, 20)], labels=[0]),  # 2: one
        _check(mask=_mask()),  # 3: none, dense
        _check(points=[(1, 1), (2, 2)], labels=[1, 0]),  # 4: two
        _check(points=[(30, 30)], labels=[1], low_res_logits=torch.ones(16, 16)),  # 5: one, dense
        _check(low_res_logits=torch.ones(16, 16) * 2),  # 6: none, dense
    ]


def test_prompts_of_equal_token_count_are_packed_together_and_know_their_places() -> None:
    groups = pack_prompts(_many(), [0, 0, 1, 1, 2, 2, 3], CONFIG, CPU)
    assert [group.places for group in groups] == [[0, 2], [1, 4], [3, 6], [5]]
    assert [group.packed.image_index_N.tolist() for group in groups] == [
        [0, 1],
        [0, 2],
        [1, 3],
        [2],
    ]


def test_every_list_of_points_ends_with_a_token_that_is_no_point() -> None:
    singles, pairs, masks, both = pack_prompts(_many(), [0] * 7, CONFIG, CPU)
    assert singles.packed.labels_NT.tolist() == [[1, -1], [0, -1]]
    assert pairs.packed.labels_NT.tolist() == [[2, 3, -1], [1, 0, -1]]
    assert both.packed.labels_NT.tolist() == [[1, -1]]
    assert masks.packed.labels_NT.shape == (2, 0)
    expected = torch.tensor([[6.4, 16.0], [12.8, 32.0]])
    assert torch.allclose(singles.packed.coords_NT2[:, 0], expected)


def test_dense_prompts_keep_their_own_maps() -> None:
    prompts = _many()
    singles, pairs, masks, both = pack_prompts(prompts, [0] * 7, CONFIG, CPU)
    assert singles.packed.mask_logits_Nhw is None
    assert pairs.packed.mask_logits_Nhw is None
    assert torch.equal(masks.packed.mask_logits_Nhw[0], dense_logits(prompts[3], CONFIG))
    assert masks.packed.mask_logits_Nhw[1].eq(2).all()
    assert both.packed.mask_logits_Nhw[0].eq(1).all()


def test_no_prompts_make_no_group() -> None:
    assert pack_prompts([], [], CONFIG, CPU) == []
