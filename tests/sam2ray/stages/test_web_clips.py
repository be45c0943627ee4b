"""Videos of the web come in pieces where their server sends some, and whole elsewhere."""

from __future__ import annotations

import pytest
from make_archive import web

from sam2ray.errors import UnitFailed
from sam2ray.patience import Patience
from sam2ray.records import ErrorClass, Unit
from sam2ray.stages import web_clips
from sam2ray.stages.web_clips import web_pieces

TWICE = Patience(2, 0.0)
CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(web_clips, "PIECE_BYTES", 4000)


def test_a_video_comes_in_pieces_the_first_of_which_is_its_head():
    with web({"a.mp4": CONTENT}) as server:
        pieces = list(web_pieces(Unit(f"{server.url}/a.mp4", "video"), {}, TWICE, 1 << 20))
    assert [len(piece) for piece in pieces] == [512, 4000, 4000, 1728]
    assert b"".join(pieces) == CONTENT


def test_a_server_without_ranges_sends_it_whole():
    with web({"a.mp4": CONTENT}) as server:
        server.ranges = False
        pieces = list(web_pieces(Unit(f"{server.url}/a.mp4", "video"), {}, TWICE, 1 << 20))
        assert pieces == [CONTENT]
        with pytest.raises(UnitFailed) as failed:
            list(web_pieces(Unit(f"{server.url}/a.mp4", "video"), {}, TWICE, 5000))
    assert failed.value.error_class is ErrorClass.TOO_LARGE


def test_what_is_too_large_is_known_before_it_is_fetched():
    with web({"a.mp4": CONTENT}) as server:
        with pytest.raises(UnitFailed, match=r"decode.video.max_bytes=5000") as failed:
            list(web_pieces(Unit(f"{server.url}/a.mp4", "video"), {}, TWICE, 5000))
        assert server.sent["a.mp4"] <= 512
    assert failed.value.error_class is ErrorClass.TOO_LARGE


def test_a_video_that_changes_while_it_is_read_is_no_mixture():
    with web({"a.mp4": CONTENT}) as server:
        pieces = web_pieces(Unit(f"{server.url}/a.mp4", "video"), {}, TWICE, 1 << 20)
        next(pieces)
        server.files["a.mp4"] = CONTENT[::-1]
        with pytest.raises(UnitFailed, match="changed while it was read") as failed:
            next(pieces)
    assert failed.value.error_class is ErrorClass.IO


def test_a_video_of_another_etag_than_the_listed_one_has_changed():
    with web({"a.mp4": CONTENT}) as server:
        unit = Unit(f"{server.url}/a.mp4", "video", version="old")
        with pytest.raises(UnitFailed, match="changed since it was indexed"):
            next(web_pieces(unit, {}, TWICE, 1 << 20))


def test_an_empty_video_is_one_without_bytes():
    with web({"a.mp4": b""}) as server:
        assert b"".join(web_pieces(Unit(f"{server.url}/a.mp4", "video"), {}, TWICE, 9)) == b""
