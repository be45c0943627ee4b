"""What a file is, is read off its first bytes, and said in words."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import pytest
from bad_media import bad_pictures, encoded, odd_but_good_pictures, sample

from sam2ray.stages.sniff import HEAD_BYTES, MEDIA_SUFFIXES, describe, sniff

PICTURES = {
    "JPEG": encoded(sample(), "JPEG"),
    "PNG": encoded(sample(), "PNG"),
    "WebP": encoded(sample(), "WEBP"),
    "GIF": encoded(sample(), "GIF"),
    "TIFF": encoded(sample(), "TIFF"),
    "BMP": encoded(sample(), "BMP"),
    "JPEG 2000": encoded(sample(), "JPEG2000"),
    "PPM": encoded(sample(), "PPM"),
}

CONTAINERS = {  # name in libav: what we call it, and a codec that fits
    "mp4": ("MP4", "mpeg4"),
    "mov": ("QuickTime", "mpeg4"),
    "matroska": ("Matroska", "mpeg4"),
    "webm": ("WebM", "libvpx"),
    "avi": ("AVI", "mpeg4"),
    "mpegts": ("MPEG-TS", "mpeg2video"),
    "vob": ("MPEG-PS", "mpeg2video"),
    "flv": ("FLV", "flv"),
    "ogg": ("Ogg", "libvpx"),
}


def ftyp(brand: bytes, *compatible: bytes) -> bytes:
    box = struct.pack(">4s4sI", b"ftyp", brand, 0) + b"".join(compatible)
    return struct.pack(">I", len(box) + 4) + box + bytes(40)


def head_of_a_video(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        output.mux(stream.encode(None))
    return file.getvalue()[:HEAD_BYTES]


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_known_by_its_first_bytes(name):
    head = PICTURES[name][:HEAD_BYTES]
    assert (sniff(head), describe(head)) == ("image", name)


@pytest.mark.parametrize("file", odd_but_good_pictures(), ids=lambda file: file.name)
def test_every_picture_that_can_be_decoded_is_an_image_whatever_its_name(file):
    assert sniff(file.data[:HEAD_BYTES]) == "image"


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_video_is_known_by_its_container(container):
    name, codec = CONTAINERS[container]
    if codec not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    head = head_of_a_video(container, codec)
    assert (sniff(head), describe(head)) == ("video", name)


@pytest.mark.parametrize(
    ("head", "kind", "name"),
    [
        (ftyp(b"avif", b"mif1"), "image", "AVIF"),
        (ftyp(b"avis", b"msf1"), "image", "AVIF"),
        (ftyp(b"mif1", b"miaf", b"avif"), "image", "AVIF"),
        (ftyp(b"heic", b"mif1"), "image", "HEIF"),
        (ftyp(b"mif1", b"heic"), "image", "HEIF"),
        (ftyp(b"msf1", b"hevc"), "image", "HEIF"),
        (ftyp(b"isom", b"avc1"), "video", "MP4"),
        (ftyp(b"M4V ", b"mp42"), "video", "MP4"),
        (ftyp(b"3gp5"), "video", "MP4"),
        (ftyp(b"qt  "), "video", "QuickTime"),
        (ftyp(b"XAVC", b"mp42"), "video", "MP4"),  # cameras have brands of their own
        (ftyp(b"M4A ", b"mp42"), None, "an MPEG-4 sound file"),
        (ftyp(b"crx "), None, "a Canon raw picture"),
    ],
)
def test_the_brand_tells_pictures_videos_and_sounds_of_the_mp4_family_apart(head, kind, name):
    assert (sniff(head), describe(head)) == (kind, name)


@pytest.mark.parametrize(
    "head",
    [
        struct.pack(">I4s", 8, b"wide") + struct.pack(">I4s", 90_000, b"mdat"),
        struct.pack(">I4s", 4096, b"free") + bytes(99),
        struct.pack(">I4sQ", 1, b"mdat", 1 << 33) + bytes(99),  # 64 bits for the length
        struct.pack(">I4s", 50 << 20, b"moov") + bytes(99),
        struct.pack(">I4s", 108, b"moov") + struct.pack(">I4s", 100, b"mvhd"),
    ],
)
def test_quicktime_without_a_brand_is_a_video(head):
    assert (sniff(head), describe(head)) == ("video", "QuickTime")


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"II+\0\x08\0\0\0", "TIFF"), (b"MM\0+\0\x08\0\0", "TIFF"), (b"MM\0*\0\0\0\x08", "TIFF")],
)
def test_tiff_is_known_in_both_byte_orders_and_with_64_bits(head, name):
    assert (sniff(head + bytes(99)), describe(head)) == ("image", name)


def test_blu_ray_packets_with_a_time_before_each_are_mpeg_ts():
    packet = b"\0\0\0\0\x47" + bytes(187)
    assert describe((packet * 3)[:HEAD_BYTES]) == "MPEG-TS"


@pytest.mark.parametrize(
    "text",
    [
        "BMW and Rolls-Royce",
        "The free lunch is over. Skip it.",
        "P5 is what I call the paper",
        "GIFs are fun",
        "RIFF, said the guitar",
        "G" + "o" * 187 + "Good",
        "ftyp",
    ],
)
def test_words_that_start_like_a_picture_or_a_video_are_text(text):
    assert (sniff(text.encode()), describe(text.encode())) == (None, "text")


def test_text_that_the_head_cuts_inside_a_letter_is_text():
    head = ("a" + "é" * HEAD_BYTES).encode()[:HEAD_BYTES]
    assert describe(head) == "text"


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "nothing: the file is empty"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\xef\xbb\xbf \r\n<HTML>", "an HTML page"),
        (b"<html><body><svg></svg>", "an HTML page"),
        (b"<?xml version='1.0'?><svg/>", "an SVG drawing"),
        (b"<?xml version='1.0'?><Error/>", "an XML document"),
        (b'{"error": 404}', "JSON"),
        (b"%PDF-1.4", "a PDF"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"RIFF\0\0\0\0WAVE", "a WAV sound file"),
        (b"\x07\x08", "unknown content (07 08 ...)"),
    ],
)
def test_what_is_neither_is_named_for_the_message(head, words):
    assert (sniff(head), describe(head)) == (None, words)


@pytest.mark.parametrize("length", range(40))
@pytest.mark.parametrize("file", bad_pictures()[:60:7], ids=lambda file: file.name)
def test_a_head_of_any_length_has_an_answer(file, length):
    assert sniff(file.data[:length]) in ("image", "video", None)
    assert describe(file.data[:length])


def test_suffixes_are_lower_case_and_belong_to_one_kind():
    images, videos = MEDIA_SUFFIXES["image"], MEDIA_SUFFIXES["video"]
    assert {".jpg", ".png", ".webp", ".tif"} <= images
    assert {".mp4", ".mov", ".mkv", ".webm"} <= videos
    assert not images & videos
    assert all(Path(f"a{suffix}").suffix == suffix.lower() for suffix in images | videos)
