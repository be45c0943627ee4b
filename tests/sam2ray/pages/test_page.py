"""Whole pages: what they show of outputs, of lost sources and of hostile names."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_outputs import FRAMES, SIZE_HW, Ended, Output, make_output, masks_of, picture
from make_archive import jpeg, write_files
from PIL import Image

from sam2_core.shipped import SHIPPED
from sam2ray.errors import UsageError
from sam2ray.pages.page import Shown, open_shown, page_of
from sam2ray.pages.painting import css_colour
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit
from sam2ray.sinks.result_files import EMBEDDINGS
from sam2ray.storage import LocalStore, Store, open_store

HEIGHT, WIDTH = SIZE_HW


@dataclass
class Page(HTMLParser):
    """What a browser would find."""

    text: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()
        assert self._open == [], "elements that are not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())

    def images(self, kind: str) -> list[Image.Image]:
        sources = [
            attrs["src"] for tag, attrs in self.tags if tag == "img" and attrs["class"] == kind
        ]
        return [Image.open(io.BytesIO(base64.b64decode(str(s).partition(",")[2]))) for s in sources]


def _page(*outputs: Shown) -> Page:
    return Page("".join(page_of("Masks", outputs)))


def _shown(output: Output, units: int = 24, **how) -> Shown:
    return open_shown(output.store.uri, {}, units, **how)


@pytest.fixture
def archive(tmp_path: Path) -> list[Unit]:
    """Four pictures of the size of made masks."""
    write_files(tmp_path / "archive", {f"{n}.jpg": jpeg(WIDTH, HEIGHT, n) for n in range(4)})
    found = open_source(str(tmp_path / "archive")).all_units()
    return sorted((u for u in found if isinstance(u, Unit)), key=lambda u: u.source_uri)


def _output(folder: Path, ended: list[Ended], *assignments: str, listed=(), **how) -> Output:
    output = Output(LocalStore(folder), assignments)
    output.list([*(one.unit for one in ended), *listed], "1")
    output.commit(ended, **how)
    return output


def test_each_picture_lies_under_its_masks(archive, tmp_path):
    shown = _shown(_output(tmp_path / "out", [Ended(unit, masks=1) for unit in archive]))
    page = _page(shown)
    pictures, masks = page.images("seen"), page.images("found")
    assert len(pictures) == len(masks) == 4
    assert shown.lost == []
    for unit, seen, overlay in zip(archive, pictures, masks, strict=True):
        assert seen.size == overlay.size == (WIDTH, HEIGHT)
        inside = np.array(overlay.convert("RGBA"))[..., 3] > 0
        assert (inside == masks_of(unit, 1)[0]).all()
    assert "0.jpg" in page.said
    assert "17 × 12 · 1 mask" in page.said
    assert "estimate of IoU: 0.50" in page.said
    assert "All 4 units." in page.said


def test_totals_are_those_of_the_output(archive, tmp_path):
    ended = [Ended(archive[0], masks=3), Ended(archive[1], error_class="corrupt")]
    output = _output(tmp_path / "out", ended, listed=archive[2:])
    said = _page(_shown(output)).said
    assert "units 4 done 1 failed 1 waiting 2 masks 3" in said
    assert "mode auto · model nano" in said


def test_a_sample_is_as_large_as_asked_and_the_same_each_time(tmp_path):
    units = [picture(n) for n in range(40)]
    output = _output(tmp_path / "out", [Ended(unit) for unit in units])
    first, second = (_shown(output, units=7).sample for _ in range(2))
    assert first.good == second.good
    assert len(first.good) == len(first.units) == 7
    assert [row["source_uri"] for row in first.good] == sorted(r["source_uri"] for r in first.good)
    assert "7 of 40 units" in _page(_shown(output, units=7)).said


def test_failures_are_counted_and_listed_where_that_is_asked_for(tmp_path):
    ended = [Ended(picture(1)), Ended(picture(2), error_class="corrupt", message="no <end> of it")]
    output = _output(tmp_path / "out", ended)
    said = _page(_shown(output)).said
    assert "1 unit failed: corrupt 1. sam2ray show --failed lists them" in said
    assert "no <end>" not in said
    listed = _page(_shown(output, with_failures=True)).said
    assert "2.jpg corrupt no <end> of it 1" in listed


def test_masks_without_their_picture_lie_on_grey_and_say_why(tmp_path):
    shown = _shown(_output(tmp_path / "out", [Ended(picture("gone"))]))
    page = _page(shown)
    assert page.images("seen") == []
    assert len(page.images("found")) == 1
    assert "The source cannot be shown any more: not_found" in page.said
    assert shown.lost == ["/archive/gone.jpg"]


def test_a_picture_that_has_another_size_now_is_not_shown_under_its_masks(archive, tmp_path):
    unit = Unit(archive[0].source_uri, "image", version="said: 1")
    write_files(tmp_path / "archive", {"0.jpg": jpeg(40, 30)})
    page = _page(_shown(_output(tmp_path / "out", [Ended(unit)])))
    assert page.images("seen") == []
    assert "40 x 30 pixels, 17 x 12 then" in page.said


def test_a_clip_is_a_strip_of_frames_whose_objects_keep_their_colours(tmp_path):
    pictures = {f"{n}.jpg": jpeg(WIDTH, HEIGHT, n) for n in range(FRAMES)}
    write_files(tmp_path / "clips" / "walk", pictures)
    (unit,) = open_source(str(tmp_path / "clips"), kind="frames").all_units()
    assert isinstance(unit, Unit)
    page = _page(_shown(_output(tmp_path / "out", [Ended(unit, objects=(9, 4))])))
    assert len(page.images("seen")) == len(page.images("found")) == FRAMES
    assert "frame 0" in page.said
    assert "2 objects · 6 masks on 3 frames" in page.said
    chips = re.findall(r"background:(#\w+)\"></i>([\w ]+)<", page.text)
    assert chips == [(css_colour(0), "object 4"), (css_colour(1), "object 9")]
    overlays = [np.array(overlay) for overlay in page.images("found")]
    assert {int(place) for overlay in overlays for place in np.unique(overlay)} <= {0, 1, 2, 3, 4}


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_hostile_names_labels_and_messages_stay_text(tmp_path):
    name = f"/archive/{HOSTILE}\x1b[2J\u202e.jpg"
    good, bad = Unit(name, "image", version="1"), Unit(f"{name}2", "image", version="1")
    ended = [
        Ended(good, label=HOSTILE),
        Ended(bad, error_class="io", message=f"{HOSTILE} https://me:hunter2@host/a?sig=0123456789"),
    ]
    output = _output(tmp_path / f"out {HOSTILE.replace('/', '')}", ended)
    page = _page(_shown(output, with_failures=True, heading=HOSTILE, notes=[HOSTILE]))
    known = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "div"}
    known |= {"label", "input", "span", "section", "dl", "dt", "dd", "article", "figure", "img"}
    known |= {"figcaption", "h3", "ul", "li", "i", "table", "tr", "th", "td", "footer"}
    assert {tag for tag, _ in page.tags} <= known
    attributes = {name for _, attrs in page.tags for name in attrs}
    assert not [name for name in attributes if name.startswith("on")]
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert all(str(source).startswith("data:image/") for source in sources)
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    assert "hunter2" not in page.text
    assert "0123456789" not in page.said
    assert page.said.count("<script>alert(1)</script>") >= 3


def test_a_page_asks_nothing_of_any_network(archive, tmp_path):
    page = _page(_shown(_output(tmp_path / "out", [Ended(unit) for unit in archive])))
    assert not re.search(r"https?://|@import|url\(", page.text)
    (policy,) = [a["content"] for t, a in page.tags if a.get("http-equiv")]
    assert str(policy).startswith("default-src 'none'; img-src data:;")


def test_weights_that_come_with_the_package_are_told_from_what_is_kept_with_the_output(tmp_path):
    output = make_output(tmp_path / "out")
    assert "nano comes with the package" in _page(_shown(output)).said
    kept, ours = output.store.read("_sam2ray/config.yaml"), SHIPPED["nano"].encode()
    for others in (b"f" * 64, b"untrained"):  # whatever an earlier version called its own
        output.store.put("_sam2ray/config.yaml", kept.replace(ours, others))
        assert "comes with the package" not in _page(_shown(output)).said


def test_mode_embed_says_in_words_that_there_are_no_masks(tmp_path):
    output = Output(LocalStore(tmp_path / "out"), ["mode=embed"])
    output.list([picture(1)], "1")
    output.commit([Ended(picture(1), masks=1)], folder=EMBEDDINGS)
    page = _page(_shown(output))
    assert "Mode embed keeps features of the encoder and no masks" in page.said
    assert "embeddings 1" in page.said
    assert not [tag for tag, _ in page.tags if tag in ("img", "input")]


def test_an_output_in_which_nothing_has_ended_has_no_page(tmp_path):
    output = Output(LocalStore(tmp_path / "out"))
    output.list([picture(1)], "1")
    with pytest.raises(UsageError, match="no unit has ended here yet"):
        _shown(output)
    with pytest.raises(UsageError, match="is no output of sam2ray"):
        open_shown(str(tmp_path), {}, 24)


def test_units_without_masks_are_shown_as_they_are(archive, tmp_path):
    page = _page(_shown(_output(tmp_path / "out", [Ended(archive[0], masks=0)])))
    assert len(page.images("seen")) == 1
    assert "0 masks" in page.said


def test_several_outputs_share_a_page(archive, tmp_path):
    one = _output(tmp_path / "one", [Ended(archive[0])])
    two = _output(tmp_path / "two", [Ended(archive[1])])
    page = _page(_shown(one, heading="The first"), _shown(two, notes=["A note."]))
    assert [tag for tag, _ in page.tags].count("h2") == 2
    assert "The first" in page.said
    assert "two" in page.said
    assert "A note." in page.said


def test_outputs_on_s3_are_shown_as_local_ones_are(store: Store, request):
    is_s3 = store.uri.startswith("s3://")
    options = request.getfixturevalue("s3_options") if is_s3 else {}
    store.put("photos/a.jpg", jpeg(WIDTH, HEIGHT))
    (unit,) = open_source(f"{store.uri}/photos", options).all_units()
    assert isinstance(unit, Unit)
    output = Output(open_store(f"{store.uri}/out", options))
    output.list([unit], "1")
    output.commit([Ended(unit)])
    page = _page(open_shown(output.store.uri, options, 24))
    assert len(page.images("seen")) == len(page.images("found")) == 1


def test_many_masks_of_a_picture_are_not_all_drawn(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("sam2ray.pages.unit_masks._OF_A_PICTURE", 3)
    page = _page(_shown(_output(tmp_path / "out", [Ended(archive[0], masks=8)])))
    assert "without the 5 smallest masks" in page.said
    assert "8 masks" in page.said
