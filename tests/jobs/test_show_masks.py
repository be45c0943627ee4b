"""The README's first command, run as written there but for the installation."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "jobs" / "show_masks.py"


def run(*arguments, folder):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_a_handful_of_masks_is_drawn_beside_a_picture(tmp_path):
    done = run(folder=tmp_path)
    assert done.returncode == 0, done.stderr
    count = re.search(r"^(\d+) masks, drawn in masks\.png\.$", done.stdout, re.MULTILINE)
    assert count is not None
    assert 5 <= int(count[1]) <= 50
    assert "UNTRAINED" in done.stdout
    drawn = np.array(Image.open(tmp_path / "masks.png"))
    left, right = np.hsplit(drawn, 2)
    assert (left != right).any()
    assert (left == np.array(Image.open(tmp_path / "drawn_picture.png"))).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_of_the_readme_shows_and_labels_a_picture(tmp_path):
    assert run(folder=tmp_path).returncode == 0
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"&& \.venv/bin/(sam2ray run .*)$", readme, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"done\W+1\b", done.stdout), done.stdout
    assert len(list((tmp_path / "out" / "masks").glob("*.parquet"))) == 1


def test_help_is_no_picture(tmp_path):
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "show_masks.py [-h] [PHOTO] [OUT]" in done.stdout
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_drawn_is_noticed_before_a_model_is_made(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for out in ("nowhere/masks.png", "masks.txt", "masks", "folder.png", "masks.psd"):
        done = run("absent.jpg", out, folder=tmp_path)  # whose absence would be said next
        assert done.returncode == 2
        assert f"{out}: give a file such as FOLDER/masks.png" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_file_that_is_no_picture_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    for name in ("notes.txt", "absent.jpg"):
        done = run(name, folder=tmp_path)
        assert done.returncode == 2
        assert name in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "masks.png").exists()
