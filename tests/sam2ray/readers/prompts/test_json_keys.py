"""Files of prompts are told apart by the keys in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_archive import box_mask, coco, write_sav

from sam2ray.config_file import load_config
from sam2ray.errors import UsageError
from sam2ray.listing import source_of
from sam2ray.readers.prompts.json_keys import outer_keys
from sam2ray.readers.sources import Source

MASKS = [[box_mask(8, 8, (1, 1, 4, 4))]] * 3


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('{"a": {"b": [{"c": 1}]}, "d" : "e: {", "f', {"a", "d"}),
        ('{"a\\"b": 1, "c": ["d", {"e": 2}], "g": [[', {'a\\"b', "c", "g"}),
        ('[{"a": 1}]', set()),
        ("", set()),
        ("no JSON: {", set()),
    ],
)
def test_keys_are_those_of_the_outermost_object(text: str, keys: set[str]):
    assert outer_keys(text) == keys


def _source(folder: Path, prompts: Path, mode: str) -> Source:
    clips = folder / "clips"
    clips.mkdir(exist_ok=True)
    (clips / "sav_1.mp4").write_bytes(b"")
    said = [f"mode={mode}", f"prompts.file={prompts}"]
    return source_of(load_config(None, said, source=str(clips), output=str(folder / "out")))


@pytest.mark.parametrize("name", ["sav_1_manual.json", "sav_1.json"])
def test_a_file_of_masklets_is_one_whatever_it_is_called(tmp_path: Path, name: str):
    path = write_sav(tmp_path / name, MASKS, 9)
    source = _source(tmp_path, path, "track")
    assert source.prompts is not None
    assert source.prompts.format == "sav"
    (named,) = source.all_prompts()
    assert len(named.prompts) == 1


def test_a_coco_file_is_one_whatever_it_is_called(tmp_path: Path):
    path = tmp_path / "boxes_manual.json"
    content = coco([("a.jpg", 8, 8)], [{"image_id": 1, "bbox": [0, 0, 4, 4], "category_id": 1}])
    path.write_text(json.dumps(content))
    source = _source(tmp_path, path, "prompt")
    assert source.prompts is not None
    assert source.prompts.format == "coco"


def test_masklets_beside_a_coco_file_leave_a_choice(tmp_path: Path):
    folder = tmp_path / "prompts"
    write_sav(folder / "sav_1_manual.json", MASKS, 9)
    (folder / "boxes.json").write_text(json.dumps(coco([], [])))
    with pytest.raises(UsageError, match=r"several formats \((coco, sav|sav, coco)\): say prompts"):
        _source(tmp_path, folder, "track")
