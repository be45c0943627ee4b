"""Where a page may be written, and that it is there whole or not at all."""

from __future__ import annotations

import pytest

from sam2ray.errors import UsageError
from sam2ray.pages.page_file import page_place, write_page

PAGE = "<!doctype html>\n<p>x"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("s3://bucket/a.html", "written to this machine"),
        ("photo.jpg", "give the name of a page"),
        ("nowhere/a.html", "there is no folder"),
        ("folder.html", "is a folder; give a file in it"),
        ("other.html", "is there, and no page"),
    ],
)
def test_other_places_are_refused_in_words(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "other.html").write_text("my notes")
    with pytest.raises(UsageError, match=words):
        page_place(name)


def test_a_page_is_written_over_a_page(tmp_path):
    path = page_place(str(tmp_path / "a.html"))
    assert write_page(path, [PAGE, "y"]) == len(PAGE) + 1
    assert page_place(str(path)) == path
    write_page(path, [PAGE])
    assert path.read_text() == PAGE


def test_a_page_that_breaks_off_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.html"
    write_page(path, [PAGE])

    def pieces():
        yield "half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_page(path, pieces())
    assert path.read_text() == PAGE
    assert [child.name for child in tmp_path.iterdir()] == ["a.html"]
