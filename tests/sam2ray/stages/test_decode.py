"""Bytes of any origin become the pixels that the core would read, or one reasoned failure."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_media import bad_pictures, damaged_unseen, encoded, odd_but_good_pictures, sample
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from sam2_core.inference.preprocess import as_rgb, images_to_pixels, normalise
from sam2ray.errors import UnitFailed, UsageError
from sam2ray.records import ErrorClass
from sam2ray.stages.decode import DecodedPicture, PictureLimits, decode_picture, shrink_by_dct

SUPPORT = Path(__file__).parents[2] / "support"
MODES = ["rounded", "exact", "scaled"]
BAD, GOOD = bad_pictures(), odd_but_good_pictures()

bad_files = pytest.mark.parametrize("file", BAD, ids=lambda file: file.name)
good_files = pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
any_mode = pytest.mark.parametrize("mode", MODES)


def decode(data, mode="exact", model_px=None, **limits) -> DecodedPicture:
    return decode_picture(data, mode=mode, model_px=model_px, limits=PictureLimits(**limits))


def outcome(data, mode="exact", model_px=None, **limits) -> DecodedPicture | UnitFailed:
    try:
        return decode(data, mode, model_px, **limits)
    except UnitFailed as failure:
        return failure


def core_pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return as_rgb(image)


def photo(height: int = 240, width: int = 400, **options) -> bytes:
    return encoded(sample(height, width), "JPEG", quality=92, **options)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# ---------------------------------------------------------------- what fails


@any_mode
@pytest.mark.parametrize("model_px", [None, 32])
@bad_files
def test_a_bad_file_fails_its_unit_with_the_class_it_deserves(file, model_px, mode):
    with pytest.raises(UnitFailed) as failure:
        decode(file.data, mode, model_px)
    assert failure.value.error_class == ErrorClass(file.expected)
    assert 5 < len(failure.value.message) <= 300


def test_the_collection_of_bad_and_odd_files_is_worth_its_name():
    assert len({file.name for file in BAD}) == len(BAD) >= 30
    assert len({file.name for file in GOOD}) == len(GOOD) >= 15
    assert {"truncated", "corrupt", "bomb", "too_large", "unsupported"} == {
        file.expected for file in BAD
    }


@pytest.mark.parametrize(
    ("data", "limits", "error_class", "words"),
    [
        (bytes(100), {"max_bytes": 99}, "too_large", ["100 bytes", "max_bytes=99"]),
        (b"", {}, "truncated", ["0 bytes"]),
        (b"<html></html>", {}, "unsupported", ["not a picture but an HTML page"]),
        (photo(20, 30), {"max_pixels": 599}, "bomb", ["30 x 20", "max_pixels=599"]),
        (photo(20, 30), {"max_side": 29}, "too_large", ["30 x 20", "max_side=29"]),
        (photo(20, 30), {"min_side": 21}, "unsupported", ["30 x 20", "min_side=21"]),
        (
            photo(20, 30),
            {"max_aspect_ratio": 1.4},
            "unsupported",
            ["30 x 20", "1.5 : 1", "max_aspect_ratio=1.4"],
        ),
    ],
)
def test_a_limit_is_named_with_what_broke_it(data, limits, error_class, words):
    with pytest.raises(UnitFailed) as failure:
        decode(data, **limits)
    assert failure.value.error_class == error_class
    assert all(word in failure.value.message for word in words)


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_stands_at_a_limit_passes_in_any_rotation(orientation):
    data = photo(20, 30, exif=turned(orientation))
    limits = {"max_pixels": 600, "max_side": 30, "min_side": 20, "max_aspect_ratio": 1.5}
    assert sorted(decode(data, max_bytes=len(data), **limits).size_hw) == [20, 30]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_bytes": 0}, "max_bytes=0: it must be 1 or more"),
        ({"max_pixels": -1}, "max_pixels=-1"),
        ({"min_side": 0}, "min_side=0"),
        ({"max_aspect_ratio": float("nan")}, "max_aspect_ratio=nan"),
        ({"max_aspect_ratio": 0.5}, "max_aspect_ratio=0.5"),
        ({"min_side": 9, "max_side": 8}, "min_side=9 is above max_side=8"),
    ],
)
def test_limits_that_no_picture_meets_are_refused(limits, words):
    with pytest.raises(UsageError, match=words):
        PictureLimits(**limits)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux alone")
def test_bombs_cost_no_memory():
    """Each claims gigabytes; all of them together may not take as much as one small photo."""
    code = """
import resource
from bad_media import bad_pictures
from sam2ray.errors import UnitFailed
from sam2ray.stages.decode import PictureLimits, decode_picture
def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
bombs = [file for file in bad_pictures() if file.expected == "bomb"]
before = peak_mb()
for bomb in bombs:
    try:
        decode_picture(bomb.data, mode="exact", model_px=None, limits=PictureLimits())
    except UnitFailed as failure:
        assert failure.error_class == "bomb", bomb
