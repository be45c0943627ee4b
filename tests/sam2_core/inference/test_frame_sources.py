"""Frames out of lists, folders and iterators: order, sizes, and how far they are read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2_core import FrameSourceError
from sam2_core.inference.frame_sources import (
    FrameSource,
    PictureIterator,
    PictureList,
    open_frames,
    picture_files,
)


def _clip(length: int = 5, height: int = 4, width: int = 6) -> np.ndarray:
    """Every frame is filled with its number."""
    levels = np.arange(length, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (length, height, width, 3)).copy()


def _levels(source: FrameSource, indices: range) -> list[int]:
    frames = list(source.read(indices))
    assert all(frame.shape == (4, 6, 3) for frame in frames)
    return [int(frame.flat[0]) for frame in frames]


def _save(folder: Path, names: list[str]) -> None:
    """Pictures whose level is their place in the list of names."""
    for level, name in enumerate(names):
        settings = {"lossless": True} if name.endswith(".webp") else {}
        Image.fromarray(_clip(len(names))[level]).save(folder / name, **settings)


# ---------------------------------------------------------------- what can be read twice


@pytest.mark.parametrize(
    "make",
    [
        lambda clip: list(clip),
        lambda clip: tuple(clip),
        lambda clip: clip,
        lambda clip: [Image.fromarray(frame) for frame in clip],
        lambda clip: tuple(Image.fromarray(frame) for frame in clip),
        lambda clip: [clip[0], Image.fromarray(clip[1]), *clip[2:]],
    ],
    ids=["list", "tuple", "array", "Pillow list", "Pillow tuple", "mixture"],
)
def test_a_sequence_of_pictures_can_be_read_in_any_order(make: object) -> None:
    source = open_frames(make(_clip()))
    assert source.rereadable
    assert source.length() == source.reach() == 5
    assert source.size_hw() == (4, 6)
    assert _levels(source, range(5)) == [0, 1, 2, 3, 4]
    assert _levels(source, range(4, -1, -1)) == [4, 3, 2, 1, 0]
    assert _levels(source, range(3, 4)) == [3]
    assert _levels(source, range(0)) == []


def test_a_list_of_paths_is_a_clip(tmp_path: Path) -> None:
    _save(tmp_path, ["b.png", "a.png", "c.webp"])
    paths = [tmp_path / "c.webp", str(tmp_path / "a.png"), tmp_path / "b.png"]
    assert _levels(open_frames(paths), range(3)) == [2, 1, 0]  # as listed, not as sorted


def test_an_opened_source_passes_through() -> None:
    source = open_frames(list(_clip()))
    assert open_frames(source) is source


def test_reach_is_the_length_but_at_most_sixteen() -> None:
    reaches = {n: open_frames(_clip(n)).reach() for n in (1, 15, 16, 17, 90)}
    assert reaches == {1: 1, 15: 15, 16: 16, 17: 16, 90: 16}


def test_frames_of_a_sequence_are_looked_at_one_by_one() -> None:
    looked: list[int] = []

    class Lazy:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> np.ndarray:
            looked.append(index)
            return _clip()[index]

    reading = open_frames(Lazy()).read(range(4, 0, -1))
    assert looked == []
    next(reading)
    next(reading)
    assert looked == [4, 3]


# ---------------------------------------------------------------- folders


def test_a_folder_is_read_by_the_numbers_in_its_names(tmp_path: Path) -> None:
    _save(tmp_path, ["1.png", "2.png", "3.png", "10.png", "20.png", "100.png"])
    for path in (tmp_path, str(tmp_path)):
        source = open_frames(path)
        assert source.length() == 6
        assert _levels(source, range(6)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "names",
    [
        ["00000.png", "00001.png", "00002.png"],
        ["frame2.png", "frame10.png", "frame10b.png"],
        ["a1_2.png", "a1_10.png", "a2_1.png"],
        ["2.webp", "3.png", "10.webp"],
        ["1.PNG", "2.Webp", "3.png"],
        ["1.bmp", "2.tif", "3.tiff"],
    ],
    ids=str,
)
def test_names_are_sorted_naturally_whatever_their_kind(tmp_path: Path, names: list[str]) -> None:
    _save(tmp_path, names)
    assert [file.name for file in picture_files(tmp_path)] == names
    assert _levels(open_frames(tmp_path), range(3)) == [0, 1, 2]


def test_strange_names_are_sorted_without_an_error(tmp_path: Path) -> None:
    _save(tmp_path, ["1.png", "a.png", "1a.png", "a1.png", "²3.png", "٣.png", "-1.png"])
    assert len(picture_files(tmp_path)) == 7


def test_what_is_no_picture_is_left_out(tmp_path: Path) -> None:
    _save(tmp_path, ["0.png", "1.png"])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "Thumbs.db").write_bytes(b"")
    (tmp_path / "inner.png").mkdir()
    assert open_frames(tmp_path).length() == 2


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(FrameSourceError, match=f"{tmp_path}: no picture in this folder"):
        open_frames(tmp_path)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrameSourceError, match="nowhere: no such file or folder"):
        open_frames(tmp_path / "nowhere")


@pytest.mark.parametrize("url", ["s3://b/x.mp4", "https://host/a/b.mp4", "file:///x.mp4"])
def test_a_url_is_refused_as_one_and_the_way_out_is_said(url: str) -> None:
    with pytest.raises(FrameSourceError, match=f"^{url}: URLs are not read here: copy what it"):
        open_frames(url)
    with pytest.raises(FrameSourceError, match="URLs are not read here"):
        open_frames(Path(url))  # which makes one slash of two


def test_a_folder_whose_name_looks_like_a_url_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s3:/b").mkdir(parents=True)
    _save(Path("s3:/b"), ["0.png", "1.png"])
    assert open_frames("s3://b").length() == 2


# ---------------------------------------------------------------- what is refused


def test_a_frame_of_another_size_is_refused_by_its_number() -> None:
    clip = [*_clip(3), np.zeros((5, 6, 3), dtype=np.uint8)]
    reading = open_frames(clip).read(range(4))
    assert len([next(reading) for _ in range(3)]) == 3
    with pytest.raises(FrameSourceError, match="frame 3 is 6 x 5 pixels, the ones before 6 x 4"):
        next(reading)


def test_an_iterators_frame_of_another_size_is_refused_by_its_number() -> None:
    clip = [*_clip(3), np.zeros((5, 6, 3), dtype=np.uint8)]
    source = open_frames(iter(clip))
    with pytest.raises(FrameSourceError, match="frame 3 is 6 x 5 pixels"):
        list(source.read(range(4)))


def test_a_turned_frame_is_of_another_size() -> None:
    clip = [np.zeros((4, 6, 3), dtype=np.uint8), np.zeros((6, 4, 3), dtype=np.uint8)]
    with pytest.raises(FrameSourceError, match="frame 1 is 4 x 6 pixels, the ones before 6 x 4"):
        list(open_frames(clip).read(range(2)))


@pytest.mark.parametrize("wrap", [list, iter], ids=["list", "iterator"])
def test_a_broken_frame_is_named(wrap: object, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for bad in (broken, np.zeros((4, 6, 3)), None):
        clip = [*_clip(2), bad]
        source = open_frames(wrap(clip))
        with pytest.raises(FrameSourceError, match="frame 2: "):
            list(source.read(range(3)))


@pytest.mark.parametrize("frames", [3, None, 1.5])
def test_something_that_holds_no_frames_is_refused_by_its_type(frames: object) -> None:
    with pytest.raises(FrameSourceError, match=f"not a {type(frames).__name__}"):
        open_frames(frames)


@pytest.mark.parametrize("picture", [_clip()[0], _clip()[0, :, :, :1], _clip()[0, :, :, 0]])
def test_one_picture_as_an_array_is_no_clip_and_the_way_out_is_said(picture: np.ndarray) -> None:
    """Its rows would pass for frames: an array [H, W, 3] for H grey ones of 3 pixels' width."""
    with pytest.raises(FrameSourceError, match=r"shape \(4, 6.*\) is one picture.*\[picture\]"):
        open_frames(picture)
    assert open_frames([picture]).size_hw() == (4, 6)


