"""Files that are damaged inside break off at the damage; files that are whole never do."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import pytest
from damaged_videos import FRAGMENTS, FRAMES, RECIPES, Recipe, damaged, write
from make_video import number_of, write_video

from sam2_core import FrameSourceError
from sam2_core.inference.containers.breaks import find_break
from sam2_core.inference.containers.broken_bytes import close_walk, open_walk
from sam2_core.inference.video_file import VideoFile

PLACES = (0.3, 0.45, 0.6, 0.75, 0.9)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    return {
        name: write(folder / f"{name}.{recipe.suffix}", recipe).read_bytes()
        for name, recipe in RECIPES.items()
    }


def readable(path: Path) -> tuple[list[int], str]:
    """The painted numbers of all frames that come, and what is said at their end."""
    source, found = VideoFile(path), []
    try:
        found.extend(number_of(frame) for frame in source.read(range(source.length())))
        source.refuse_loss()
    except FrameSourceError as error:
        return found, str(error)
    return found, ""


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("how", ["lost", "added"])
@pytest.mark.parametrize("name", RECIPES)
def test_behind_bytes_that_are_lost_or_added_no_frame_comes_and_those_before_keep_their_numbers(
    tmp_path, whole, name, how
):
    path = tmp_path / f"damaged.{RECIPES[name].suffix}"
    came = []
    for part in PLACES:
        path.write_bytes(damaged(whole[name], how, part))
        found, said = readable(path)
        assert found == list(range(len(found))), (part, found)
        assert "damaged." in said, part
        came.append(len(found))
    assert came == sorted(came), "the later the damage, the more comes before it"
    assert came[-1] >= FRAMES // 2
    assert came[-1] < FRAMES


@pytest.mark.parametrize("how", ["overwritten", "blank"])
@pytest.mark.parametrize("name", RECIPES)
def test_behind_bytes_that_are_overwritten_no_frame_has_the_number_of_another(
    tmp_path, whole, name, how
):
    """A decoder may paint over what it lacks: then the picture is that of some frame before."""
    path = tmp_path / f"damaged.{RECIPES[name].suffix}"
    for part in PLACES:
        path.write_bytes(damaged(whole[name], how, part))
        found, said = readable(path)
        assert all(shown <= number for number, shown in enumerate(found)), (part, found)
        assert len(found) < FRAMES, part
        assert "damaged." in said, part


@pytest.mark.parametrize("name", ["avi", "mkv live", "mpg", "flv", "ogv"])
@pytest.mark.parametrize("part", [0.6, 0.8])
def test_a_file_that_ends_too_early_says_so(tmp_path, whole, name, part):
    path = tmp_path / f"cut.{RECIPES[name].suffix}"
    path.write_bytes(whole[name][: int(len(whole[name]) * part) + 1])
    found, said = readable(path)
    assert found == list(range(len(found)))
    assert 0 < len(found) < FRAMES
    assert f"cut off after {path.stat().st_size} of" in said


@pytest.mark.parametrize("name", ["ts", "m2ts"])
def test_a_recording_that_ends_within_a_packet_says_so(tmp_path, whole, name):
    path = tmp_path / f"cut.{RECIPES[name].suffix}"
    path.write_bytes(whole[name][: int(len(whole[name]) * 0.6) // 9024 * 9024 + 100])
    found, said = readable(path)
    assert found == list(range(len(found)))
    assert 0 < len(found) < FRAMES
    assert "cut off within a packet" in said


def test_a_cluster_that_is_missing_as_a_whole_shows_by_the_table_of_contents(tmp_path, whole):
    content = whole["mkv"]
    starts = []
    at = content.find(b"\x1f\x43\xb6\x75")
    while at >= 0:
        starts.append(at)
        at = content.find(b"\x1f\x43\xb6\x75", at + 4)
    assert len(starts) == 3
    path = tmp_path / "damaged.mkv"
    path.write_bytes(content[: starts[1]] + content[starts[2] :])
    found, said = readable(path)
    assert found == list(range(len(found)))
    assert 7 <= len(found) <= 10
    assert "a cluster is missing" in said


def test_a_fragment_that_is_missing_as_a_whole_shows_by_the_numbers_of_the_others(tmp_path):
    recipe = Recipe("mp4", "mpeg4", options=FRAGMENTS)
    content = write(tmp_path / "whole.mp4", recipe, 50).read_bytes()
    starts = [at for at in range(len(content)) if content[at + 4 : at + 8] == b"moof"]
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content[: starts[-2]] + content[starts[-1] :])
    found, said = readable(path)
    assert found == list(range(len(found)))
    assert 20 <= len(found) < 50
    assert "fragments are missing" in said


def test_what_an_index_promises_and_nobody_finds_is_missing(tmp_path, whole):
    """Two chunks are taken out so cleanly that nothing but the index of the file knows of them."""
    content = bytearray(whole["avi mjpeg"])
    movi = content.index(b"movi") - 8
    chunks = []
    at = movi + 12
    while content[at : at + 4] == b"00dc":
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        chunks.append((at, 8 + size + size % 2))
        at += chunks[-1][1]
    (first, one), (_, other) = chunks[10:12]
    del content[first : first + one + other]
    for place in (4, movi + 4):
        size = int.from_bytes(content[place : place + 4], "little") - one - other
        content[place : place + 4] = size.to_bytes(4, "little")
    path = tmp_path / "damaged.avi"
    path.write_bytes(content)
    found, said = readable(path)
    assert found == list(range(10))
    assert "the index" in said


# ---------------------------------------------------------------- files that are whole

SOUND = {
    **RECIPES,
    "3gp": Recipe("3gp", "mpeg4"),
    "hevc mp4": Recipe("mp4", "libx265"),
    "av1 mkv": Recipe("mkv", "libaom-av1"),
    "vp9 webm": Recipe("webm", "libvpx-vp9"),
    "vp8 mkv": Recipe("mkv", "libvpx", sound="aac"),
    "hevc ts": Recipe("ts", "libx265"),
    "mpeg4 ts": Recipe("ts", "mpeg4", b_frames=1, sound="mp2"),
    "mpeg1 mpg": Recipe("mpg", "mpeg1video", b_frames=1, muxer="mpeg"),
    "vob": Recipe("vob", "mpeg2video", b_frames=2, sound="mp2"),
    "h264 avi": Recipe("avi", "libx264"),
    "huffyuv avi": Recipe("avi", "huffyuv", "yuv422p"),
    "raw avi": Recipe("avi", "rawvideo"),
    "png mov": Recipe("mov", "png", "rgb24"),
    "prores mov": Recipe("mov", "prores_ks", "yuv422p10le"),
    "ffv1 mkv": Recipe("mkv", "ffv1"),
    "raw mkv": Recipe("mkv", "rawvideo"),
    "sorenson flv": Recipe("flv", "flv", sound="mp3"),
    "mp4 edits": Recipe("mp4", "libx264", b_frames=3, options=(("use_editlist", "1"),)),
    "mp4 dash": Recipe(
        "mp4", "libx264", options=(("movflags", "dash+frag_every_frame+empty_moov"),)
    ),
    "mp4 moofs": Recipe(
        "mp4",
        "libx264",
        sound="aac",
        options=(("movflags", "frag_keyframe+separate_moof+empty_moov"),),
    ),
    "mkv clusters": Recipe("mkv", "mpeg4", options=(("cluster_size_limit", "3000"),)),
    "mkv front": Recipe("mkv", "mpeg4", options=(("reserve_index_space", "5000"),)),
    "webm dash": Recipe("webm", "libvpx", options=(("dash", "1"),)),
    "avi master": Recipe("avi", "mpeg4", options=(("reserve_index_space", "400"),)),
    "ts resent": Recipe("ts", "mpeg2video", options=(("mpegts_flags", "resend_headers"),)),
    "flv plain": Recipe("flv", "libx264", options=(("flvflags", "no_duration_filesize"),)),
    "ogv pages": Recipe("ogv", "libvpx", options=(("page_duration", "1"),)),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_file_that_is_whole_is_read_to_its_end(tmp_path, name):
    recipe = SOUND[name]
    if recipe.codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {recipe.codec}")
    path = write(tmp_path / f"whole.{recipe.suffix}", recipe, 14)
    with av.open(str(path)) as container:
        assert find_break(path, container.streams.video[0].id) is None
    assert readable(path) == (list(range(14)), "")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts"])
def test_frames_that_come_at_any_time_are_no_loss(tmp_path, suffix):
    times = [5000, 5040, 5055, 5200, 6000, 6010, 9000, 9040, 9080, 9800]
    path = write_video(tmp_path / f"vfr.{suffix}", 10, times=times, b_frames=2)
    assert readable(path) == (list(range(10)), "")


def test_two_pictures_beside_sound_and_an_attachment_are_no_loss(tmp_path):
    path = tmp_path / "many.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        if hasattr(container, "add_attachment"):
            container.add_attachment("words.txt", "text/plain", b"words" * 500)
        for number in range(10):
            for stream in streams:
                frame = av.VideoFrame(128, 96, "yuv420p")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    source = VideoFile(path)
    assert len(list(source.read(range(source.length())))) == 10
    source.refuse_loss()


def test_recordings_put_one_behind_the_other_are_one_recording(tmp_path, whole):
    path = tmp_path / "both.ts"
    path.write_bytes(whole["ts"] * 2)
    with av.open(str(path)) as container:
        assert find_break(path, container.streams.video[0].id) is None


def test_a_second_list_of_packets_belongs_to_an_avi_file(tmp_path, whole):
    """Files over a gigabyte have one more for each."""
    content = whole["avi mjpeg"]
    movi = content.index(b"movi") - 8
    index = content.index(b"idx1")
    chunks, at = [], movi + 12
    while at < index:
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        chunks.append(content[at : at + 8 + size + size % 2])
        at += len(chunks[-1])
    first, second = b"movi" + b"".join(chunks[:20]), b"movi" + b"".join(chunks[20:])
    entries = content[index + 8 : index + 8 + 16 * 20]
    head = content[12:movi] + _chunk(b"LIST", first) + _chunk(b"idx1", entries)
    path = tmp_path / "long.avi"
    more = _chunk(b"RIFF", b"AVIX" + _chunk(b"LIST", second))
    path.write_bytes(_chunk(b"RIFF", b"AVI " + head) + more)
    assert find_break(path, 0) is None
    path.write_bytes(path.read_bytes()[:-3000])
    found = find_break(path, 0)
    assert found is not None
    assert "cut off" in found.reason


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content


def test_a_long_walk_says_that_it_gets_on(tmp_path):
    (tmp_path / "a").write_bytes(bytes(4))
    heard: list[int] = []
    walk = open_walk(tmp_path / "a", lambda: heard.append(walk.steps))
    for _ in range(1000):
        walk.step(0, 4)
    close_walk(walk)
    assert heard == [256, 512, 768]
