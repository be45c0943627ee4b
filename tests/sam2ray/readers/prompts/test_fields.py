"""Fields of prompts of any type become one canonical text, and nonsense becomes a bad prompt."""

import json

import numpy as np
import pytest
from make_archive import box_mask, rle

from sam2ray.readers.prompts.fields import bad_prompt, prompt_fields, prompts_text
from sam2ray.readers.prompts.rle import rle_of


def fields(**raw):
    return prompt_fields(raw, normalized=False)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"box": [1, 2, 3, 4]}, {"box": [1.0, 2.0, 3.0, 4.0]}),
        ({"box": "[1, 2.5, 3, 4]"}, {"box": [1.0, 2.5, 3.0, 4.0]}),
        ({"box": np.array([1, 2, 3, 4]).tolist()}, {"box": [1.0, 2.0, 3.0, 4.0]}),
        ({"points": [[1, 2]]}, {"points": [[1.0, 2.0]], "labels": [1]}),
        (
            {"points": "[[1,2],[3,4]]", "labels": "[1,0]"},
            {"points": [[1, 2], [3, 4]], "labels": [1, 0]},
        ),
        ({"points": [(1, 2)], "labels": [1.0], "box": ""}, {"points": [[1, 2]], "labels": [1]}),
        (
            {"box": [1, 2, 3, 4], "label": 7, "prompt_id": 8},
            {"box": [1, 2, 3, 4], "label": "7", "prompt_id": "8"},
        ),
        (
            {"box": [1, 2, 3, 4], "object_id": "3", "frame": 5.0},
            {"box": [1, 2, 3, 4], "object_id": 3, "frame": 5},
        ),
        (
            {"box": [1, 2, 3, 4], "object_id": str(2**62 + 1)},
            {"box": [1, 2, 3, 4], "object_id": 2**62 + 1},
        ),
    ],
)
def test_fields_come_out_in_plain_types(raw, expected):
    assert fields(**raw) == {"frame": 0, **expected}


def test_masks_come_in_every_form_that_coco_has():
    mask = box_mask(6, 8, (2, 1, 5, 4))
    runs = [13, 3, 3, 3, 3, 3, 20]
    written = rle(mask)
    forms = [
        written,
        {**written, "counts": written["counts"].encode()},
        json.dumps(written),
        {"size": [6, 8], "counts": runs},
        {"size": [6.0, 8.0], "counts": runs},
    ]
    for form in forms:
        assert rle_of(form) == written


@pytest.mark.parametrize(
    "raw", [{}, {"box": None}, {"points": []}, {"box": "", "label": "cat"}, {"points": "[]"}]
)
def test_a_row_that_points_at_nothing_is_no_prompt(raw):
    assert fields(**raw) is None


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"box": [1, 2, 3]}, "box is four numbers"),
        ({"box": "1,2,3,4"}, "."),
        ({"box": 7}, "box is four numbers"),
        ({"box": [1, 2, 3, None]}, "None where a number"),
        ({"box": [1, 2, 3, float("nan")]}, "nan where a number"),
        ({"box": [1, 2, 3, float("inf")]}, "inf where a number"),
        ({"box": [1, 2, 3, True]}, "True where a number"),
        ({"box": [1, 2, 3, "x"]}, "'x' where a number"),
        ({"box": [1, 2, 3, 10**400]}, "where a number"),
        ({"points": [1, 2]}, "1 is none"),
        ({"points": [[1, 2, 3]]}, "is none"),
        ({"points": {"x": 1}}, "points are a list"),
        ({"points": [[1, 2]], "labels": [2]}, "labels are 1"),
        ({"points": [[1, 2]], "labels": [1, 1]}, "1 points have 2 labels"),
        ({"points": [[1, 2]], "labels": 1}, "labels are a list"),
        ({"box": [1, 2, 3, 4], "frame": -1}, "frame=-1 is out of range"),
        ({"box": [1, 2, 3, 4], "frame": 1.5}, "frame is an integer"),
        ({"box": [1, 2, 3, 4], "object_id": 2**63}, "out of range"),
        ({"box": [1, 2, 3, 4], "object_id": "one"}, "where a number"),
        ({"box": [1, 2, 3, 4], "object_id": True}, "object_id is an integer"),
        ({"bbox": [1, 2, 3, 4]}, "'bbox' is no field of a prompt. Did you mean box"),
        ({"mask": "abc"}, "."),
        ({"mask": {"size": [4, 4]}}, "a mask is a COCO RLE"),
        ({"mask": {"size": [4], "counts": "04"}}, "is no size"),
        ({"mask": {"size": [0, 4], "counts": "04"}}, "is no size"),
        ({"mask": {"size": [-4, 4], "counts": "04"}}, "is no size"),
        ({"mask": {"size": [10**6, 10**6], "counts": "04"}}, "is no size"),
        ({"mask": {"size": ["4", 4], "counts": "04"}}, "is no size"),
        ({"mask": {"size": [4, 4], "counts": 7}}, "counts of an RLE"),
        ({"mask": {"size": [4, 4], "counts": [3, 4]}}, "do not sum"),
        ({"mask": {"size": [4, 4], "counts": [-1, 17]}}, "do not sum"),
        ({"mask": {"size": [4, 4], "counts": [10**30]}}, "do not sum"),
        ({"mask": "[" * 100_000}, "too deep"),
    ],
)
def test_nonsense_is_refused_with_the_value(raw, words):
    with pytest.raises(ValueError, match=words):
        fields(**raw)


def test_the_text_is_the_same_whatever_types_the_fields_came_in():
    texts = {
        prompts_text([fields(box=box, label="é")])
        for box in ([1, 2, 3, 4], (1.0, 2, 3, 4), "[1,2,3,4]", ["1", "2", "3", "4.0"])
    }
    assert texts == {'[{"box":[1.0,2.0,3.0,4.0],"frame":0,"label":"é","object_id":1}]'}


def test_who_has_no_object_id_gets_one_that_nobody_has():
    listed = [
        fields(box=[1, 2, 3, 4], **ids) for ids in ({}, {"object_id": 1}, {}, {"object_id": 3})
    ]
    assert [prompt["object_id"] for prompt in json.loads(prompts_text(listed))] == [2, 1, 4, 3]


def test_a_bad_prompt_stays_in_the_text_and_no_prompts_have_none():
    assert json.loads(prompts_text([bad_prompt("row 3", "why")])) == [{"bad": "row 3: why"}]
    assert prompts_text([]) is None
