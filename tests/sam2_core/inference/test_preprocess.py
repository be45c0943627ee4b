"""Pictures of every kind come out as the RGB that a viewer shows, and as the reference's pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from make_clip import textured_picture
from PIL import Image
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from sam2_core import ImageError, ResizedPicture, resize_picture
from sam2_core.inference.preprocess import (
    as_rgb,
    as_sized,
    frames_to_pixels,
    images_to_pixels,
    read_image,
)

CPU = torch.device("cpu")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def _rgb(height: int = 6, width: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# ---------------------------------------------------------------- arrays


def test_an_rgb_array_passes_through() -> None:
    array = _rgb()
    assert np.array_equal(as_rgb(array), array)


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1)])
def test_grey_becomes_three_equal_channels(shape: tuple[int, ...]) -> None:
    grey = _rgb()[:, :, 0]
    found = as_rgb(grey.reshape(shape))
    assert found.shape == (6, 9, 3)
    assert all(np.array_equal(found[:, :, c], grey) for c in range(3))


def test_alpha_is_dropped() -> None:
    rgba = np.dstack([_rgb(), np.full((6, 9), 7, dtype=np.uint8)])
    assert np.array_equal(as_rgb(rgba), rgba[:, :, :3])


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_sixteen_bits_are_scaled_not_clipped(shape: tuple[int, ...]) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    deep.flat[0], deep.flat[-1] = 65535, 257 * 3
    found = as_rgb(deep)
    assert found.dtype == np.uint8
    assert found.shape == (5, 4, 3)
    channels = deep.reshape(5, 4, -1)[:, :, :3]
    expected = np.round(np.broadcast_to(channels, (5, 4, 3)) / 257)
    assert np.abs(found - expected).max() <= 0


def test_sixteen_bits_may_lie_in_either_order() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 4, 3), dtype=np.uint16)
    assert np.array_equal(as_rgb(deep.astype(">u2")), as_rgb(deep.astype("<u2")))


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    assert as_rgb(np.full((1, 1, 3), 5, dtype=np.uint8)).tolist() == [[[5, 5, 5]]]
    pixels = images_to_pixels([np.full((1, 1, 3), 5, dtype=np.uint8)], 32, CPU)
    assert pixels.shape == (1, 3, 32, 32)
    assert pixels.isfinite().all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, bool])
def test_an_array_of_another_type_is_refused_with_the_way_out(dtype: type) -> None:
    with pytest.raises(ImageError, match=rf"dtype uint8.*{np.dtype(dtype)}.*astype\('uint8'\)"):
        as_rgb(np.zeros((4, 4, 3), dtype=dtype))


@pytest.mark.parametrize(
    "shape", [(4, 4, 2), (4, 4, 5), (3, 4, 4, 3), (4,), (0, 4, 3), (4, 0, 3), (4, 4, 0), ()]
)
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"shape \(height, width, 1, 3 or 4\), this one \("):
        as_rgb(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("picture", [None, 3, torch.zeros(4, 4, 3), [[1, 2], [3, 4]], b"bytes"])
def test_something_else_is_refused_by_its_type(picture: object) -> None:
    with pytest.raises(ImageError, match=f"not a {type(picture).__name__}"):
        as_rgb(picture)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm"])
def test_a_file_without_loss_gives_its_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(_rgb()).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    assert np.array_equal(as_rgb(path), _rgb())
    assert np.array_equal(as_rgb(str(path)), _rgb())
    assert np.array_equal(read_image(path), _rgb())


def test_what_was_read_can_be_turned_into_tensors_without_a_warning(tmp_path: Path) -> None:
    """Arrays over Pillow's memory cannot be written to, which torch warns about once a process."""
    path = tmp_path / "picture.png"
    Image.fromarray(_rgb()).save(path)
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            images_to_pixels([as_rgb(path)], 32, CPU)
            frames_to_pixels([as_rgb(path)], 32, CPU)
    finally:
        torch.set_warn_always(False)


def test_a_palette_gives_its_colours_also_where_one_is_transparent(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "hole.png", transparency=1)
    picture.save(tmp_path / "soft.png", transparency=bytes([255, 100]))
    for name in ("plain", "hole", "soft"):
        assert as_rgb(tmp_path / f"{name}.png").tolist() == [[[10, 20, 30], [200, 100, 50]]], name


