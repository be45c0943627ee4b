"""What a source is, is seen by looking; what is wrong with it is said at once."""

import pickle

import pytest
from make_archive import (
    found_in,
    jpeg,
    web,
    webdataset,
    write_files,
    write_parquet,
    write_picture_table,
)

from sam2ray.errors import UsageError
from sam2ray.readers.prompts import PromptSource
from sam2ray.readers.sources import open_source


def reader_of(source) -> list[str]:
    return [part.reader for part in open_source(str(source)).parts]


def test_the_kind_of_a_source_is_seen_from_what_is_there(tmp_path):
    write_files(tmp_path / "files", ["x/a.jpg"])
    write_files(tmp_path / "pictures with metadata", {"a.jpg": b"", "metadata.csv": b"file_name\n"})
    write_files(tmp_path / "shards", {"0.tar": webdataset(1), "sizes.json": b"{}"})
    write_files(tmp_path / "lists", {"a.csv": b"path\nx.jpg\n", "b.csv": b"path\ny.jpg\n"})
    write_picture_table(tmp_path / "bytes/0.parquet", [jpeg()])
    write_parquet(tmp_path / "addresses/0.parquet", {"url": ["x.jpg"]})
    assert [reader_of(tmp_path / name) for name in sorted(p.name for p in tmp_path.iterdir())] == [
        ["list"],
        ["parquet"],
        ["files"],
        ["list"],
        ["files"],
        ["tar"],
    ]
    assert reader_of(tmp_path / "lists/a.csv") == ["list"]
    assert reader_of(tmp_path / "shards/*.tar") == ["tar"]
    assert reader_of(tmp_path / "bytes/*") == ["parquet"]


def test_sources_of_several_kinds_go_together(tmp_path):
    write_files(tmp_path, {"a.jpg": jpeg(), "x.tar": webdataset(2, json_fields=False)})
    source = open_source([str(tmp_path / "x.tar"), str(tmp_path / "a.jpg")])
    assert [part.reader for part in source.parts] == ["tar", "files"]
    assert len(found_in(source)[0]) == 3


def test_lists_that_are_named_one_by_one_are_read_as_one(tmp_path):
    write_files(tmp_path, {"a.csv": b"path\nx.jpg\n", "b.csv": b"path\nx.jpg\ny.jpg\n"})
    units, _ = found_in(open_source([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]))
    assert len(units) == 2


def test_a_source_travels_to_tasks(tmp_path):
    write_files(tmp_path, ["a.jpg"])
    source = pickle.loads(pickle.dumps(open_source(str(tmp_path))))
    pieces = pickle.loads(pickle.dumps(list(source.slices())))
    assert len([unit for piece in pieces for unit in source.units(piece)]) == 1


@pytest.mark.parametrize(
    ("files", "name", "words"),
    [
        ({}, "gone", "no such file or folder"),
        ({}, "gone/*.jpg", "no such file or folder"),
        ({"x/a.txt": b""}, "x", "holds no known media.*kind="),
        ({"x/a.jpg": b"", "x/b.tar": b""}, "x", r"both shards \(1\) and loose media \(1\)"),
        ({"x/a.tar.gz": b""}, "x", "compressed shards"),
        ({"a.tar.xz": b""}, "a.tar.xz", "Unpack it"),
        ({"a.json": b"{}"}, "a.json", "no known media"),
        ({"a.csv": b"one,two\n1,2\n"}, "a.csv", "no column names the files.*one, two"),
        ({"a.csv": b"url,path\n1,2\n"}, "a.csv", "is it url or path"),
        ({"a.csv": b"path,path\n1,2\n"}, "a.csv", "same name"),
        ({"a.csv": b""}, "a.csv", "no column|Empty"),
        ({"a.parquet": b"no parquet"}, "a.parquet", "cannot be read"),
        ({"a.jsonl": b"\n\n"}, "a.jsonl", "no column"),
    ],
)
def test_what_cannot_be_a_source_is_refused_with_words(tmp_path, files, name, words):
    write_files(tmp_path, files)
    with pytest.raises(UsageError, match=words):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("kind", ["files", "frames", "tar", "list", "parquet"])
def test_a_source_that_is_not_there_is_refused_whatever_its_kind(tmp_path, kind):
    with pytest.raises(UsageError, match="no such file or folder"):
        open_source(str(tmp_path / "gone"), kind=kind)


def test_a_kind_that_nobody_knows_is_refused(tmp_path):
    with pytest.raises(UsageError, match="none of auto, files"):
        open_source(str(tmp_path), kind="zip")
    with pytest.raises(UsageError, match="no source"):
        open_source([])


def test_columns_are_only_kept_where_there_are_columns(tmp_path):
    write_files(tmp_path, {"a.jpg": b"", "l/list.csv": b"path,a\nx.jpg,1\n"})
    with pytest.raises(UsageError, match=r"have no columns to keep \(caption\)"):
        open_source(str(tmp_path / "a.jpg"), keep=["caption"])
    with pytest.raises(UsageError, match=r"no column caption\. It has: path, a"):
        open_source(str(tmp_path / "l/list.csv"), keep=["caption"])
    with pytest.raises(UsageError, match="no columns of prompts"):
        open_source(str(tmp_path / "a.jpg"), prompts=PromptSource(coordinates="pixels"))
    with pytest.raises(UsageError, match="no column that prompts could be read from"):
        open_source(str(tmp_path / "l/list.csv"), prompts=PromptSource(coordinates="pixels"))


def test_the_column_may_be_said_where_names_leave_a_choice(tmp_path):
    write_files(tmp_path, {"a.csv": b"url,path\nx.jpg,y.jpg\n"})
    units, _ = found_in(open_source(str(tmp_path / "a.csv"), uri_column="path"))
    assert [unit.source_uri for unit in units] == [str(tmp_path / "y.jpg")]
    with pytest.raises(UsageError, match="no column link"):
        open_source(str(tmp_path / "a.csv"), uri_column="link")


def test_a_web_address_that_is_not_there_is_refused_if_it_must_be_looked_into():
    with web({}) as server, pytest.raises(UsageError, match="no such file"):
        open_source(f"{server.url}/x.tar")
