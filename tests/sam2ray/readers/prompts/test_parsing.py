"""The text of a unit's prompts, and the size of its picture, become prompts for the core."""

import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from make_archive import box_mask, rle

from sam2_core.config import RELEASED
from sam2_core.inference.prompts import check_prompt
from sam2ray.errors import UnitFailed
from sam2ray.readers.prompts import parse_prompts
from sam2ray.readers.prompts.fields import prompt_fields, prompts_text
from sam2ray.records import ErrorClass

SIZE = (40, 60)


def text(*raws, normalized=False) -> str:
    return prompts_text([prompt_fields(raw, normalized=normalized) for raw in raws])


def test_points_boxes_and_masks_arrive_as_they_were_written():
    mask = box_mask(*SIZE, (5, 6, 20, 30))
    prompts = parse_prompts(
        text(
            {"points": [[1, 2], [3.5, 4]], "labels": [1, 0], "box": [0, 0, 60, 40], "label": "cat"},
            {"mask": rle(mask), "object_id": 9, "frame": 4, "prompt_id": "p"},
        ),
        SIZE,
    )
    first, second = (prompt.frame_prompt for prompt in prompts)
    assert (first.frame, first.object_id) == (0, 1)
    assert list(map(tuple, first.prompt.points)) == [(1, 2), (3.5, 4)]
    assert list(first.prompt.labels) == [1, 0]
    assert list(first.prompt.box) == [0, 0, 60, 40]
    assert (second.frame, second.object_id) == (4, 9)
    assert torch.equal(second.prompt.mask, torch.from_numpy(mask))
    assert [(prompt.label, prompt.prompt_id) for prompt in prompts] == [("cat", None), (None, "p")]


def test_normalized_coordinates_are_scaled_by_each_side_of_the_picture():
    raw = {"points": [[0.5, 0.25]], "box": [0, 0.5, 1, 1]}
    (prompt,) = parse_prompts(text(raw, normalized=True), SIZE)
    assert prompt.frame_prompt.prompt.points == [[30, 10]]
    assert prompt.frame_prompt.prompt.box == [0, 20, 60, 40]


def test_what_rounding_moved_out_of_the_picture_is_moved_back():
    raw = {"points": [[-0.5, 40.9]], "box": [-1, -0.01, 60.4, 41]}
    (prompt,) = parse_prompts(text(raw), SIZE)
    assert prompt.frame_prompt.prompt.points == [[0, 40]]
    assert prompt.frame_prompt.prompt.box == [0, 0, 60, 40]


BAD = {
    "no JSON": "{",
    "no list": '{"frame": 0}',
    "a list of numbers": "[1]",
    "lists without end": "[" * 100_000,
    "a prompt that the listing could not read": '[{"bad": "row 3: why"}]',
    "nothing pointed at": '[{"frame": 0, "object_id": 1}]',
    "no object": '[{"frame": 0, "box": [1, 2, 3, 4]}]',
    "a field that nobody knows": '[{"object_id": 1, "bbox": [1, 2, 3, 4]}]',
    "NaN": '[{"object_id": 1, "box": [1, 2, 3, NaN]}]',
    "infinity": '[{"object_id": 1, "points": [[1e999, 2]]}]',
    "a point outside": text({"points": [[61.5, 2]]}),
    "a box outside": text({"box": [1, 2, 300, 400]}),
    "a box that ends before it begins": text({"box": [30, 2, 10, 20]}),
    "a box without area": text({"box": [30, 2, 30, 20]}),
    "pixels that were said to be normalized": text({"box": [3, 2, 30, 20]}, normalized=True),
    "numbers that are too large to scale": text({"points": [[1e308, 0]]}, normalized=True),
    "a mask of another size": text({"mask": rle(box_mask(60, 40, (1, 1, 9, 9)))}),
    "a mask whose runs are cut off": text({"mask": {"size": SIZE, "counts": "1"}}),
    "a mask of no characters": text({"mask": {"size": SIZE, "counts": ""}}),
    "a mask of letters that are none": text({"mask": {"size": SIZE, "counts": "é~"}}),
    "two prompts for an object": text(
        {"box": [1, 2, 3, 4], "object_id": 1}, {"box": [1, 2, 3, 5], "object_id": 1}
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_prompt_that_does_not_fit_fails_its_unit_and_says_which(name):
    with pytest.raises(UnitFailed) as failure:
        parse_prompts(BAD[name], SIZE)
    assert failure.value.error_class is ErrorClass.BAD_PROMPT
    assert "rompt" in failure.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["size", "counts", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "frame",
        "object_id",
        "points",
        "labels",
        "box",
        "mask",
        "label",
        "prompt_id",
        "normalized",
        "bad",
    ]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.dictionaries(FIELDS, JSON, max_size=6), max_size=3))
def test_any_json_is_parsed_or_fails_as_a_bad_prompt(content):
    with suppress(UnitFailed):  # nothing else
        parse_prompts(json.dumps(content), SIZE)


def test_the_core_takes_what_parsing_gives_for_every_kind_of_prompt():
    mask = np.ones(SIZE, bool)
    raws = [{"points": [[1, 2]]}, {"box": [-1, 0, 61, 40]}, {"mask": rle(mask)}]
    for prompt in parse_prompts(text(*raws), SIZE):
        check_prompt(prompt.frame_prompt.prompt, SIZE, RELEASED["nano"])