def test_grey_with_alpha_and_one_bit_files_are_read(tmp_path: Path) -> None:
    grey = _rgb()[:, :, 0]
    alpha = _rgb(seed=1)[:, :, 0]
    Image.fromarray(np.dstack([grey, alpha])).save(tmp_path / "la.png")
    Image.fromarray(grey > 99).save(tmp_path / "bits.png")
    assert np.array_equal(as_rgb(tmp_path / "la.png"), np.dstack([grey] * 3))
    assert np.array_equal(as_rgb(tmp_path / "bits.png")[:, :, 0], (grey > 99) * np.uint8(255))


def test_a_mode_that_pillow_turns_into_no_colours_is_refused_by_its_name() -> None:
    with pytest.raises(ImageError, match=r"Pillow image of mode La cannot .*convert it"):
        as_rgb(Image.new("La", (8, 6)))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_sixteen_bit_file_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 257, 30000, 65535]], dtype=np.uint16)
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(deep).save(path)
    assert as_rgb(path)[0, :, 0].tolist() == [0, 1, 117, 255]
    assert np.array_equal(as_rgb(path), as_rgb(deep))


def test_integers_of_sixteen_bits_are_scaled_in_whatever_they_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "wide.tif"
    Image.fromarray(np.array([[0, 257, 30000, 65535]], dtype=np.int32)).save(path)
    with Image.open(path) as image:
        assert image.mode == "I"
    assert as_rgb(path)[0, :, 0].tolist() == [0, 1, 117, 255]


@pytest.mark.parametrize("row", [[0, 70000], [-5, 255]])
def test_integers_beyond_sixteen_bits_are_refused_with_their_range(
    tmp_path: Path, row: list[int]
) -> None:
    path = tmp_path / "wide.tif"
    Image.fromarray(np.array([row], dtype=np.int32)).save(path)
    with pytest.raises(ImageError, match=rf"wide\.tif: .*from {row[0]} to {row[1]}.*0\.\.65535"):
        as_rgb(path)


def test_a_file_of_floats_is_refused_as_the_same_array_is(tmp_path: Path) -> None:
    floats, path = np.array([[0, 0.5, 1]], dtype=np.float32), tmp_path / "floats.tif"
    Image.fromarray(floats).save(path)
    for picture, name in ((floats, ""), (Image.fromarray(floats), ""), (path, r"floats\.tif: ")):
        with pytest.raises(ImageError, match=rf"^.*{name}A picture array has dtype .* float32"):
            as_rgb(picture)


