"""Real video files, written here: every frame carries its number, so a wrong one shows."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from make_video import HEIGHT, WIDTH, number_of, numbered, turn_video, write_video
from small_models import lively_model

from sam2_core import (
    FramePrompt,
    FrameSourceError,
    Prompt,
    TrackedFrame,
    TrackingConfig,
    VideoTracker,
)
from sam2_core.inference.frame_sources import FrameSource, open_frames
from sam2_core.inference.video_file import VideoFile


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty frames with B-frames and a key frame every twelve."""
    path = write_video(tmp_path_factory.mktemp("video") / "clip.mp4", b_frames=3)
    with av.open(str(path)) as container:
        kinds = {PictureType(frame.pict_type).name for frame in container.decode(video=0)}
    assert kinds == {"I", "P", "B"}, "the encoder left out what this file is for"
    return path


def _numbers(source: FrameSource, indices: range) -> list[int]:
    return [number_of(frame) for frame in source.read(indices)]


# ---------------------------------------------------------------- reading


def test_a_path_of_a_file_is_a_video(clip: Path) -> None:
    for path in (clip, str(clip)):
        source = open_frames(path)
        assert isinstance(source, VideoFile)
        assert source.rereadable
        assert source.length() == 40
        assert source.size_hw() == (HEIGHT, WIDTH)
        assert source.reach() == 16


def test_frames_are_rgb_arrays_of_bytes(clip: Path) -> None:
    frame = next(open_frames(clip).read(range(1)))
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert frame.dtype == np.uint8
    assert np.abs(frame.astype(int) - numbered(0)).mean() < 12


@pytest.mark.parametrize(
    "indices",
    [
        range(40),
        range(39, -1, -1),
        range(0),
        range(5, 5),
        range(17, 18),
        range(39, 40),
        range(11, 14),
        range(30, 3, -1),
        range(1, 40, 7),
        range(38, 0, -5),
        range(0, 40, 13),
    ],
    ids=str,
)
def test_any_range_gives_the_frames_of_these_numbers(clip: Path, indices: range) -> None:
    assert _numbers(open_frames(clip), indices) == list(indices)


def test_random_ranges_of_one_source_give_the_frames_of_these_numbers(clip: Path) -> None:
    rng = np.random.default_rng(0)
    source = open_frames(clip)
    for _ in range(25):
        start, stop = rng.integers(0, 40, 2).tolist()
        step = int(rng.integers(1, 6)) * (1 if start < stop else -1)
        assert _numbers(source, range(start, stop, step)) == list(range(start, stop, step))


def test_a_clip_longer_than_a_chunk_is_read_backward(tmp_path: Path) -> None:
    path = write_video(tmp_path / "long.mp4", 110, gop=50, b_frames=2)
    assert _numbers(open_frames(path), range(109, -1, -1)) == list(range(109, -1, -1))


def test_two_readings_of_one_source_do_not_disturb_each_other(clip: Path) -> None:
    source = open_frames(clip)
    ahead, back = source.read(range(40)), source.read(range(39, -1, -1))
    pairs = [(number_of(next(ahead)), number_of(next(back))) for _ in range(40)]
    assert pairs == [(number, 39 - number) for number in range(40)]


def test_a_reading_may_be_left_early(clip: Path) -> None:
    reading = open_frames(clip).read(range(40))
    next(reading)
    reading.close()
    clip.rename(clip.with_suffix(".moved"))
    clip.with_suffix(".moved").rename(clip)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "mpeg4"),
        ("clip.mov", "libx264"),
        ("clip.mkv", "libx264"),
        ("clip.avi", "mpeg4"),
        ("clip.avi", "mjpeg"),
        ("clip.avi", "libx264"),
        ("clip.flv", "libx264"),
        ("clip.ts", "libx264"),
        ("clip.webm", "libvpx-vp9"),
        ("clip.mpg", "mpeg2video"),
        ("raw.h264", "libx264"),  # raw streams have no times at all
        ("raw.m4v", "mpeg4"),
        ("raw.mjpeg", "mjpeg"),
    ],
)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_every_common_container_is_read_forward_and_backward(
    tmp_path: Path, name: str, codec: str, b_frames: int
) -> None:
    if b_frames and codec in ("mjpeg", "libvpx-vp9"):
        pytest.skip(f"{codec} has no B-frames")
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / name, 30, codec=codec, pixels=pixels, b_frames=b_frames)
    source = open_frames(path)
    assert source.length() == 30
    assert _numbers(source, range(30)) == list(range(30))
    assert _numbers(source, range(29, -1, -1)) == list(range(29, -1, -1))
    for first in range(1, 30, 4):
        assert _numbers(source, range(first, first + 1)) == [first]


