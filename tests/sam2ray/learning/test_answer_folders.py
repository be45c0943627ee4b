"""J and F of folders of masks are those that the evaluator of SA-V's authors gives.

GOLDEN was made by running sav_dataset/utils/sav_benchmark.py of facebookresearch/sam2 at commit
0c5f8c5, which no package holds, on the folders that `write_folders` writes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from make_labels import png_header
from PIL import Image
from typer.testing import CliRunner

from sam2ray.cli import app
from sam2ray.errors import UsageError
from sam2ray.learning.answer_folders import score_answers

FRAMES, SIZE = 8, (60, 90)
_NOTHING = np.zeros(SIZE, bool)
GOLDEN = {
    ("davis", 1): (0.796758, 0.6826547),
    ("davis", 2): (0.6582924, 0.6901307),
    ("davis", 3): (0.3893281, 0.3544166),
    ("sav", 1): (0.796758, 0.6826547),
    ("sav", 2): (0.8335177, 0.8610021),
    ("sav", 3): (0.3893281, 0.3544166),
}


def _disc(y: float, x: float, radius: float) -> np.ndarray:
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    return (ys - y) ** 2 + (xs - x) ** 2 <= radius**2


def _truth(frame: int) -> dict[int, np.ndarray]:
    """One object moves out over the edge, one comes late, one goes and returns, one is short."""
    return {
        1: _disc(20 + frame, 60 + 6 * frame, 12),
        2: _disc(40, 20, 5 + frame) if frame >= 3 else _NOTHING,
        3: _disc(12, 15, 9) if frame not in (4, 5) else _NOTHING,
        4: _disc(50, 50, 6) if frame == 0 else _NOTHING,
    }


def _answer(frame: int) -> dict[int, np.ndarray]:
    """A little beside, too early, still there when it is gone, and at times nothing."""
    return {
        1: _disc(21 + frame, 58 + 6 * frame, 11),
        2: _disc(41, 21, 5 + frame) if frame >= 2 else _NOTHING,
        3: _disc(12, 16, 8) if frame != 6 else _NOTHING,
        4: _disc(50, 50, 6) if frame < 3 else _NOTHING,
    }


def write_folders(root: Path) -> tuple[Path, Path]:
    """DAVIS's layout for one clip, and SA-V's for another, of labels and of answers."""
    for name, shown in (("labels", _truth), ("answers", _answer)):
        for frame in range(FRAMES):
            masks = shown(frame)
            ids = np.zeros(SIZE, np.uint8)
            for number, mask in masks.items():
                ids[mask] = number
            _save(root / name / "davis" / f"{frame:05}.png", ids)
            for number in (1, 2, 3):
                if number != 2 or frame >= 3:  # its frames begin with it
                    _save(
                        root / name / "sav" / f"{number:03}" / f"{frame:05}.png",
                        masks[number].astype(np.uint8) * 255,
                    )
    return root / "labels", root / "answers"


def _save(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(ids, "P")
    picture.putpalette([value for n in range(256) for value in (n, 255 - n, n * 7 % 256)])
    picture.save(path)


def test_figures_are_those_of_the_evaluator(tmp_path: Path):
    marks = score_answers(*map(str, write_folders(tmp_path)), {})
    found = {(one.clip, one.object_id): (one.score.j, one.score.f) for one in marks.objects}
    assert found.keys() == GOLDEN.keys()
    for key, expected in GOLDEN.items():
        assert found[key] == pytest.approx(expected, abs=1e-6), key
    mean = np.mean([*GOLDEN.values()], axis=0)
    figures = marks.figures()
    assert (figures["j"], figures["f"]) == pytest.approx(tuple(mean), abs=1e-6)
    assert figures["j_and_f"] == pytest.approx(mean.mean(), abs=1e-6)


def test_a_clip_that_cannot_be_judged_is_skipped_with_its_reason(tmp_path: Path):
    labels, answers = write_folders(tmp_path)
    (answers / "davis" / "00003.png").unlink()
    _save(answers / "sav" / "001" / "00002.png", np.zeros((5, 7), np.uint8))
    marks = score_answers(str(labels), str(answers), {})
    assert {one.clip for one in marks.objects} == {"sav"}
    assert "00003.png: is missing" in marks.skipped[0]
    assert "is 7 x 5 pixels, and its label 90 x 60" in marks.skipped[1]
    for name in ("002", "003"):
        (answers / "sav" / name / "00004.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"no object is seen on any frame that counts \("):
        score_answers(str(labels), str(answers), {})


def test_void_is_no_object_where_a_clip_has_several(tmp_path: Path):
    labels, answers = write_folders(tmp_path)
    void = np.zeros(SIZE, np.uint8)
    void[:5, :5] = 255
    for frame in range(1, FRAMES - 1):  # objects are there at the ends alone, which do not count
        _save(labels / "davis" / f"{frame:05}.png", void)
    found = score_answers(str(labels), str(answers), {})
    assert {one.clip for one in found.objects} == {"sav"}


def test_a_header_that_claims_400_megapixels_costs_its_clip_alone(tmp_path: Path):
    labels, answers = write_folders(tmp_path)
    (answers / "davis" / "00003.png").write_bytes(png_header(20_000, 20_000))
    marks = score_answers(str(labels), str(answers), {})
    assert {one.clip for one in marks.objects} == {"sav"}
    assert re.search(r"00003\.png.*exceeds limit", marks.skipped[0])


def test_answers_are_judged_from_the_command_line(tmp_path: Path):
    labels, answers = write_folders(tmp_path)
    command = ["evaluate", str(labels), str(tmp_path / "marks"), "--answers", str(answers)]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert "J&F" in ended.stdout
    kept = json.loads((tmp_path / "marks" / "marks.json").read_text())
    assert (kept["clips"], kept["tracked_objects"], len(kept["objects"])) == (2, 6, 6)
    for more in (["--model", "nano"], ["--limit", "3"], ["--kind", "davis"], ["--all-masks"]):
        refused = CliRunner().invoke(app, [*command, *more])
        assert refused.exit_code == 2
        assert "--answers are judged" in refused.stderr