def test_grey_frames_as_an_array_are_a_clip() -> None:
    assert _levels(open_frames(_clip()[..., 0]), range(5)) == [0, 1, 2, 3, 4]


def test_one_pillow_picture_is_no_clip_and_the_way_out_is_said() -> None:
    with pytest.raises(FrameSourceError, match=r"not a Image\. Write \[picture\]"):
        open_frames(Image.fromarray(_clip()[0]))


def test_a_dictionary_is_no_clip_and_the_way_out_is_said() -> None:
    frames = dict(enumerate(_clip()))
    with pytest.raises(FrameSourceError, match=r"not a dict\. Write list\(frames\.values\(\)\)"):
        open_frames(frames)
    assert open_frames(list(frames.values())).length() == 5


@pytest.mark.parametrize("frames", [{"b.png", "a.png"}, b"content of a file", bytearray(9)])
def test_what_has_no_order_or_no_pictures_is_refused_by_its_type(frames: object) -> None:
    with pytest.raises(FrameSourceError, match=f"not a {type(frames).__name__}"):
        open_frames(frames)


@pytest.mark.parametrize(
    "empty", [[], (), iter([]), _clip(0)], ids=["list", "tuple", "iterator", "clip"]
)
def test_a_clip_without_a_frame_says_so_when_its_size_is_asked(empty: object) -> None:
    with pytest.raises(FrameSourceError, match="holds no frame"):
        open_frames(empty).size_hw()