@pytest.mark.parametrize("size", [(37, 53), (1, 16), (33, 128)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "odd.mkv", 3, codec="ffv1", size=size, pixels="bgr0")
    source = open_frames(path)
    assert source.size_hw() == size
    for number, frame in enumerate(source.read(range(3))):
        assert np.array_equal(frame, numbered(number, *size))


def test_a_variable_frame_rate_counts_frames_not_time(tmp_path: Path) -> None:
    gaps = np.random.default_rng(0).integers(1, 400, 30)
    path = write_video(tmp_path / "vfr.mp4", 30, times=np.cumsum(gaps).tolist(), b_frames=2)
    source = open_frames(path)
    assert source.length() == 30
    assert _numbers(source, range(30)) == list(range(30))
    assert _numbers(source, range(29, -1, -1)) == list(range(29, -1, -1))
    assert _numbers(source, range(13, 20, 3)) == [13, 16, 19]


def test_a_video_that_does_not_begin_at_zero_begins_with_its_first_frame(tmp_path: Path) -> None:
    times = [5000 + 40 * number for number in range(20)]
    source = open_frames(write_video(tmp_path / "late.mkv", 20, times=times))
    assert _numbers(source, range(20)) == list(range(20))
    assert _numbers(source, range(19, 9, -1)) == list(range(19, 9, -1))


def test_sound_beside_the_picture_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=25)
        picture.height, picture.width, picture.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        sound = container.add_stream("aac", rate=44100)
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        for packet in _silence(sound):
            container.mux(packet)
    assert _numbers(open_frames(path), range(20)) == list(range(20))


