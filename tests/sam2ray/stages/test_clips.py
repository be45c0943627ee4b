"""Units become clips: every container, every sampling, folders too; what is bad says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from bad_videos import BROKEN_OFF, FRAMES, UNUSABLE
from label_bench import prompts, units_of
from make_archive import jpeg, write_files
from make_video import HEIGHT, WIDTH, number_of, turn_video, write_video

from sam2_core import FrameSourceError, ResizedPicture, read_image
from sam2_core.inference.video_file import VideoFile
from sam2ray.config import JobConfig
from sam2ray.errors import UnitFailed
from sam2ray.records import ErrorClass, Unit
from sam2ray.stages.clips import ClipInHand, ClipOpener
from sam2ray.stages.decode import PictureLimits, decode_picture
from sam2ray.stages.specs import clip_spec

POINT = {"points": [[20, 10]]}
EXACT = {"mode": "exact"}
SIDE = 64


def opener(choice: str = "sampled", mode: str = "auto", **settings) -> ClipOpener:
    config = {
        "mode": mode,
        "source": {"uri": "x"},
        "output": {"uri": "y"},
        "model": {"name": "nano", "image_size": SIDE},
        "fetch": {"attempts": 1},
    }
    return ClipOpener(clip_spec(JobConfig.model_validate(config | settings)), choice)


def exactly(choice: str = "sampled", **video) -> ClipOpener:
    """Frames keep their own pixels."""
    return opener(choice, decode=EXACT | {"video": video})


def opened(path: Path, how: ClipOpener, **unit) -> ClipInHand:
    (found,) = units_of(path, "frames" if path.is_dir() else "auto")
    return how.open(replace(found, **unit))


def refusal(path: Path, how: ClipOpener, **unit) -> UnitFailed:
    with pytest.raises(UnitFailed) as failure:
        opened(path, how, **unit).close()
    return failure.value


def frames_of(hand: ClipInHand) -> list:
    """All frames of a clip."""
    with_all = list(hand.ahead.read(range(len(hand.clip.sample.numbers))))
    hand.close()
    return with_all


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", b_frames=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = [f"{number}.jpg" for number in range(12)]  # 10.jpg stands behind 9.jpg
    return write_files(tmp_path_factory.mktemp("frames"), names)


# ---------------------------------------------------------------- videos


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "mpeg4"),
        ("clip.m4v", "libx264"),
        ("clip.mov", "libx264"),
        ("clip.mkv", "libx264"),
        ("clip.avi", "mpeg4"),
        ("clip.avi", "mjpeg"),
        ("clip.flv", "libx264"),
        ("clip.ts", "libx264"),
        ("clip.webm", "libvpx-vp9"),
        ("clip.mpg", "mpeg2video"),
        ("clip.3gp", "libx264"),
    ],
)
def test_every_common_container_is_a_clip(tmp_path, name, codec):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / name, 30, codec=codec, pixels=pixels)
    hand = opened(path, exactly())
    assert hand.size_hw == (HEIGHT, WIDTH)
    assert hand.fps == pytest.approx(25)
    assert [hand.clip.place(p).timestamp_s for p in range(30)] == pytest.approx(
        [number / 25 for number in range(30)], abs=0.002
    )
    assert [number_of(frame) for frame in frames_of(hand)] == list(range(30))


@pytest.mark.parametrize("size", [(37, 53), (1, 16), (33, 128)])
@pytest.mark.parametrize("mode", ["exact", "rounded", "scaled"])
def test_odd_sizes_are_kept(tmp_path, size, mode):
    path = write_video(tmp_path / "odd.mkv", 3, codec="ffv1", size=size, pixels="yuv444p")
    hand = opened(path, opener(decode={"mode": mode}))
    assert hand.size_hw == size
    frames = frames_of(hand)
    assert [f.size_hw if isinstance(f, ResizedPicture) else f.shape[:2] for f in frames] == (
        [size] * 3
    )


def test_frames_of_a_telephone_are_upright(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 3)
    turn_video(path, 90)
    for mode in ("exact", "rounded"):
        assert opened(path, opener(decode={"mode": mode})).size_hw == (WIDTH, HEIGHT)


def test_a_variable_rate_shows_in_the_times_of_frames(tmp_path):
    times = [0, 40, 55, 200, 1000, 1010]
    path = write_video(tmp_path / "clip.mkv", 6, times=times)
    hand = opened(path, exactly())
    assert [hand.clip.place(n).timestamp_s for n in range(6)] == pytest.approx(
        [time / 1000 for time in times]
    )
    hand.close()
    at_rate = opened(path, exactly(fps=5))
    assert list(at_rate.clip.sample.numbers) == [0, 3, 4]
    assert [number_of(frame) for frame in frames_of(at_rate)] == [0, 3, 4]


def test_exact_frames_are_those_of_the_core_and_rounded_ones_are_scaled_once(video):
    for how, same in (
        (exactly(), VideoFile(video)),
        (opener(), VideoFile(video, resized_to=SIDE)),
    ):
        for one, other in zip(frames_of(opened(video, how)), same.read(range(40)), strict=True):
            if isinstance(one, ResizedPicture):
                assert one.pixels.shape == (SIDE, SIDE, 3)
                assert one.size_hw == other.size_hw
                one, other = one.pixels, other.pixels
            assert np.array_equal(one, other)


def test_crops_are_cut_from_the_frames_own_pixels(video):
    for mode in ("auto", "auto_track"):
        hand = opened(video, opener(mode=mode, masks={"crop_n_layers": 1}))
        assert frames_of(hand)[0].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ({"every_nth": 7}, range(0, 40, 7)),
        ({"fps": 5}, range(0, 40, 5)),
        ({"fps": 10}, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23, 25, 28, 30, 33, 35, 38]),
        ({"max_frames": 5}, range(5)),
        ({"max_duration_s": 0.2}, range(5)),
        ({"every_nth": 3, "max_frames": 10}, range(0, 10, 3)),
    ],
    ids=str,
)
def test_a_sample_keeps_the_numbers_and_times_of_its_frames(video, rule, numbers):
    hand = opened(video, exactly(**rule))
    places = [hand.clip.place(position) for position in range(len(hand.clip.sample.numbers))]
    assert [place.frame_index for place in places] == list(numbers)
    assert [place.timestamp_s for place in places] == pytest.approx([n / 25 for n in numbers])
    assert [number_of(frame) for frame in frames_of(hand)] == list(numbers)


def test_a_part_of_a_video_is_a_clip_of_its_own(video):
    hand = opened(video, exactly(every_nth=4), first_frame=10, end_frame=20)
    assert [number_of(frame) for frame in frames_of(hand)] == [10, 14, 18]
    assert refusal(video, exactly(), first_frame=40).error_class is ErrorClass.ZERO_FRAMES


def test_prompted_frames_are_always_part_of_the_sample(video):
    text = prompts(POINT | {"frame": 9}, POINT | {"frame": 37}, POINT | {"frame": 0})
    hand = opened(video, exactly("sampled_and_prompted", every_nth=10, max_frames=25), prompts=text)
    assert list(hand.clip.sample.numbers) == [0, 9, 10, 20, 37]
    assert [prompt.frame for prompt in hand.clip.frame_prompts()] == [1, 4, 0]
    assert [number_of(frame) for frame in frames_of(hand)] == [0, 9, 10, 20, 37]
    alone = opened(video, exactly("prompted"), prompts=text)
    assert [number_of(frame) for frame in frames_of(alone)] == [0, 9, 37]


def test_prompts_that_do_not_fit_fail_the_unit(video, tmp_path):
    how = exactly("sampled_and_prompted")
    behind = refusal(video, how, prompts=prompts(POINT | {"frame": 40}))
    assert behind.error_class is ErrorClass.BAD_PROMPT
    assert "frame 40, and the clip has 40 frames" in behind.message
    outside = refusal(video, how, prompts=prompts({"points": [[WIDTH + 9, 0]]}))
    assert outside.error_class is ErrorClass.BAD_PROMPT
    BROKEN_OFF["cut.mp4"](tmp_path / "cut.mp4")
    cut = refusal(tmp_path / "cut.mp4", how, prompts=prompts(POINT | {"frame": FRAMES - 1}))
    assert cut.error_class is ErrorClass.TRUNCATED


def test_a_long_video_that_needs_no_copy_moves_on_while_it_is_looked_through(tmp_path):
    path = write_video(tmp_path / "long.mp4", 600, codec="mpeg4", size=(16, 16))
    (unit,) = units_of(path)
    heard: list[int] = []
    exactly().open(unit, lambda: heard.append(1)).close()
    assert len(heard) > 1


def test_a_video_with_too_long_a_side_is_refused(video):
    assert refusal(video, exactly(max_side=WIDTH - 1)).error_class is ErrorClass.TOO_LARGE


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_video_says_what_it_lacks(tmp_path, name):
    write, expected = UNUSABLE[name]
    write(tmp_path / name)
    failure = refusal(tmp_path / name, exactly())
    assert failure.error_class.value == expected
    assert str(tmp_path) not in failure.message
    assert not failure.error_class.retryable


@pytest.mark.filterwarnings("ignore:.*packets announce")
@pytest.mark.parametrize("name", BROKEN_OFF)
@pytest.mark.parametrize("mode", ["exact", "rounded"])
def test_of_a_video_that_breaks_off_what_comes_before_can_be_read(tmp_path, name, mode):
    BROKEN_OFF[name](tmp_path / name)
    hand = opened(tmp_path / name, opener(decode={"mode": mode}))
    count = 0
    with pytest.raises(FrameSourceError) as error:  # noqa: PT012
        for _ in hand.ahead.read(range(len(hand.clip.sample.numbers))):
            count += 1
        hand.ahead.refuse_loss()
    assert 5 < count < FRAMES
    failure = hand.explain(error.value)
    assert failure.error_class in (ErrorClass.TRUNCATED, ErrorClass.CORRUPT)
    assert str(tmp_path) not in failure.message
    hand.close()


def test_a_disk_that_fails_is_not_the_fault_of_the_video(video):
    hand = opened(video, exactly())
    for cause, expected in (
        (OSError(5, "Input/output error"), ErrorClass.IO),
        (FileNotFoundError(2, "gone"), ErrorClass.NOT_FOUND),
    ):
        error = FrameSourceError("decoding broke off")
        error.__cause__ = cause
        assert hand.explain(error).error_class is expected
    hand.close()


# ---------------------------------------------------------------- folders


def test_a_folder_of_pictures_is_a_clip_in_the_order_of_their_numbers(folder):
    hand = opened(folder, exactly())
    assert hand.size_hw == (16, 24)
    assert hand.fps is None
    assert [hand.clip.place(n).frame_index for n in range(12)] == list(range(12))
    assert hand.clip.place(3).timestamp_s is None
    for number, frame in enumerate(frames_of(hand)):
        assert np.array_equal(frame, read_image(folder / f"{number}.jpg"))


def test_a_folder_of_a_store_is_read_from_there(tmp_path, folder):
    store = fsspec.filesystem("memory")
    for file in folder.iterdir():
        store.pipe_file(f"/{tmp_path.name}/clip/{file.name}", file.read_bytes())
    (unit,) = units_of(f"memory://{tmp_path.name}/clip", "frames")
    frames = frames_of(exactly(every_nth=5).open(unit))
    for number, frame in zip((0, 5, 10), frames, strict=True):
        assert np.array_equal(frame, read_image(folder / f"{number}.jpg"))


def test_large_pictures_of_a_folder_are_resized_as_single_ones_are(tmp_path):
    data = jpeg(300, 200)
    write_files(tmp_path, {"0.jpg": data, "1.jpg": data})
    (frame, _) = frames_of(opened(tmp_path, opener()))
    same = decode_picture(data, mode="rounded", model_px=SIDE, limits=PictureLimits())
    assert np.array_equal(frame.pixels, same.pixels)
    assert frame.size_hw == (200, 300)


def test_a_rate_cannot_be_met_by_pictures_without_times(folder):
    failure = refusal(folder, exactly(fps=2))
    assert failure.error_class is ErrorClass.UNSUPPORTED
    assert "every_nth" in failure.message


def test_limits_of_pictures_hold_for_frames(folder):
    small = refusal(folder, opener(decode={"max_side": 20}))
    assert small.error_class is ErrorClass.TOO_LARGE
    assert "0.jpg" in small.message
    heavy = refusal(folder, opener(decode={"max_bytes": 100}))
    assert heavy.error_class is ErrorClass.TOO_LARGE
    assert "decode.max_bytes=100" in heavy.message


def test_a_broken_picture_in_a_folder_breaks_it_off(tmp_path):
    files = {f"{number}.jpg": jpeg(seed=number) for number in range(8)}
    write_files(tmp_path, files | {"5.jpg": files["5.jpg"][:200]})
    hand = opened(tmp_path, exactly())
    reading = hand.ahead.read(range(8))
    assert len([next(reading) for _ in range(5)]) == 5
    with pytest.raises(FrameSourceError) as error:
        next(reading)
    failure = hand.explain(error.value)
    assert failure.error_class is ErrorClass.TRUNCATED
    assert "5.jpg" in failure.message
    hand.close()


def test_pictures_of_another_size_break_a_folder_off(tmp_path):
    write_files(tmp_path, {"0.jpg": jpeg(), "1.jpg": jpeg(), "2.jpg": jpeg(30, 30)})
    hand = opened(tmp_path, exactly())
    reading = hand.ahead.read(range(3))
    assert len([next(reading) for _ in range(2)]) == 2
    with pytest.raises(FrameSourceError, match="frame 2 is 30 x 30") as error:
        next(reading)
    assert hand.explain(error.value).error_class is ErrorClass.UNSUPPORTED
    hand.close()


def test_a_folder_that_is_gone_or_has_changed_is_said(tmp_path, folder):
    assert refusal_of(Unit(str(tmp_path / "none"), "frames")).error_class is ErrorClass.NOT_FOUND
    (unit,) = units_of(folder, "frames")
    assert refusal_of(replace(unit, version="another")).error_class is ErrorClass.IO


def refusal_of(unit: Unit) -> UnitFailed:
    with pytest.raises(UnitFailed) as failure:
        exactly().open(unit)
    return failure.value