def test_tensors_are_refused_with_words() -> None:
    with pytest.raises(FrameSourceError, match=r"frame 0: A picture is .* not a Tensor"):
        open_frames(torch.zeros(3, 4, 6, 3, dtype=torch.uint8)).size_hw()


# ---------------------------------------------------------------- iterators


class Counted:
    """An iterator that counts how many frames were pulled out of it."""

    def __init__(self, length: int) -> None:
        self.pulled = 0
        self.ended = False
        self._clip = _clip(length)

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self._clip:
            self.pulled += 1
            yield frame
        self.ended = True


def test_an_iterator_gives_its_frames_once_and_in_order() -> None:
    source = open_frames(iter(_clip(30)))
    assert isinstance(source, PictureIterator)
    assert not source.rereadable
    assert source.position == 0
    assert _levels(source, range(30)) == list(range(30))
    assert source.position == 30


def test_opening_pulls_nothing_and_asking_for_the_size_pulls_one_frame() -> None:
    counted = Counted(30)
    source = open_frames(iter(counted))
    assert counted.pulled == 0
    assert source.size_hw() == (4, 6)
    assert counted.pulled == 1
    assert source.position == 0


def test_the_look_ahead_is_sixteen_frames() -> None:
    counted = Counted(30)
    source = open_frames(iter(counted))
    assert source.length() is None
    assert source.reach() == 16
    assert counted.pulled == 16
    reading = source.read(range(30))
    for index in range(30):
        next(reading)
        assert counted.pulled <= max(16, index + 2)
        assert source.length() is None or index >= 28
        assert counted.pulled <= max(16, index + 2)


def test_one_frame_is_read_by_its_index_or_missed_by_it() -> None:
    for frames in (_clip(9), iter(_clip(9))):
        source = open_frames(frames)
        assert source.read_one(7).flat[0] == 7
    with pytest.raises(FrameSourceError, match="The iterator ended before frame 12"):
        source.read_one(12)


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_short_iterator_is_known_to_be_short(length: int) -> None:
    source = open_frames(iter(_clip(length)))
    assert source.length() == length
    assert source.reach() == length
    assert len(list(source.read(range(99)))) == length
    assert source.length() == length


def test_sixteen_frames_or_more_have_the_same_reach() -> None:
    assert open_frames(iter(_clip(16))).reach() == open_frames(iter(_clip(17))).reach() == 16


def test_the_length_is_known_once_the_end_was_seen() -> None:
    source = open_frames(iter(_clip(20)))
    assert source.length() is None
    assert len(list(source.read(range(99)))) == 20
    assert source.length() == 20


def test_frames_may_be_skipped_and_are_gone_then() -> None:
    source = open_frames(iter(_clip(30)))
    assert _levels(source, range(7, 9)) == [7, 8]
    assert source.position == 9
    assert _levels(source, range(9, 11)) == [9, 10]


@pytest.mark.parametrize("stop", [4, 30])
def test_an_iterator_cannot_go_back_and_says_so_at_once(stop: int) -> None:
    source = open_frames(iter(_clip(30)))
    list(source.read(range(5)))
    with pytest.raises(FrameSourceError, match=r"passed frame 3 \(it stands at 5\).*give a list"):
        next(source.read(range(3, stop)))


