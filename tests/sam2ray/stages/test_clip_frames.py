"""Chosen frames of files and folders: the right ones, by their position, in any direction."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from bad_videos import begin_late
from make_video import number_of, write_video

from sam2_core import FrameSourceError
from sam2_core.inference.video_file import VideoFile
from sam2ray.errors import UnitFailed
from sam2ray.records import ErrorClass
from sam2ray.stages.clip_frames import BoundedVideoFile, BrokenClip, FolderFrames, VideoFrames
from sam2ray.stages.sampling import Sample

SAMPLES = [range(0, 40, 1), range(2, 40, 5), [0, 3, 4, 17, 39], [39], []]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", b_frames=2)


def video_frames(path: Path, numbers, **options) -> VideoFrames:
    return VideoFrames(
        VideoFile(path), Sample(numbers, reaches_end=True), **{"seeks": True} | options
    )


@pytest.mark.parametrize("seeks", [True, False])
@pytest.mark.parametrize("numbers", SAMPLES, ids=str)
def test_chosen_frames_of_a_video_come_by_their_position(clip, numbers, seeks):
    source = video_frames(clip, numbers, seeks=seeks)
    count = len(numbers)
    assert source.length() == count
    for positions in (range(count), range(count - 1, -1, -1), range(1, count), range(0, count, 2)):
        found = [number_of(frame) for frame in source.read(positions)]
        assert found == [numbers[position] for position in positions]
    source.refuse_loss()


def test_frames_far_apart_are_sought(tmp_path):
    path = write_video(tmp_path / "long.mp4", 600, size=(16, 64))
    far = [1, 299, 300, 599]
    file = VideoFile(path)
    asked: list[range] = []

    class Recording(VideoFile):
        def fetch(self, indices: range):
            asked.append(indices)
            return file.fetch(indices)

    source = VideoFrames(Recording(path), Sample(far, reaches_end=True), seeks=True)
    found = [number_of(frame) for frame in source.read(range(4))]
    assert found == [number % 256 for number in far]
    assert asked == [range(1, 2), range(299, 301), range(599, 600)]


@pytest.mark.parametrize("reaches_end", [True, False])
def test_what_a_file_lacks_matters_only_to_who_wants_its_end(tmp_path, reaches_end):
    content = write_video(
        tmp_path / "cut.mp4", 40, container_options={"movflags": "faststart"}
    ).read_bytes()
    start = content.index(b"mdat")
    (tmp_path / "cut.mp4").write_bytes(content[: start + (len(content) - start) // 2])
    source = VideoFrames(VideoFile(tmp_path / "cut.mp4"), Sample(range(5), reaches_end), seeks=True)
    assert len(list(source.read(range(5)))) == 5
    if reaches_end:
        with pytest.raises(FrameSourceError, match="cut off"):
            source.refuse_loss()
    else:
        source.refuse_loss()


@pytest.mark.filterwarnings("ignore:.*packets announce")
@pytest.mark.parametrize("reaches_end", [True, False])
def test_chosen_frames_that_never_come_are_a_loss(tmp_path, reaches_end):
    path = tmp_path / "late.ts"
    begin_late(path)
    length = VideoFile(path).length()
    source = VideoFrames(VideoFile(path), Sample(range(length), reaches_end), seeks=False)
    count = len(list(source.read(range(length))))
    assert 0 < count < length
    with pytest.raises(FrameSourceError, match=f"before frame {count}; .* announce {length}"):
        source.refuse_loss()


def test_a_video_is_decoded_by_as_many_threads_as_asked(clip):
    video = BoundedVideoFile(clip, resized_to=None, threads=3, max_side=1000)
    seen = []

    class Recording(BoundedVideoFile):
        def _decoded(self, container, stream):
            for frame in super()._decoded(container, stream):
                seen.append(stream.codec_context.thread_count)
                yield frame

    recording = Recording(clip, resized_to=None, threads=3, max_side=1000)
    for one, other in zip(video.read(range(5)), recording.read(range(5)), strict=True):
        assert np.array_equal(one, other)
    assert set(seen) == {3}


def test_frames_larger_than_the_limit_are_never_decoded(clip):
    video = BoundedVideoFile(clip, resized_to=None, threads=1, max_side=20)
    with pytest.raises(FrameSourceError):
        list(video.read(range(3)))


# ---------------------------------------------------------------- folders


def picture(number: int) -> np.ndarray:
    return np.full((3, 5, 3), number, np.uint8)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("numbers", SAMPLES, ids=str)
def test_chosen_pictures_of_a_folder_come_in_order_however_long_each_takes(numbers, threads):
    def open_frame(number: int) -> np.ndarray:
        time.sleep(0.001 * (number % 3))
        return picture(number)

    source = FolderFrames("folder", (3, 5), Sample(numbers, reaches_end=True), open_frame, threads)
    count = len(numbers)
    for positions in (range(count), range(count - 1, -1, -1), range(1, count)):
        found = [int(frame[0, 0, 0]) for frame in source.read(positions)]
        assert found == [numbers[position] for position in positions]


def test_pictures_are_opened_a_little_ahead_and_by_several_threads():
    opened: list[int] = []
    names = set()

    def open_frame(number: int) -> np.ndarray:
        opened.append(number)
        names.add(threading.current_thread().name)
        time.sleep(0.01)
        return picture(number)

    source = FolderFrames("folder", (3, 5), Sample(range(100), reaches_end=True), open_frame, 2)
    reading = source.read(range(100))
    next(reading)
    time.sleep(0.2)
    assert 2 <= len(opened) <= 6
    assert len(names) == 2
    reading.close()


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (UnitFailed(ErrorClass.FORBIDDEN, "token"), ErrorClass.FORBIDDEN),
        (ZeroDivisionError("a bug"), ErrorClass.INTERNAL),
    ],
)
def test_a_picture_that_cannot_be_opened_breaks_the_clip_off_behind_those_before(
    error, error_class
):
    def open_frame(number: int) -> np.ndarray:
        if number == 7:
            raise error
        return picture(number)

    source = FolderFrames("folder", (3, 5), Sample(range(20), reaches_end=True), open_frame, 3)
    reading = source.read(range(20))
    assert [int(next(reading)[0, 0, 0]) for _ in range(7)] == list(range(7))
    with pytest.raises(BrokenClip) as caught:
        next(reading)
    assert caught.value.failure.error_class is error_class
