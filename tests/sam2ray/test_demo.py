"""The demo: its archive, its marks, and the README's first command as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from made_outputs import Ended, Output, clip, picture
from PIL import Image
from rich.console import Console

import sam2ray
from ops import encode_run_lengths
from sam2_core.inference.video_file import VideoFile
from sam2ray.demo import own_name, run_demo, steps_in
from sam2ray.demo_archive import (
    CLICKS,
    FIRST_FRAME,
    FRAMES,
    PICTURES,
    DemoFolder,
    demo_folder,
    frame_name,
    make_archive,
)
from sam2ray.demo_marks import mark_prompted, mark_tracked
from sam2ray.errors import UsageError
from sam2ray.modes.mask_rows import RowPlace, rows_of_runs
from sam2ray.records import OUTCOME_SCHEMA
from sam2ray.sinks.result_files import MASKS, ResultFile, ResultPlace
from sam2ray.storage import LocalStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DemoFolder:
    made = demo_folder(str(tmp_path_factory.mktemp("demo")))
    assert make_archive(made)
    return made


# ---------------------------------------------------------------- the archive


def test_pictures_a_clip_and_prompts_are_made_once(folder: DemoFolder):
    pictures = sorted(folder.pictures.iterdir())
    assert len(pictures) == PICTURES
    for path in pictures:
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert folder.true_ids(path.stem).shape == (image.height, image.width)
    assert VideoFile(folder.clips / "clip.mp4").length() == FRAMES
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.*") if path.is_file()}
    assert not make_archive(demo_folder(str(folder.path)))
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.name for path in before if before[path] != after[path]} == {"sam2ray-demo.json"}


def test_prompts_are_clicks_into_and_boxes_around_what_is_true(folder: DemoFolder):
    for prompt in folder.prompts(CLICKS):
        ids = folder.true_ids(prompt["file"].removesuffix(".jpg"))
        ((x, y),) = json.loads(prompt["points"])
        assert ids[int(y), int(x)] == int(prompt["prompt_id"])
    tracked = folder.prompts(FIRST_FRAME)
    ids = folder.true_ids(frame_name(0))
    for prompt in tracked:
        ys, xs = np.nonzero(ids == int(prompt["object_id"]))
        sides = [int(prompt[side]) for side in ("x0", "y0", "x1", "y1")]
        assert sides == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert 2 <= len(tracked) <= 5
    assert {prompt["frame"] for prompt in tracked} == {"0"}


def test_what_was_broken_off_is_made_again(folder: DemoFolder, tmp_path: Path):
    shutil.copytree(folder.path, tmp_path / "demo")
    broken = demo_folder(str(tmp_path / "demo"))
    (broken.path / FIRST_FRAME).unlink()
    (broken.pictures / "picture-2.jpg").write_bytes(b"torn")
    assert make_archive(broken)
    whole = (folder.pictures / "picture-2.jpg").read_bytes()
    assert (broken.pictures / "picture-2.jpg").read_bytes() == whole


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"\(thesis.tex\), which stays as it is"):
        demo_folder(str(tmp_path))
    with pytest.raises(UsageError, match="is a file"):
        demo_folder(str(tmp_path / "thesis.tex" / "below"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_demo_of_other_weights_is_left_alone(tmp_path: Path):
    (tmp_path / "sam2ray-demo.json").write_text("{}")
    Output(LocalStore(tmp_path / "all-masks"), ["masks.points_per_side=8", "masks.use_m2m=true"])
    quiet = Console(quiet=True)
    with pytest.raises(UsageError, match=r"others of masks.use_m2m. Delete the folder, or give"):
        run_demo(str(tmp_path), quiet, quiet)
    assert not (tmp_path / "archive").exists()


def test_each_step_is_a_run_that_can_be_typed(folder: DemoFolder, tmp_path: Path):
    modes = [step.settings.mode for step in steps_in(folder)]
    assert modes == ["auto", "prompt", "track"]
    for step in steps_in(folder):
        assert step.settings.model.name == "nano"
        assert f" {step.output} --config jobs/smoke_cpu" in step.command()


def test_commands_are_told_as_they_can_be_typed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["/opt/venv/bin/sam2ray", "demo"])
    assert own_name() == ["/opt/venv/bin/sam2ray"]
    monkeypatch.setattr(sys, "argv", ["/opt/sam2ray/__main__.py", "demo"])
    assert own_name() == [sys.executable, "-m", "sam2ray"]


# ---------------------------------------------------------------- marks


def _commit(output: Output, unit, rows) -> None:
    with ResultFile(ResultPlace(output.store, MASKS, "run")) as file:
        for table in rows:
            file.add(table)
        outcome = output._outcome(Ended(unit), "run", MASKS, 1)
        outcomes = pa.Table.from_pylist([outcome], schema=OUTCOME_SCHEMA)
        file.commit(outcomes, still_mine=lambda: None)


def _runs(mask: np.ndarray):
    return encode_run_lengths(torch.from_numpy(mask)[None])


def test_perfect_masks_have_full_marks_and_missing_ones_none(folder: DemoFolder, tmp_path: Path):
    output = Output(LocalStore(tmp_path / "out"))
    units = [picture(f"picture-{number + 1}") for number in range(PICTURES)]
    output.list(units, "1")
    prompts = folder.prompts(CLICKS)
    left_out = prompts[0]
    for unit in units:
        name = Path(unit.source_uri).stem
        own = [p for p in prompts if p["file"] == f"{name}.jpg" and p is not left_out]
        ids = folder.true_ids(name)
        place = RowPlace(unit.unit_id, unit.source_uri)
        rows = [
            rows_of_runs(place, _runs(ids == int(thing)), ids.shape, prompt_id=[thing])
            for thing in (prompt["prompt_id"] for prompt in own)
        ]
        _commit(output, unit, rows)
    marks = mark_prompted(folder, sam2ray.open(str(tmp_path / "out")))
    assert marks.prompts == len(prompts)
    assert marks.iou == pytest.approx(1 - 1 / len(prompts))


def test_a_perfect_track_has_full_marks_and_one_that_loses_its_objects_few(
    folder: DemoFolder, tmp_path: Path
):
    unit = clip("clip")
    ious = []
    for until in (FRAMES, 2):
        output = Output(LocalStore(tmp_path / f"out-{until}"))
        output.list([unit], "1")
        rows = []
        for frame in range(until):
            ids = folder.true_ids(frame_name(frame))
            for prompt in folder.prompts(FIRST_FRAME):
                thing = int(prompt["object_id"])
                place = RowPlace(unit.unit_id, unit.source_uri, frame)
                rows.append(rows_of_runs(place, _runs(ids == thing), ids.shape, object_id=[thing]))
        _commit(output, unit, rows)
        ious.append(mark_tracked(folder, sam2ray.open(output.store.uri)).iou)
    assert ious[0] == pytest.approx(1)
    assert ious[1] < 0.5


# ---------------------------------------------------------------- the whole


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    """The README's first command, but for the installation, and where it ran."""
    place = tmp_path_factory.mktemp("readme")
    return place, _run_of_the_readme(place)


