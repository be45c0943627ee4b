"""Columns of prompts are known by their names, or the user is asked."""

import pytest
from make_archive import box_mask, rle

from sam2ray.errors import UsageError
from sam2ray.readers.prompts.columns import find_prompt_columns


def columns_of(names, **said):
    return find_prompt_columns(names, "list.csv", normalized=False, **said)


def prompts_of(row, **said):
    return columns_of(list(row), **said).prompts_of(row, "row 0")


@pytest.mark.parametrize(
    "row",
    [
        {"box": [10, 20, 30, 60]},
        {"box_xyxy": "[10, 20, 30, 60]"},
        {"bbox_xyxy": [10, 20, 30, 60]},
        {"bbox_xywh": [10, 20, 20, 40]},
        {"box_cxcywh": [20, 40, 20, 40]},
        {"x0": 10, "y0": "20", "x1": 30.0, "y1": 60},
        {"x1": 10, "y1": 20, "x2": 30, "y2": 60},
        {"xmin": 10, "ymin": 20, "xmax": 30, "ymax": 60},
        {"x": 10, "y": 20, "w": 20, "h": 40},
        {"cx": 20, "cy": 40, "w": 20, "h": 40},
    ],
)
def test_boxes_are_read_by_what_their_columns_are_called(row):
    assert prompts_of(row) == [{"frame": 0, "box": [10.0, 20.0, 30.0, 60.0]}]


@pytest.mark.parametrize(
    ("box_format", "expected"),
    [
        ("xyxy", [10, 20, 30, 60]),
        ("xywh", [10, 20, 40, 80]),
        ("cxcywh", [-5, -10, 25, 50]),
    ],
)
def test_a_box_that_could_be_anything_is_read_as_the_user_says(box_format, expected):
    (prompt,) = prompts_of({"bbox": [10, 20, 30, 60]}, box_format=box_format)
    assert prompt["box"] == expected


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["path", "bbox"], "xyxy, xywh or cxcywh"),
        (["box", "bbox_xywh"], r"several ways: box \(xyxy\); bbox_xywh \(xywh\)"),
        (["x", "y", "cx", "cy", "w", "h"], "several ways"),
        (["mask", "mask_rle"], "mask and mask_rle"),
        (["box", "label", "category"], "label and category"),
        (["path", "caption"], "no column that prompts could be read from.*path, caption"),
        (["rle_counts"], "no column that prompts"),
    ],
)
def test_what_is_not_clear_is_asked_with_the_choices(names, words):
    with pytest.raises(UsageError, match=words):
        columns_of(names)


def test_a_format_that_is_said_chooses_among_several():
    columns = columns_of(["x", "y", "cx", "cy", "w", "h"], box_format="cxcywh")
    assert columns.box.columns == ("cx", "cy", "w", "h")


def test_everything_about_a_prompt_may_stand_in_a_column():
    row = {
        "points": [[1, 2]],
        "labels": [0],
        "frame_index": "7",
        "object_id": "3",
        "category": "cat",
        "annotation_id": 11,
        "score": 0.5,
    }
    assert prompts_of(row) == [
        {
            "points": [[1.0, 2.0]],
            "labels": [0],
            "frame": 7,
            "object_id": 3,
            "label": "cat",
            "prompt_id": "11",
        }
    ]


def test_a_column_may_hold_all_prompts_of_its_row():
    row = {"prompts": '[{"box": [1, 2, 3, 4]}, {"points": [[5, 6]], "object_id": 8}]'}
    found = prompts_of(row)
    assert [set(prompt) - {"frame"} for prompt in found] == [
        {"box"},
        {"points", "labels", "object_id"},
    ]


def test_masks_of_our_own_tables_are_prompts_again():
    written = rle(box_mask(6, 8, (2, 1, 5, 4)))
    row = {"rle_counts": written["counts"], "height": 6, "width": 8, "object_id": 2}
    (prompt,) = prompts_of(row)
    assert prompt["mask"] == written


def test_only_the_parts_that_are_wanted_are_used():
    row = {"box": [1, 2, 3, 4], "mask_rle": rle(box_mask(6, 8, (2, 1, 5, 4)))}
    assert set(prompts_of(row)[0]) == {"frame", "box", "mask"}
    assert set(prompts_of(row, use=("box",))[0]) == {"frame", "box"}
    assert set(prompts_of(row, use=("mask",))[0]) == {"frame", "mask"}


@pytest.mark.parametrize(
    "row",
    [
        {"box": [1, 2]},
        {"box": "[1, 2"},
        {"x0": 1, "y0": 2, "x1": None, "y1": 4},
        {"prompts": "7"},
        {"prompts": "[7]"},
        {"prompts": '[{"boxx": [1,2,3,4]}]'},
    ],
)
def test_a_row_that_makes_no_sense_is_a_bad_prompt_with_its_place(row):
    (prompt,) = prompts_of(row)
    assert prompt["bad"].startswith("row 0: ")


@pytest.mark.parametrize(
    "row",
    [{"box": None}, {"x0": "", "y0": "", "x1": "", "y1": ""}, {"prompts": None}, {"prompts": ""}],
)
def test_an_empty_row_has_no_prompts(row):
    assert prompts_of(row) == []


def test_normalized_prompts_say_so():
    columns = find_prompt_columns(["box"], "x", normalized=True)
    (prompt,) = columns.prompts_of({"box": [0, 0, 1, 1]}, "row 0")
    assert prompt["normalized"] is True