def test_two_readings_of_one_iterator_do_not_share_its_frames() -> None:
    source = open_frames(iter(_clip(30)))
    one, other = source.read(range(30)), source.read(range(1, 30))
    next(one)
    next(other)
    with pytest.raises(
        FrameSourceError, match=r"has passed frame 1 \(it stands at 2\): somebody else.*give a list"
    ):
        next(one)
    assert next(other).flat[0] == 2


GOING_BACK = """
import sys, numpy as np
from sam2_core.errors import FrameSourceError
from sam2_core.inference.frame_sources import open_frames
source = open_frames(iter(np.zeros((30, 4, 6, 3), dtype=np.uint8)))
list(source.read(range(5)))
try:
    next(source.read(range(3, sys.maxsize)))
except FrameSourceError as error:
    print(error)
"""


def test_an_iterator_cannot_go_back_also_where_the_end_is_unknown() -> None:
    """In a process of its own: counting an endless range cannot be interrupted."""
    ran = subprocess.run(
        [sys.executable, "-c", GOING_BACK],
        capture_output=True,
        text=True,
        timeout=40,
        cwd=Path(__file__).parents[3],
    )
    assert "has passed frame 3 (it stands at 5) and cannot go back: give a list" in ran.stdout


def test_an_iterator_cannot_be_read_backward_or_in_steps() -> None:
    for indices in (range(9, 3, -1), range(0, 9, 2)):
        with pytest.raises(FrameSourceError, match="cannot go back"):
            next(open_frames(iter(_clip(30))).read(indices))


def _broken(error: BaseException, length: int = 3) -> Iterator[np.ndarray]:
    yield from _clip(length)
    raise error


class _Unreliable:
    """A sequence whose fourth picture cannot be had."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> np.ndarray:
        if index == 3:
            raise ConnectionError("the camera is gone")
        return _clip(9)[index]


@pytest.mark.parametrize("looks_ahead", [False, True])
@pytest.mark.parametrize("kind", ["iterator", "sequence"])
def test_frames_before_an_error_of_ones_own_come_before_it_with_its_place(
    kind: str, looks_ahead: bool
) -> None:
    error = ConnectionError("the camera is gone")
    source = open_frames(_broken(error) if kind == "iterator" else _Unreliable())
    if looks_ahead:
        assert source.size_hw() == (4, 6)
        assert source.length() == (None if kind == "iterator" else 9)
    reading = source.read(range(9))
    assert [next(reading).flat[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(
        FrameSourceError, match=r"frame 3 could not be had: ConnectionError: the camera is gone\."
    ) as caught:
        next(reading)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_an_iterator_that_broke_off_stays_broken() -> None:
    source = open_frames(_broken(ConnectionError("gone")))
    for _ in range(2):
        with pytest.raises(FrameSourceError, match="frame 3 could not be had"):
            source.read_one(3)
    with pytest.raises(FrameSourceError, match="frame 0 could not be had: KeyError"):
        open_frames(_broken(KeyError("x"), 0)).size_hw()


def test_a_broken_picture_of_an_iterator_comes_behind_those_before_it() -> None:
    source = open_frames(iter([*_clip(2), None, *_clip(2)]))
    assert source.reach() == 16
    reading = source.read(range(9))
    assert [next(reading).flat[0] for _ in range(2)] == [0, 1]
    with pytest.raises(FrameSourceError, match="frame 2: A picture is"):
        next(reading)


def test_an_interrupt_is_no_error_of_a_frame() -> None:
    source = open_frames(_broken(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        list(source.read(range(9)))


def test_a_clip_that_cannot_even_be_begun_says_so() -> None:
    class NoLength(_Unreliable):
        def __len__(self) -> int:
            raise OSError("no index")

    class NoBeginning:
        def __iter__(self) -> Iterator[np.ndarray]:
            raise OSError("no tape")

    with pytest.raises(FrameSourceError, match=r"number of its frames could not be .* no index"):
        open_frames(NoLength()).length()
    with pytest.raises(FrameSourceError, match=r"The iterator could not be had: OSError: no tape"):
        open_frames(NoBeginning())


def test_names_appear_in_errors() -> None:
    with pytest.raises(FrameSourceError, match="Camera 3: frame 0"):
        list(PictureIterator([None], "Camera 3").read(range(1)))
    with pytest.raises(FrameSourceError, match="Tape 3: frame 0"):
        list(PictureList([None], "Tape 3").read(range(1)))
