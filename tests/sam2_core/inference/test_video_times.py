"""When frames of a video are shown, and frames that come at a model's side at once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from make_video import HEIGHT, WIDTH, number_of, turn_video, write_video

from sam2_core.inference.frame_sources import open_frames
from sam2_core.inference.preprocess import ResizedPicture
from sam2_core.inference.video_file import VideoFile
from sam2_core.inference.video_index import read_index

CODECS = {"long.mkv": "mpeg4", "long.mp4": "mpeg4", "long.flv": "flv", "long.avi": "mpeg4"}


def test_frames_of_a_steady_video_are_shown_at_its_rate(tmp_path: Path) -> None:
    source = open_frames(write_video(tmp_path / "steady.mp4", 10, b_frames=2))
    assert source.frames_per_s() == pytest.approx(25)
    times = [source.seconds(frame) for frame in range(10)]
    assert times == pytest.approx([frame / 25 for frame in range(10)], abs=1e-4)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_frames_of_an_unsteady_video_keep_their_own_times(tmp_path: Path, name: str) -> None:
    gaps = np.random.default_rng(0).integers(1, 400, 30)
    shown_ms = np.cumsum(gaps)
    source = open_frames(write_video(tmp_path / name, 30, times=shown_ms.tolist(), b_frames=2))
    expected = (shown_ms - shown_ms[0]) / 1000
    assert [source.seconds(frame) for frame in range(30)] == pytest.approx(expected, abs=2e-3)


def test_frames_without_true_times_are_counted(tmp_path: Path) -> None:
    source = open_frames(write_video(tmp_path / "old.avi", 10, codec="mpeg4"))
    assert source.seconds(5) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["long.mkv", "long.mp4", "long.flv", "long.avi"])
def test_times_of_a_long_video_take_a_few_bytes_a_frame(tmp_path: Path, name: str) -> None:
    count = 3000
    index = read_index(write_video(tmp_path / name, count, codec=CODECS[name], size=(16, 16)))
    assert len(index.times) == count
    held = sum(sys.getsizeof(one) for one in (index.times, index.key_times, index.shown_at))
    assert held < 17 * count  # of an integer object and its place in a list: 36


def test_pictures_alone_have_no_times() -> None:
    source = open_frames([np.zeros((4, 4, 3), np.uint8)])
    assert source.seconds(0) is None
    assert source.frames_per_s() is None


def test_frames_come_at_a_models_side_and_know_their_own(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 12)
    source = VideoFile(path, resized_to=64)
    frames = list(source.read(range(12)))
    assert source.size_hw() == (HEIGHT, WIDTH)
    for number, frame in enumerate(frames):
        assert isinstance(frame, ResizedPicture)
        assert frame.pixels.shape == (64, 64, 3)
        assert number_of(frame.pixels) == number


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_frames_at_a_models_side_are_turned_upright(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 2)
    plain = VideoFile(path, resized_to=64).read_one(1)
    turn_video(path, degrees)
    source = VideoFile(path, resized_to=64)
    turned = source.read_one(1)
    assert isinstance(plain, ResizedPicture)
    assert isinstance(turned, ResizedPicture)
    assert np.array_equal(turned.pixels, np.rot90(plain.pixels, -degrees // 90))
    assert source.size_hw() == ((HEIGHT, WIDTH) if degrees == 180 else (WIDTH, HEIGHT))


def test_whoever_counts_frames_of_a_long_video_hears_of_it_and_may_end_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", 600, codec="mpeg4", size=(16, 16))
    heard: list[int] = []
    assert VideoFile(path, on_progress=lambda: heard.append(1)).length() == 600
    assert len(heard) == 2, "once for some hundred packets"

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_index(path, end)
