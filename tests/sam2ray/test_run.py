"""Whole runs on a real local cluster: what they leave, and what a second one does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from sam2_core import AutoMaskConfig, MaskGenerator, load_sam2
from sam2_core.inference.preprocess import read_image
from sam2ray.config import JobConfig
from sam2ray.config_file import load_config
from sam2ray.errors import RootRefused
from sam2ray.report import RunReport
from sam2ray.root import SUCCESS, Selection
from sam2ray.run import run_job
from sam2ray.run_end import DONE, SOME_FAILED
from sam2ray.storage import LocalStore
from sam2ray.verify import verify_output

SMALL = (
    "model.image_size=64",
    "masks.points_per_side=3",
    "masks.pred_iou_thresh=0",
    "masks.stability_score_thresh=0",
)

pytestmark = pytest.mark.usefixtures("two_cpus")


def _config(source: Path, output: Path, *assignments: str, **options: object) -> JobConfig:
    return load_config(
        None,
        (*SMALL, *assignments),
        source=str(source),
        output=str(output),
        model="nano",
        **options,
    )


def _run(config: JobConfig, **chosen: object) -> RunReport:
    return run_job(config, Selection(3, **chosen), lambda _before, _tally: None)


def _rows(output: Path, table: str = "masks") -> list[dict]:
    return pads.dataset(output / table).to_table().to_pylist()


def _clean(output: Path) -> None:
    findings = verify_output(LocalStore(output))
    assert findings.complaints == []


def test_a_run_labels_every_picture_as_the_core_does(pictures: Path, tmp_path: Path):
    config = _config(pictures, tmp_path, "decode.mode=exact")
    report = _run(config)
    assert report.exit_code == SOME_FAILED
    assert report.standing.ended == {"ok": 10, "unsupported": 1}
    _clean(tmp_path)
    model = load_sam2(config.model.row())
    generator = MaskGenerator(model, config.masks.auto_mask_config(model.config))
    rows = _rows(tmp_path)
    assert rows
    for path in sorted(pictures.rglob("*.png")):
        (expected,) = generator.generate([read_image(path)])
        found = [row for row in rows if row["source_uri"] == str(path)]
        assert [row["rle_counts"] for row in found] == [mask.rle["counts"] for mask in expected]
        assert [row["area"] for row in found] == [mask.area for mask in expected]


@pytest.mark.slow
def test_what_failed_says_why_and_the_rest_what_it_was(pictures: Path, tmp_path: Path):
    _run(_config(pictures, tmp_path))
    units = {Path(row["source_uri"]).name: row for row in _rows(tmp_path, "units")}
    bad = units["page.jpg"]
    assert (bad["status"], bad["error_class"]) == ("failed", "unsupported")
    assert "HTML" in bad["error_message"]
    good = units["picture 3.png"]
    assert (good["status"], good["height"], good["width"]) == ("ok", 81, 81)
    assert good["masks"] == sum(r["unit_id"] == good["unit_id"] for r in _rows(tmp_path))


def test_a_second_run_does_nothing_and_a_third_what_is_new_or_changed(
    pictures: Path, tmp_path: Path
):
    archive, output = tmp_path / "archive", tmp_path / "out"
    shutil.copytree(pictures, archive)
    config = _config(archive, output)
    assert _run(config).standing.units == 11
    before = sorted(path.name for path in (output / "masks").iterdir())
    again = _run(config)
    assert sum(again.tally.ended.values()) == 0
    assert sorted(path.name for path in (output / "masks").iterdir()) == before
    assert (output / SUCCESS).exists()

    shutil.copy(archive / "picture 0.png", archive / "new.png")
    shutil.copy(archive / "picture 2.png", archive / "page.jpg")
    third = _run(config)
    assert third.tally.ended == {"ok": 2}
    assert (third.merged.added, third.merged.superseding) == (2, 1)
    assert third.standing.ended == {"ok": 12}
    assert third.exit_code == DONE
    _clean(output)


@pytest.mark.slow
def test_a_limited_run_leaves_the_rest_to_the_next(pictures: Path, tmp_path: Path):
    config = _config(pictures, tmp_path)
    assert sum(_run(config, limit=4).tally.ended.values()) == 4
    assert not (tmp_path / SUCCESS).exists()
    assert sum(_run(config).tally.ended.values()) == 7
    _clean(tmp_path)


@pytest.mark.slow
def test_another_config_is_refused_before_anything_is_done(pictures: Path, tmp_path: Path):
    _run(_config(pictures, tmp_path, "output.commit_every_units=4"), limit=1)
    with pytest.raises(RootRefused, match=r"masks\.box_nms_thresh"):
        _run(_config(pictures, tmp_path, "masks.box_nms_thresh=0.5"))


@pytest.mark.slow
@pytest.mark.parametrize("units", [pytest.param(1, marks=pytest.mark.long), 4])
def test_small_commits_and_their_resume_converge_to_the_same_masks(
    pictures: Path, tmp_path: Path, units: int
):
    config = _config(pictures, tmp_path, f"output.commit_every_units={units}")
    _run(config, limit=6)
    _run(config)
    _clean(tmp_path)
    assert len(list((tmp_path / "masks").iterdir())) >= 11 // units
    whole = tmp_path / "whole"
    _run(_config(pictures, whole))
    key = ("unit_id", "rle_counts")
    assert sorted(tuple(r[k] for k in key) for r in _rows(tmp_path)) == sorted(
        tuple(r[k] for k in key) for r in _rows(whole)
    )


@pytest.mark.slow
def test_embeddings_have_a_row_and_a_shape_each(pictures: Path, tmp_path: Path):
    report = _run(_config(pictures, tmp_path, mode="embed"))
    assert report.standing.ok == 10
    rows = _rows(tmp_path, "embeddings")
    assert len(rows) == 10
    for row in rows:
        side, _, channels = row["shape"]
        assert len(row["embedding"]) == side * side * channels
    _clean(tmp_path)


@pytest.mark.slow
def test_crops_are_cut_from_the_pictures_own_pixels(pictures: Path, tmp_path: Path):
    config = _config(pictures, tmp_path, "masks.crop_n_layers=1", "masks.points_per_side=2")
    _run(config)
    crops = {tuple(row["crop_xywh"]) for row in _rows(tmp_path)}
    assert len(crops) > 10
    assert AutoMaskConfig().crop_n_layers == 0