def _run_of_the_readme(place: Path) -> subprocess.CompletedProcess[str]:
    readme = (ROOT / "README.md").read_text()
    block = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)[0]
    (command,) = re.findall(r"^\.venv/bin/(sam2ray demo.*)$", block, re.MULTILINE)
    return subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readmes_first_command_labels_marks_and_shows(done):
    place, first = done
    assert first.returncode == 0, first.stderr
    assert first.stderr == "", "Ray has said something"
    for mode in ("auto", "prompt", "track"):
        assert re.search(rf"{mode}\W+[16]\W+[\d,]+\W+[\d.]+\W+consistent", first.stdout), (
            first.stdout
        )
    assert re.search(r"prompt: mean IoU 0\.\d\d with the truth, of \d+ clicks", first.stdout)
    assert re.search(r"track: mean IoU 0\.\d\d with the truth, of \d objects", first.stdout)
    page = (place / "sam2ray-demo" / "index.html").read_text()
    assert page.count("<article") == 2 * PICTURES + 1
    assert "mean IoU" in page.replace("Mean", "mean")
    assert "cannot be shown" not in page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_small_model_is_called_small(done):
    place, first = done
    words = "nano comes with the package to try things with: it is very small"
    assert words in " ".join(first.stdout.split())
    assert words in DemoFolder(place / "sam2ray-demo").page.read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_second_demo_goes_on_where_the_first_one_ended(done):
    place, _ = done
    folder = place / "sam2ray-demo"
    masks = {path.name for path in folder.rglob("masks/*.parquet")}
    again = _run_of_the_readme(place)
    assert again.returncode == 0, again.stderr
    assert "there since an earlier demo" in again.stdout
    assert {path.name for path in folder.rglob("masks/*.parquet")} == masks