def test_a_cmyk_jpeg_gives_the_colours_that_pillow_shows(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.fromarray(textured_picture(16, 16)).convert("CMYK").save(path, quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
        assert np.array_equal(as_rgb(path), np.asarray(image.convert("RGB")))


def _shown(picture: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer does to stored pixels, by the definition of the tag."""
    acts = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a),
    }
    return acts[orientation](picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_its_exif_orientation_says(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(textured_picture(16, 24)).save(path, exif=exif)
    with Image.open(path) as image:
        stored = np.asarray(image)
        assert image.getexif()[0x0112] == orientation
        assert np.array_equal(as_rgb(image), _shown(stored, orientation))
    assert stored.shape == (16, 24, 3)
    assert np.array_equal(as_rgb(path), _shown(stored, orientation))


def test_an_orientation_that_does_not_exist_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(textured_picture(16, 24)).save(path, exif=exif)
    assert as_rgb(path).shape == (16, 24, 3)


def test_a_pillow_image_is_left_as_it_was() -> None:
    image = Image.fromarray(_rgb())
    assert np.array_equal(as_rgb(image), _rgb())
    assert image.size == (9, 6)
    assert image.mode == "RGB"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        as_rgb(tmp_path / "none.png")


@pytest.mark.parametrize("url", ["s3://bucket/a.png", "https://host/a.png", "file:///tmp/a.png"])
def test_a_url_in_place_of_a_path_is_refused_as_one(url: str) -> None:
    with pytest.raises(ImageError, match=f"^{url}: URLs are not read here: copy what it names"):
        as_rgb(url)


@pytest.mark.parametrize("content", [b"", b"this is no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_an_unreadable_file_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.png: not a picture that can be read.*convert"):
        as_rgb(path)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a picture that can be read"):
        as_rgb(tmp_path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(textured_picture(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        as_rgb(path)


def test_an_open_pillow_image_that_was_cut_off_is_refused_by_our_own_error() -> None:
    stored = io.BytesIO()
    Image.fromarray(textured_picture(64, 64)).save(stored, "JPEG")
    image = Image.open(io.BytesIO(stored.getvalue()[:-600]))
    with pytest.raises(ImageError):
        as_rgb(image)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_damaged_file_gives_a_picture_or_our_own_error(tmp_path: Path, kind: str) -> None:
    stored = io.BytesIO()
    Image.fromarray(textured_picture(24, 24)).save(stored, kind)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    refused = 0
    for _ in range(150):
        content = bytearray(stored.getvalue())
        for place in rng.integers(0, min(len(content), 200), rng.integers(1, 6)):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(8, len(content) + 1)])
        with warnings.catch_warnings():  # Pillow has something to say about metadata
            warnings.simplefilter("ignore")
            try:
                found = as_rgb(path)
            except ImageError:
                refused += 1
            else:
                assert found.ndim == 3
    assert refused


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("shape", [(48, 64), (7, 200), (31, 33), (200, 90)])
def test_pixels_of_images_are_those_of_the_references_transform(shape: tuple[int, int]) -> None:
    picture = textured_picture(*shape)
    transform = Compose([ToTensor(), Resize((64, 64), antialias=True), Normalize(MEAN, STD)])
    found = images_to_pixels([picture, picture[::-1]], 64, CPU)
    assert found.shape == (2, 3, 64, 64)
    assert found.dtype == torch.float32
    assert torch.allclose(found[0], transform(picture), atol=1e-5)
    assert torch.allclose(found[1], transform(picture[::-1].copy()), atol=1e-5)


@pytest.mark.parametrize("shape", [(48, 64), (7, 200), (31, 33), (200, 90)])
def test_pixels_of_frames_are_resized_by_pillow_on_eight_bits(shape: tuple[int, int]) -> None:
    picture = textured_picture(*shape)
    resized = np.array(Image.fromarray(picture).resize((64, 64)))  # without a name: bicubic
    expected = (resized / 255.0 - np.array(MEAN)) / np.array(STD)
    found = frames_to_pixels([picture, picture], 64, CPU)
    assert found.shape == (2, 3, 64, 64)
    assert found.dtype == torch.float32
    assert torch.allclose(found[1], torch.from_numpy(expected).permute(2, 0, 1).float(), atol=1e-5)


def test_the_two_ways_differ() -> None:
    """If they did not, one of the two tests above would test nothing."""
    picture = textured_picture(48, 100)
    image, frame = images_to_pixels([picture], 64, CPU), frames_to_pixels([picture], 64, CPU)
    assert (image - frame).abs().max() > 1e-2


def test_making_pixels_leaves_the_picture_alone() -> None:
    picture = _rgb()
    before = picture.copy()
    images_to_pixels([picture], 32, CPU)
    frames_to_pixels([picture], 32, CPU)
    assert np.array_equal(picture, before)


# ---------------------------------------------------------------- pictures that were resized before


def test_an_exactly_resized_picture_gives_the_same_pixels() -> None:
    picture = _rgb(33, 50)
    resized = resize_picture(picture, 32, rounded=False)
    assert resized.size_hw == (33, 50)
    both = images_to_pixels([resized, picture], 32, CPU)
    assert torch.equal(both[0], both[1])


def test_a_picture_that_was_rounded_to_bytes_is_half_a_step_off_at_most() -> None:
    picture = _rgb(70, 40)
    exact = resize_picture(picture, 64, rounded=False).pixels
    rounded = resize_picture(picture, 64, rounded=True).pixels
    assert rounded.dtype == np.uint8
    assert np.abs(rounded / 255 - exact).max() <= 0.5 / 255 + 1e-6


def test_a_resized_frame_is_taken_as_it_is() -> None:
    frame = ResizedPicture(_rgb(32, 32), (5, 9))
    found = frames_to_pixels([frame, frame.pixels], 32, CPU)
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    "pixels", [_rgb(4, 5), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float64)]
)
def test_what_is_no_square_of_bytes_or_floats_is_no_resized_picture(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"holds \[S, S, 3\] bytes or floats"):
        as_sized(ResizedPicture(pixels, (10, 10)))


@pytest.mark.parametrize("pixels", [None, [[1, 2, 3]], torch.zeros(4, 4, 3)])
def test_what_is_no_array_is_no_resized_picture(pixels: object) -> None:
    with pytest.raises(ImageError, match=f"holds an array, this one a {type(pixels).__name__}"):
        as_sized(ResizedPicture(pixels, (10, 10)))


def test_a_picture_resized_for_another_model_is_refused() -> None:
    with pytest.raises(ImageError, match=r"\(32, 32, 3\) does not fit a model of 64 px"):
        images_to_pixels([ResizedPicture(_rgb(32, 32), (9, 9))], 64, CPU)
