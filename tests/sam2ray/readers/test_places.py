"""Addresses taken apart and put together."""

import pytest

from sam2ray.readers.places import (
    Place,
    base_name,
    is_glob,
    is_hidden,
    media_kind,
    place_of,
    reason_to_pass,
    resolve,
    root_of,
    split_glob,
    suffix_of,
)


@pytest.mark.parametrize(
    ("uri", "folder", "name"),
    [
        ("s3://bucket/a/b.jpg", "s3://bucket/a", "b.jpg"),
        ("s3://bucket/b.jpg", "s3://bucket", "b.jpg"),
        ("s3://bucket", "s3://bucket", ""),
        ("s3://bucket/a?b/c#d.jpg", "s3://bucket/a?b", "c#d.jpg"),
        ("/data/a.jpg", "/data", "a.jpg"),
        ("file:///data/a%20b.jpg", "/data", "a b.jpg"),
        ("https://host/a/b.jpg?key=x/y", "https://host/a", "b.jpg?key=x/y"),
        ("https://host/b.jpg", "https://host", "b.jpg"),
    ],
)
def test_an_address_is_a_folder_that_can_be_opened_and_a_name_in_it(uri, folder, name):
    assert place_of(uri) == Place(folder, name)


@pytest.mark.parametrize(
    ("reference", "folder", "whole"),
    [
        ("a.jpg", "/data/lists", "/data/lists/a.jpg"),
        ("../images/a.jpg", "/data/lists", "/data/images/a.jpg"),
        ("./a.jpg", "s3://bucket/lists", "s3://bucket/lists/a.jpg"),
        ("../images/a.jpg", "s3://bucket/lists", "s3://bucket/images/a.jpg"),
        ("a.jpg", "s3://bucket", "s3://bucket/a.jpg"),
        ("clip/", "/data", "/data/clip/"),
        ("/other/a.jpg", "s3://bucket/lists", "/other/a.jpg"),
        ("gs://other/a.jpg", "s3://bucket/lists", "gs://other/a.jpg"),
        ("https://host/a.jpg?x=1", "/data", "https://host/a.jpg?x=1"),
        ("a b#c?.jpg", "/data", "/data/a b#c?.jpg"),
    ],
)
def test_a_reference_is_relative_to_the_folder_of_its_list(reference, folder, whole):
    assert resolve(reference, folder) == whole


@pytest.mark.parametrize(
    ("reference", "folder"),
    [
        ("", "/data"),
        ("../a.jpg", "s3://bucket"),
        ("x/../../../a.jpg", "s3://bucket/lists"),
        ("a\0.jpg", "/data"),
        ("a\udcff.jpg", "/data"),
    ],
)
def test_what_names_nothing_is_refused(reference, folder):
    with pytest.raises(ValueError):
        resolve(reference, folder)


@pytest.mark.parametrize(
    ("name", "suffix", "kind"),
    [
        ("a.JPG", ".jpg", "image"),
        ("x/a.tar.Mp4", ".mp4", "video"),
        ("https://host/a.png?w=3.5", ".png", "image"),
        ("s3://b/a.gif", ".gif", "image"),
        (".jpg", "", None),
        ("folder.jpg/readme", "", None),
        ("a.", ".", None),
        ("a.txt", ".txt", None),
    ],
)
def test_the_suffix_says_what_a_file_may_be(name, suffix, kind):
    assert (suffix_of(name), media_kind(name)) == (suffix, kind)


@pytest.mark.parametrize("name", ["README", "a.", "a.thisisnosuffixatall"])
def test_names_without_a_suffix_are_counted_together(name):
    assert reason_to_pass(name) == "no known suffix"


def test_wildcards_are_none_on_the_web_and_in_names_that_exist(tmp_path):
    (tmp_path / "a[1].jpg").touch()
    assert not is_glob("https://host/a?b=[1]")
    assert not is_glob(str(tmp_path / "a[1].jpg"))
    assert is_glob(str(tmp_path / "a[2].jpg"))


def test_a_pattern_is_the_folder_above_its_first_wildcard_and_the_rest():
    assert split_glob("s3://b/x/y*/z.jpg") == Place("s3://b/x", "y*/z.jpg")
    assert split_glob("/*.jpg") == Place("/", "*.jpg")
    assert root_of("/data/x/*.jpg") == "/data/x"


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("a.jpg", False),
        (".a.jpg", True),
        ("x/.a.jpg", True),
        (".x/a.jpg", True),
        ("./a.jpg", False),
        ("../../a.jpg", False),
        ("x/./a.jpg", False),
        ("x/../.y/a.jpg", True),
        ("x/...", True),
    ],
)
def test_names_that_begin_with_a_dot_are_hidden_and_steps_are_no_names(name, hidden):
    assert is_hidden(name) == hidden


def test_a_base_name_has_no_folders_and_no_query():
    assert base_name("https://host/a/b.jpg?c=/d") == "b.jpg"
    assert base_name("clips/bear/") == "bear"