def _silence(stream: Any) -> Iterator[Any]:
    for block in range(20):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((2, 1024), dtype=np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = 44100, block * 1024
        yield from stream.encode(frame)
    yield from stream.encode()


# ---------------------------------------------------------------- turned videos


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_video_is_shown_upright(tmp_path: Path, degrees: int) -> None:
    """The matrix turns clockwise by so many degrees, as players show it."""
    path = write_video(tmp_path / "turned.mp4", 4)
    plain = list(open_frames(path).read(range(4)))
    turn_video(path, degrees)
    source = open_frames(path)
    expected = [np.rot90(frame, -degrees // 90) for frame in plain]
    assert source.size_hw() == expected[0].shape[:2]
    for frame, wanted in zip(source.read(range(4)), expected, strict=True):
        assert np.array_equal(frame, wanted)
        assert frame.flags["C_CONTIGUOUS"]


# ---------------------------------------------------------------- what cannot be read


def test_a_text_file_called_mp4_is_named(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("I am no video. " * 50)
    with pytest.raises(FrameSourceError, match=r"text\.mp4: not a video that can be read"):
        open_frames(path).length()


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    with pytest.raises(FrameSourceError, match=r"empty\.mp4: not a video that can be read"):
        open_frames(path).size_hw()


def test_a_file_with_sound_alone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100)
        for packet in _silence(sound):
            container.mux(packet)
    with pytest.raises(FrameSourceError, match=r"sound\.m4a: holds no video stream"):
        open_frames(path).length()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrameSourceError, match=r"none\.mp4: no such file or folder"):
        open_frames(tmp_path / "none.mp4")


def test_a_file_whose_end_with_the_index_is_missing_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(FrameSourceError, match=r"cut\.mp4"):
        open_frames(path).length()


# ---------------------------------------------------------------- what was cut off


CUTTABLE = {
    "index first.mp4": {"container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "clip.mkv": {},
}


def _cut(path: Path, part: float = 0.5) -> Path:
    """A clip of which only the first part of its pictures is there."""
    kind = path.name if path.name in CUTTABLE else "index first.mp4"
    content = write_video(path, 40, b_frames=3, **CUTTABLE[kind]).read_bytes()
    start = content.find(b"mdat") if kind == "index first.mp4" else len(content) // 3
    path.write_bytes(content[: start + int((len(content) - start) * part)])
    return path


def _readable(source: FrameSource, indices: range) -> tuple[list[int], str]:
    """Painted numbers of all that comes before an error or the end, and what is said there."""
    found = []
    try:
        found.extend(number_of(frame) for frame in source.read(indices))  # up to an error
        source.refuse_loss()
    except FrameSourceError as error:
        return found, str(error)
    return found, ""


@pytest.mark.parametrize("name", CUTTABLE)
@pytest.mark.parametrize("part", [0.5, 0.61, 0.75, 0.8, 0.9])
def test_a_file_that_was_cut_off_gives_what_is_there_under_its_numbers_and_says_so(
    tmp_path: Path, name: str, part: float
) -> None:
    source = open_frames(_cut(tmp_path / name, part))
    length = source.length()
    assert 0 < length <= 40
    found, said = _readable(source, range(length))
    assert found == list(range(length))
    assert re.search(rf"{name}: the file is cut off after \d+ of \d+ bytes, and {length}\b", said)
    assert "Fetch it again" in said
    found, _ = _readable(source, range(length - 1, -1, -1))
    assert found == list(range(length - 1, -1, -1))


def test_a_cut_is_noticed_at_every_byte_of_the_last_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    options = {"movflags": "faststart"}
    content = write_video(path, 12, b_frames=2, container_options=options).read_bytes()
    assert _readable(open_frames(path), range(12)) == (list(range(12)), "")
    for end in range(len(content) - 80, len(content)):
        path.write_bytes(content[:end])
        source = open_frames(path)
        length = source.length()
        assert 5 < length < 12
        found, said = _readable(source, range(length))
        assert found == list(range(length)), f"cut at {end} of {len(content)}"
        assert f"{length} of 12 frames can be read" in said


def test_a_file_whose_first_picture_is_cut_off_says_so_at_once(tmp_path: Path) -> None:
    path = _cut(tmp_path / "cut.mp4", 0.05)
    with pytest.raises(FrameSourceError, match=r"cut\.mp4: .* cut off .* 0 of 40 frames"):
        open_frames(path).size_hw()


def _append_half_a_box(path: Path) -> None:
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", 1000, b"free") + bytes(90))


def _append_zeros(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(333))


def _let_the_pictures_go_on_to_the_end(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") - 4
    content[start : start + 4] = bytes(4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "change", [_append_half_a_box, _append_zeros, _let_the_pictures_go_on_to_the_end]
)
def test_a_file_that_lacks_no_picture_is_whole_whatever_its_end_looks_like(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "clip.mp4", 40, b_frames=2, container_options=options)
    change(path)
    assert _readable(open_frames(path), range(40)) == (list(range(40)), "")


def test_a_recording_that_does_not_say_how_long_it_is_counts_as_whole(tmp_path: Path) -> None:
    path = write_video(tmp_path / "live.mkv", 40, b_frames=2, container_options={"live": "1"})
    assert _readable(open_frames(path), range(40)) == (list(range(40)), "")


TRACKER_SETTINGS = TrackingConfig(fill_hole_area=0)


def _tracked(found: Iterator[TrackedFrame]) -> tuple[list[int], str]:
    """Frames up to an error or the end, and what is said there."""
    frames = []
    try:
        frames.extend(frame.frame for frame in found)  # up to an error
    except FrameSourceError as error:
        return frames, str(error)
    return frames, ""


@pytest.mark.parametrize("in_session", [False, True], ids=["tracker", "session"])
def test_tracking_a_file_that_was_cut_off_gives_all_that_is_there_then_says_so(
    tmp_path: Path, in_session: bool
) -> None:
    path = _cut(tmp_path / "cut.mp4")
    length = open_frames(path).length()
    prompt = FramePrompt(3, 1, Prompt(points=[(30, 20)], labels=[1]))
    forward = list(range(3, length))
    expected = {
        "forward": (forward, True),
        "both": ([*forward, 2, 1, 0], True),
        "backward": ([3, 2, 1, 0], False),  # of what was asked for nothing is missing
    }
    for direction, (frames, is_short) in expected.items():
        tracker = VideoTracker(lively_model(64), TRACKER_SETTINGS)
        if in_session:
            session = tracker.session(path)
            session.prompt(prompt)
            found, said = _tracked(session.propagate(direction))
        else:
            found, said = _tracked(tracker.track(path, [prompt], direction))
        assert found == frames, direction
        assert (f"{length} of 40 frames can be read" in said) == is_short, direction


@pytest.mark.parametrize("frame", [30, 39])
def test_a_prompt_on_a_frame_that_was_cut_off_says_that_it_was(tmp_path: Path, frame: int) -> None:
    path = _cut(tmp_path / "cut.mp4")
    tracker = VideoTracker(lively_model(64), TRACKER_SETTINGS)
    prompt = FramePrompt(frame, 1, Prompt(points=[(30, 20)], labels=[1]))
    with pytest.raises(FrameSourceError, match="of 40 frames can be read"):
        tracker.track(path, [prompt])
    with pytest.raises(FrameSourceError, match="of 40 frames can be read"):
        tracker.session(path).prompt(prompt)


# ---------------------------------------------------------------- what begins in the middle


def _remux(source: Path, path: Path, change: Callable[[int, av.Packet], av.Packet | None]) -> Path:
    """Copy packets, changed or left out by their number in the order of decoding."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is None:
                continue
            changed = change(number, packet)
            if changed is not None:
                changed.stream = stream
                new.mux(changed)
    return path


def _begin_late(source: Path, path: Path, first: int = 5) -> Path:
    """A copy without its first key frame; the next is twelve frames into the clip."""
    return _remux(source, path, lambda number, packet: packet if number >= first else None)


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_frames_count_from_the_first_that_can_be_decoded(
    clip: Path, tmp_path: Path, name: str
) -> None:
    source = open_frames(_begin_late(clip, tmp_path / name))
    assert source.length() == 28
    painted = list(range(12, 40))
    assert _numbers(source, range(28)) == painted
    assert _numbers(source, range(27, -1, -1)) == painted[::-1]
    for index in (0, 1, 11, 20, 27):
        assert _numbers(source, range(index, index + 1)) == [12 + index]


def test_where_packets_only_estimate_the_frames_a_shortage_is_a_warning_with_both_counts(
    clip: Path, tmp_path: Path
) -> None:
    source = open_frames(_begin_late(clip, tmp_path / "late.ts"))
    assert source.length() == 35
    with pytest.warns(UserWarning, match=r"late\.ts: .* 35 frames.* ended before frame 28"):
        assert _numbers(source, range(35)) == list(range(12, 40))
    assert _numbers(source, range(27, -1, -1)) == list(range(39, 11, -1))
    with pytest.raises(FrameSourceError, match="ended before frame 28"):
        list(source.read(range(34, -1, -1)))  # the frames that came would have wrong numbers


def test_a_shortage_of_frames_is_a_warning_behind_the_last_tracked_frame(
    clip: Path, tmp_path: Path
) -> None:
    path = _begin_late(clip, tmp_path / "late.ts")
    tracker = VideoTracker(lively_model(64), TRACKER_SETTINGS)
    prompt = FramePrompt(20, 1, Prompt(points=[(30, 20)], labels=[1]))
    with pytest.warns(UserWarning, match="35 frames.* ended before frame 28"):
        found = [frame.frame for frame in tracker.track(path, [prompt])]
    assert found == list(range(20, 28))


def test_a_prompt_on_a_frame_that_never_comes_is_refused_with_words(
    clip: Path, tmp_path: Path
) -> None:
    path = _begin_late(clip, tmp_path / "late.ts")
    tracker = VideoTracker(lively_model(64), TRACKER_SETTINGS)
    prompt = FramePrompt(30, 1, Prompt(points=[(30, 20)], labels=[1]))
    with pytest.raises(FrameSourceError, match="ended before frame 30"):
        list(tracker.track(path, [prompt]))
    with pytest.raises(FrameSourceError, match="ended before frame 30"):
        tracker.session(path).prompt(prompt)


# ---------------------------------------------------------------- what is hidden or damaged


@pytest.mark.parametrize("name", ["hidden.webm", "hidden.mkv"])
def test_frames_of_vp8_that_are_never_shown_do_not_count(tmp_path: Path, name: str) -> None:
    """Encoders hide frames that others refer to; each is a packet with a time of its own."""

    def hide(number: int, packet: av.Packet) -> av.Packet:
        if number not in (5, 17):
            return packet
        content = bytearray(bytes(packet))
        content[0] &= ~0x10
        hidden = av.Packet(bytes(content))
        hidden.pts, hidden.dts, hidden.time_base = packet.pts, packet.dts, packet.time_base
        return hidden

    whole = write_video(tmp_path / "whole.webm", 30, codec="libvpx")
    source = open_frames(_remux(whole, tmp_path / name, hide))
    shown = [number for number in range(30) if number not in (5, 17)]
    assert source.length() == 28
    assert _numbers(source, range(28)) == shown
    assert _numbers(source, range(27, -1, -1)) == shown[::-1]
    assert _numbers(source, range(10, 12)) == [11, 12]


def _damage(path: Path, number: int) -> None:
    """Overwrite the middle frame's packet, so that the decoder drops it."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
        packets.sort(key=lambda packet: packet.pts)
        position, size = packets[number].pos, packets[number].size
    content = bytearray(path.read_bytes())
    content[position : position + size] = b"\xff" * size
    path.write_bytes(content)


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "libx264"])
@pytest.mark.parametrize("backward", [False, True])
def test_a_frame_that_cannot_be_decoded_does_not_shift_the_others(
    tmp_path: Path, codec: str, backward: bool
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / "damaged.mp4", 40, codec=codec, pixels=pixels, gop=1)
    _damage(path, 20)
    source = open_frames(path)
    assert source.length() == 40
    indices = range(39, -1, -1) if backward else range(40)
    found, said = _readable(source, indices)
    wrong = [pair for pair in zip(indices, found, strict=False) if len(set(pair)) > 1]
    assert all(index == 20 for index, _ in wrong), "(index, number painted on the frame)"
    assert len(found) == 40 or "damaged.mp4: " in said


def test_all_frames_before_one_that_cannot_be_decoded_are_given(tmp_path: Path) -> None:
    path = write_video(tmp_path / "damaged.mp4", 40, codec="mjpeg", pixels="yuvj420p", gop=1)
    _damage(path, 20)
    found, said = _readable(open_frames(path), range(40))
    assert found[:20] == list(range(20))
    assert len(found) == 40 or re.search(r"damaged\.mp4: .*(frame 20|broke off)", said)


def test_reading_a_single_frame_that_cannot_be_decoded_is_our_own_error_or_a_picture(
    tmp_path: Path,
) -> None:
    path = write_video(tmp_path / "damaged.mp4", 40, codec="mjpeg", pixels="yuvj420p", gop=1)
    _damage(path, 20)
    source = open_frames(path)
    source.size_hw()
    try:
        found = list(source.read(range(20, 21)))
    except FrameSourceError:
        return
    assert len(found) == 1


def test_a_program_may_end_in_the_middle_of_a_clip(clip: Path) -> None:
    """What is still open then is closed by an interpreter that imports nothing any more."""
    program = (
        "import builtins, itertools, sys; from pathlib import Path\n"
        "from sam2_core.inference.video_file import VideoFile\n"
        "frames = VideoFile(Path(sys.argv[1])).read(range(8))\n"
        "print(len(list(itertools.islice(frames, 3))))\n"
        "builtins.frames = frames  # outlives all modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(clip)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_reader_that_is_abandoned_closes_though_the_log_was_sent_to_python(clip: Path) -> None:
    """torchvision sends it: then a decoder's threads wait for who waits for their end."""
    program = (
        "import sys; from pathlib import Path; import av, av.logging\n"
        "from sam2_core.inference.video_file import VideoFile\n"
        "av.logging.set_level(av.logging.ERROR)\n"
        "for first in range(10):\n"
        "    source = VideoFile(Path(sys.argv[1]))\n"
        "    source.size_hw()\n"
        "    next(source.read(range(first, 40)))\n"
        "print(av.logging.get_level())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(clip)],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
