"""A GIF is a picture to who looks at pictures, and a clip to who follows things through time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from label_bench import Bench, prompts
from make_archive import tar_bytes
from make_video import numbered
from PIL import Image
from small_models import lively_model

from sam2_core.inference.video_file import VideoFile
from sam2ray.config import JobConfig
from sam2ray.listing import source_of
from sam2ray.records import Unit

DELAYS_MS = [100, 40, 500, 20, 1000, 70, 30, 60]


def write_gif(path: Path, delays_ms: list[int]) -> Path:
    """Pictures that say their numbers; of all but the first only what changed is in the file."""
    frames = [Image.fromarray(numbered(number)) for number in range(len(delays_ms))]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=delays_ms, loop=0)
    return path


def number_of(frame: np.ndarray) -> int:
    step = frame.shape[1] // 8
    return sum(int(frame[:, i * step : (i + 1) * step].mean() > 127) << i for i in range(8))


def config_of(source: Path, mode: str) -> dict:
    return {
        "mode": mode,
        "source": {"uri": str(source)},
        "output": {"uri": "out"},
        "model": {"name": "nano", "image_size": 64},
        "prompts": {"coordinates": "pixels"},
    }


def units_of(source: Path, mode: str) -> list[Unit]:
    found = source_of(JobConfig.model_validate(config_of(source, mode))).all_units()
    return [unit for unit in found if isinstance(unit, Unit)]


FILES = ["moving.gif", "shard.tar", "list.csv"]
CASES = [("track", "list.csv", "video")]
CASES += [("auto_track", source, "video") for source in FILES]
CASES += [("auto", source, "image") for source in FILES]
CASES += [("embed", "moving.gif", "image")]


@pytest.mark.parametrize(("mode", "source", "kind"), CASES)
def test_the_mode_says_whether_a_gif_is_a_clip(tmp_path, mode, source, kind):
    gif = write_gif(tmp_path / "moving.gif", DELAYS_MS)
    (tmp_path / "shard.tar").write_bytes(tar_bytes([("a.gif", gif.read_bytes())]))
    (tmp_path / "list.csv").write_text("uri,points\nmoving.gif,\n")
    assert [unit.kind for unit in units_of(tmp_path / source, mode)] == [kind]


def test_all_pictures_of_a_gif_are_frames_with_their_own_times(tmp_path):
    video = VideoFile(write_gif(tmp_path / "moving.gif", DELAYS_MS))
    count = len(DELAYS_MS)
    assert video.length() == count
    assert [number_of(frame) for frame in video.read(range(count))] == list(range(count))
    backward = range(count - 1, -1, -1)
    assert [number_of(frame) for frame in video.read(backward)] == list(backward)
    assert number_of(video.read_one(5)) == 5
    starts = np.cumsum([0, *DELAYS_MS[:-1]]) / 1000
    assert [video.seconds(number) for number in range(count)] == pytest.approx(starts)
    assert video.loss() is None


def test_a_gif_that_breaks_off_gives_the_pictures_before(tmp_path):
    path = write_gif(tmp_path / "moving.gif", DELAYS_MS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    video = VideoFile(path)
    found = [number_of(frame) for frame in video.read(range(video.length()))]
    assert found == list(range(len(found)))
    assert 0 < len(found) < len(DELAYS_MS)
    assert "cut off" in (video.loss() or "")


@pytest.mark.parametrize("delays", [DELAYS_MS, [100]], ids=["moving", "still"])
def test_things_are_followed_through_a_gif(tmp_path, delays):
    write_gif(tmp_path / "moving.gif", delays)
    source = tmp_path / "list.csv"
    source.write_text("uri,points\nmoving.gif,\n")
    (unit,) = units_of(source, "track")
    text = prompts({"points": [[20, 10]]})
    bench = Bench(lively_model(64), tmp_path / "out", config_of(source, "track"))
    (row,) = bench.label([replace(unit, prompts=text)])
    assert (row["status"], row["error_class"], row["frames"]) == ("ok", None, len(delays))