print(len(bombs), peak_mb() - before)
"""
    environment = {"PYTHONPATH": f"{SUPPORT}:{SUPPORT.parents[1]}", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    bombs, grown_mb = map(int, run.stdout.split())
    assert bombs >= 8
    assert grown_mb < 20


def test_what_no_decoder_notices_is_decoded():
    """Known and accepted: only a second parser of our own could tell these from sound files."""
    for file in damaged_unseen():
        assert decode(file.data).size_hw == file.size_hw


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM"])
def test_a_file_cut_anywhere_is_truncated_unless_all_its_pixels_are_there(kind):
    whole = encoded(sample(), kind)
    pixels = core_pixels(whole)
    for length in [*range(12, 60), *range(60, len(whole), len(whole) // 60)]:
        found = outcome(whole[:length])
        if isinstance(found, UnitFailed):
            assert found.error_class is ErrorClass.TRUNCATED, length
        else:
            assert length > 0.99 * len(whole)
            assert np.array_equal(found.pixels, pixels)


def test_a_pillow_without_a_decoder_is_said_as_unsupported(monkeypatch):
    monkeypatch.delattr("PIL.Image.core.jpeg_decoder")
    monkeypatch.delitem(Image.DECODERS, "jpeg", raising=False)
    with pytest.raises(UnitFailed, match=r"unsupported: JPEG of .* decoder jpeg not available"):
        decode(photo())


# ---------------------------------------------------------------- original pixels


@any_mode
@good_files
def test_original_pixels_are_the_ones_that_the_core_reads_from_the_file(file, mode):
    found = decode(file.data, mode, None)
    assert np.array_equal(found.pixels, core_pixels(file.data))
    assert found.pixels.dtype == np.uint8
    assert found.pixels.shape == (*file.size_hw, 3)
    assert found.size_hw == file.size_hw
    assert not found.resized


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@any_mode
def test_the_orientation_is_told_and_the_pixels_stand_upright(kind, orientation, mode):
    image = sample(40, 24)
    upright = decode(encoded(image, kind)).pixels
    found = decode(encoded(image, kind, exif=turned(orientation)), mode)
    assert found.exif_orientation == orientation
    transposed = upright.transpose(1, 0, 2)
    expected = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: transposed,
        6: transposed[:, ::-1],
        7: transposed[::-1, ::-1],
        8: transposed[::-1],
    }[orientation]
    assert np.array_equal(found.pixels, expected)
    small = decode(encoded(image, kind, exif=turned(orientation)), mode, 8)
    assert (small.size_hw, small.exif_orientation) == (found.size_hw, orientation)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(orientation):
    assert decode(photo(exif=turned(orientation))).exif_orientation == 1


# ---------------------------------------------------------------- pixels for the model


@good_files
def test_exact_pixels_are_those_that_the_core_makes(file):
    found = decode(file.data, "exact", 16)
    expected = images_to_pixels([core_pixels(file.data)], 16, torch.device("cpu"))
    if found.resized:
        assert (found.pixels.shape, found.pixels.dtype) == ((16, 16, 3), np.float32)
        pixels = normalise(torch.from_numpy(found.pixels.transpose(2, 0, 1).copy())[None])
    else:
        pixels = images_to_pixels([found.pixels], 16, torch.device("cpu"))
    assert torch.equal(pixels, expected)
    assert found.size_hw == file.size_hw


@pytest.mark.parametrize(
    ("height", "width", "resized"),
    [(31, 33, False), (32, 32, False), (33, 33, True), (4, 9, False)],
)
def test_exact_gives_whichever_takes_fewer_bytes(height, width, resized):
    """Floats at 16 x 16 take as much as bytes at 32 x 32."""
    found = decode(encoded(sample(height, width), "PNG"), "exact", 16)
    assert found.resized is resized
    assert found.pixels.shape[:2] == ((16, 16) if resized else (height, width))


@good_files
def test_rounded_pixels_are_the_exact_ones_in_eight_bits(file):
    """The kernel for bytes rounds after each of its two passes: one level off at most."""
    found = decode(file.data, "rounded", 4)
    assert found.size_hw == file.size_hw
    if not found.resized:
        assert found.pixels.nbytes <= 4 * 4 * 3
        assert np.array_equal(found.pixels, core_pixels(file.data))
        return
    assert (found.pixels.shape, found.pixels.dtype) == ((4, 4, 3), np.uint8)
    normalised = images_to_pixels([core_pixels(file.data)], 4, torch.device("cpu"))[0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    exact = (normalised.permute(1, 2, 0) * std + mean).numpy()
    assert np.abs(found.pixels / np.float32(255) - exact).max() <= 1.01 / 255
    assert found.pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("model_px", "decoded_wh"),
    [(29, (50, 30)), (30, (50, 30)), (31, (100, 60)), (64, (200, 120)), (121, (400, 240))],
)
def test_libjpeg_decodes_the_smallest_scale_that_covers_the_model(model_px, decoded_wh):
    with JpegImageFile(io.BytesIO(photo(240, 400))) as image:
        shrink_by_dct(image, model_px)
        image.load()
        assert image.size == decoded_wh


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_scaled_pixels_are_close_to_rounded_ones_and_know_the_whole_size(orientation, options):
    data = photo(480, 800, exif=turned(orientation), **options)
    scaled, rounded = decode(data, "scaled", 64), decode(data, "rounded", 64)
    assert scaled.size_hw == rounded.size_hw == ((800, 480) if orientation == 6 else (480, 800))
    assert (scaled.pixels.shape, scaled.pixels.dtype) == ((64, 64, 3), np.uint8)
    assert not np.array_equal(scaled.pixels, rounded.pixels)
    assert np.abs(scaled.pixels.astype(int) - rounded.pixels).mean() < 2


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_photo_that_libjpeg_shrinks_to_the_very_size_of_the_model_is_no_whole_one(factor):
    side = 64 * factor
    scaled = decode(photo(side, side), "scaled", 64)
    assert (scaled.resized, scaled.pixels.shape, scaled.size_hw) == (
        True,
        (64, 64, 3),
        (side, side),
    )
    small = decode(photo(64, 64), "scaled", 64)
    assert (small.resized, small.size_hw) == (False, (64, 64))


@good_files
def test_scaled_is_rounded_where_there_is_nothing_to_scale(file):
    if file.data[:3] != b"\xff\xd8\xff":
        scaled, rounded = decode(file.data, "scaled", 8), decode(file.data, "rounded", 8)
        assert np.array_equal(scaled.pixels, rounded.pixels)


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_that_would_grow_travels_as_it_is(mode):
    found = decode(photo(20, 30), mode, 64)
    assert not found.resized
    assert found.pixels.shape == (20, 30, 3)


# ---------------------------------------------------------------- the process around it


def test_pillows_own_limit_is_neither_used_nor_changed(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("JPEG", "PNG", "BMP", "PPM"):
        assert decode(encoded(sample(), kind)).size_hw == sample().size[::-1]
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_odd_metadata_makes_no_noise_and_harms_no_picture():
    exif = turned(6)
    exif[0x0131] = "a program lying elsewhere"
    place = struct.pack(">HHI", 0x0131, 2, 26)  # tag, text, characters; then where they lie
    data = photo(exif=exif)
    data = data.replace(place + bytes(3), place + b"\x7f\0\0")
    with pytest.warns(UserWarning, match="Truncated File Read"):
        Image.open(io.BytesIO(data)).getexif().get(0x0131)
    with warnings.catch_warnings(record=True) as heard:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        assert decode(data).exif_orientation == 6
    assert heard == []


def test_pillow_is_silenced_once_and_nobody_else_is():
    before = list(warnings.filters)
    for _ in range(3):
        decode(photo())
    assert len(warnings.filters) <= len(before) + 1
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_threads_decode_what_one_thread_decodes():
    files = [(file.data, mode) for file in [*GOOD, *BAD] for mode in MODES]

    def in_short(data: bytes, mode: str) -> object:
        found = outcome(data, mode, 16)
        return str(found) if isinstance(found, UnitFailed) else found.pixels.tobytes()

    expected = {job: in_short(*job) for job in files}
    with ThreadPoolExecutor(8) as pool:
        for job, found in [(job, pool.submit(in_short, *job)) for job in files * 3]:
            assert found.result() == expected[job]


# ---------------------------------------------------------------- anything at all

SEEDS = [file.data for file in GOOD if len(file.data) < 20_000]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "delete"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x80"]),
        ),
    ),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for act, place, content in edits:
        at = int(place * len(data))
        if act == "set":
            data = data[:at] + content + data[at + len(content) :]
        elif act == "insert":
            data = data[:at] + content + data[at:]
        elif act == "delete":
            data = data[:at] + data[at + len(content) :]
        else:
            data = data[:at]
    return data


def decode_or_fail(data: bytes, mode: str, model_px: int | None) -> None:
    found = outcome(data, mode, model_px, max_pixels=500_000)  # mutants ask for much, and get it
    if isinstance(found, DecodedPicture):
        assert found.pixels.shape[2] == 3
        assert found.exif_orientation in range(1, 9)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SEEDS), EDITS, st.sampled_from(MODES), st.sampled_from([None, 8]))
def test_a_damaged_file_is_a_picture_or_a_failure_and_nothing_else(data, edits, mode, model_px):
    decode_or_fail(edited(data, edits), mode, model_px)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([file.data[:16] for file in GOOD]), st.binary(max_size=300))
def test_noise_behind_a_good_start_is_a_picture_or_a_failure_and_nothing_else(head, noise):
    decode_or_fail(head + noise, "rounded", 8)
