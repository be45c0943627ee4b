"""Lists of addresses: one unit for each, with all that any of its rows says."""

import json
import random
from functools import partial

import pyarrow as pa
import pytest
from make_archive import found_in, jpeg, web, write_files, write_parquet

from sam2ray.errors import Sam2RayError, UsageError
from sam2ray.readers import lists, sources
from sam2ray.readers.locate import read_unit
from sam2ray.readers.prompts import PromptSource
from sam2ray.readers.spill import Spill

OWN_PROMPTS = PromptSource(coordinates="pixels")
open_source = partial(sources.open_source, ask_versions=False)  # nobody serves these buckets


def write_rows(path, rows) -> str:
    """The same rows as CSV, JSONL or Parquet, by the suffix."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        return str(write_parquet(path, {n: [row.get(n) for row in rows] for n in names}))
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        cells = [["" if row.get(n) is None else str(row[n]) for n in names] for row in rows]
        quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in cells]
        text = "\n".join([",".join(names), *quoted]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_addresses_are_relative_to_the_folder_of_the_list(tmp_path, suffix):
    write_files(tmp_path, {"pictures/a.jpg": jpeg(), "b.mp4": b"video"})
    rows = [
        {"path": "../pictures/a.jpg"},
        {"path": str(tmp_path / "b.mp4")},
        {"path": "s3://bucket/c.webp"},
        {"path": "missing.jpg"},
    ]
    source = open_source(write_rows(tmp_path / f"lists/list.{suffix}", rows))
    units, _ = found_in(source)
    assert [(unit.source_uri, unit.kind) for unit in units] == [
        (str(tmp_path / "pictures/a.jpg"), "image"),
        (str(tmp_path / "b.mp4"), "video"),
        ("s3://bucket/c.webp", "image"),
        (str(tmp_path / "lists/missing.jpg"), "image"),
    ]
    assert read_unit(units[0], {}) == jpeg()
    assert units[0].version == found_in(open_source(str(tmp_path / "pictures")))[0][0].version
    assert units[3].version == ""


@pytest.mark.parametrize(
    "name",
    ["uri", "url", "path", "image", "video", "source_uri", "file_name"],
)
def test_the_column_of_addresses_is_known_by_its_name(tmp_path, name):
    source = open_source(write_rows(tmp_path / "list.csv", [{"other": "1", name: "a"}]))
    ((unit,), _) = found_in(source)
    assert unit.source_uri == str(tmp_path / "a")
    assert unit.kind == ("video" if name == "video" else "image")


def test_rows_may_say_what_is_listed_and_which_version_of_it(tmp_path):
    rows = [
        {"uri": "s3://b/clip", "kind": "frames", "etag": "1"},
        {"uri": "s3://b/stream", "kind": "video", "etag": ""},
    ]
    units, _ = found_in(open_source(write_rows(tmp_path / "list.csv", rows)))
    assert [(unit.kind, unit.version) for unit in units] == [("frames", "said: 1"), ("video", "")]
    bad = write_rows(tmp_path / "bad.csv", [{"uri": "s3://b/clip", "kind": "audio"}])
    with pytest.raises(UsageError, match=r"bad\.csv: row 0: kind is one of .* not 'audio'"):
        found_in(open_source(bad))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_kept_columns_are_text_and_lists_where_rows_differ(tmp_path, suffix):
    rows = [
        {"path": "a.jpg", "split": "train", "score": 1.5},
        {"path": "b.jpg", "split": "val", "score": 2.5},
        {"path": "a.jpg", "split": "train", "score": 3.5},
    ]
    source = open_source(write_rows(tmp_path / f"x.{suffix}", rows), keep=["split", "score"])
    units, _ = found_in(source)
    assert [unit.user for unit in units] == [
        {"split": "train", "score": '["1.5","3.5"]'},
        {"split": "val", "score": "2.5"},
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_rows_of_one_address_are_one_unit_with_all_their_prompts(tmp_path, suffix):
    rows = [
        {"path": "a.jpg", "box": "[1, 2, 3, 4]", "label": "cat", "prompt_id": "7"},
        {"path": "b.jpg", "box": "[5, 6, 7, 8]", "label": None, "prompt_id": None},
        {"path": "./a.jpg", "box": "[0, 0, 9, 9]", "label": "dog", "prompt_id": "8"},
        {"path": "c.jpg", "box": None, "label": "nothing", "prompt_id": "9"},
    ]
    source = open_source(write_rows(tmp_path / f"x.{suffix}", rows), prompts=OWN_PROMPTS)
    units, _ = found_in(source)
    assert [json.loads(unit.prompts or "null") for unit in units] == [
        [
            {"box": [1, 2, 3, 4], "frame": 0, "label": "cat", "object_id": 1, "prompt_id": "7"},
            {"box": [0, 0, 9, 9], "frame": 0, "label": "dog", "object_id": 2, "prompt_id": "8"},
        ],
        [{"box": [5, 6, 7, 8], "frame": 0, "object_id": 1}],
        None,
    ]


def test_prompts_make_the_same_units_in_every_format(tmp_path):
    rows = [{"path": "s3://b/a.jpg", "x0": n, "y0": 1.5, "x1": n + 9, "y1": 8} for n in range(3)]
    ids = set()
    for suffix in ("csv", "jsonl", "parquet"):
        source = open_source(write_rows(tmp_path / f"x.{suffix}", rows), prompts=OWN_PROMPTS)
        ids.add(found_in(source)[0][0].unit_id)
    assert len(ids) == 1


def test_columns_of_prompts_are_not_looked_at_unless_prompts_are_wanted(tmp_path):
    path = write_rows(tmp_path / "x.csv", [{"path": "a.jpg", "bbox": "[1, 2, 3, 4]"}])
    assert found_in(open_source(path))[0][0].prompts is None
    with pytest.raises(UsageError, match="`bbox` may be"):
        open_source(path, prompts=OWN_PROMPTS)


@pytest.mark.parametrize("late", ["points", "bbox_xywh", "kind", "etag"])
def test_a_jsonl_row_that_brings_what_no_early_row_has_stops_the_listing(tmp_path, late):
    rows = [{"path": f"{n}.jpg", "box": "[1, 2, 3, 4]"} for n in range(150)]
    rows[120]["note"] = "has no meaning"
    rows[130][late] = None
    path = write_rows(tmp_path / "x.jsonl", rows)
    assert len(found_in(open_source(path, prompts=OWN_PROMPTS))[0]) == 150
    rows[140][late] = "something"
    path = write_rows(tmp_path / "x.jsonl", rows)
    with pytest.raises(UsageError, match=f"row 140 has `{late}`"):
        found_in(open_source(path, prompts=OWN_PROMPTS))
    if late in ("points", "bbox_xywh"):
        assert len(found_in(open_source(path))[0]) == 150


def test_rows_that_name_nothing_are_counted_once(tmp_path):
    rows = [{"path": "a.jpg"}, {"path": ""}, {"path": "a\0b"}, {"path": "b.jpg"}]
    source = open_source(write_rows(tmp_path / "x.jsonl", [*rows, {"path": None}]))
    units, ignored = found_in(source)
    assert len(units) == 2
    assert sorted(item.name.rpartition(": ")[2] for item in ignored) == ["row 1", "row 2", "row 4"]
    assert {item.reason for item in ignored} == {"no address"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # fsspec's FTP
def test_odd_addresses_are_each_a_row_of_their_own_and_end_no_listing(tmp_path):
    odd = ["file:///a%00.jpg", "s3://my bucket/x.jpg", "s3:///x.jpg"]
    strange = ["~photo.jpg", "ftp://host/a.jpg", "nothing://at/all.jpg"]
    rows = [{"path": path} for path in (*odd, *strange, "good.jpg")]
    write_files(tmp_path, {"good.jpg": jpeg(), "~photo.jpg": jpeg(seed=1)})
    source = sources.open_source(write_rows(tmp_path / "x.csv", rows))
    units, ignored = found_in(source)
    assert [item.reason for item in ignored] == ["no address"] * len(odd)
    assert "no bucket of S3 is called 'my bucket'" in ignored[1].detail
    assert [unit.source_uri for unit in units] == [
        str(tmp_path / "~photo.jpg"),
        "ftp://host/a.jpg",
        "nothing://at/all.jpg",
        str(tmp_path / "good.jpg"),
    ]
    assert read_unit(units[0], {}) == jpeg(seed=1)
    for unit in units[1:3]:
        with pytest.raises(Sam2RayError, match="is no kind of storage known here"):
            read_unit(unit, {})


def test_a_folder_of_lists_is_one_list_and_other_files_in_it_are_counted(tmp_path):
    write_rows(tmp_path / "a.csv", [{"path": "1.jpg"}, {"path": "2.jpg"}])
    write_rows(tmp_path / "sub/b.csv", [{"path": "../1.jpg"}, {"path": "3.jpg"}])
    write_files(tmp_path, {"README": b"", ".c.csv": b""})
    units, ignored = found_in(open_source(str(tmp_path)))
    assert [unit.source_uri.removeprefix(f"{tmp_path}/") for unit in units] == [
        "1.jpg",
        "2.jpg",
        "sub/3.jpg",
    ]
    assert sorted(item.reason for item in ignored) == ["hidden", "no known suffix"]


def test_a_list_on_the_web_names_its_neighbours():
    with web({"x/list.csv": b"path\na.jpg\n", "x/a.jpg": jpeg()}) as server:
        ((unit,), _) = found_in(open_source(f"{server.url}/x/list.csv"))
        assert read_unit(unit, {}) == jpeg()


def test_50_000_detections_in_any_order_become_5_000_units(tmp_path, monkeypatch):
    """With memory for a few thousand rows."""
    monkeypatch.setattr(lists, "Spill", lambda: Spill(limit_bytes=1 << 20))
    places = [n % 5_000 for n in range(50_000)]
    random.Random(0).shuffle(places)
    columns = {
        "uri": [f"s3://bucket/{place}.jpg" for place in places],
        "x0": pa.array(places, pa.float32()),
        "y0": pa.array([0.0] * len(places), pa.float32()),
        "x1": pa.array([place + 9 for place in places], pa.float32()),
        "y1": pa.array([9.0] * len(places), pa.float32()),
        "prompt_id": [str(n) for n in range(len(places))],
    }
    path = write_parquet(tmp_path / "detections.parquet", columns)
    source = open_source(str(path), prompts=OWN_PROMPTS)
    found = {}
    for unit in source.all_units():
        assert unit.source_uri not in found
        found[unit.source_uri] = json.loads(unit.prompts)
    assert len(found) == 5_000
    for uri, prompts in found.items():
        ids = [int(prompt["prompt_id"]) for prompt in prompts]
        assert len(ids) == 10
        assert ids == sorted(ids)  # the order of the rows
        assert all(uri == f"s3://bucket/{places[n]}.jpg" for n in ids)
        assert [prompt["object_id"] for prompt in prompts] == list(range(1, 11))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_one_file_under_several_signatures_is_one_unit_with_all_its_rows(tmp_path, suffix):
    rows = [
        {"uri": f"https://host/a.jpg?id=1&token=hush{n}&Expires={ends}", "kept": n}
        for n, ends in enumerate((2_000_000_000, 1_900_000_000, "soon"))
    ]
    path = write_rows(tmp_path / f"list.{suffix}", rows)
    ((unit,), _) = found_in(open_source(path, keep=["kept"]))
    assert unit.source_uri == "https://host/a.jpg?id=1"
    assert unit.user == {"kept": '["0","1","2"]'}
    assert unit.address == rows[0]["uri"]  # it lasts longest
    assert "hush" not in repr(unit)


def test_a_new_signature_makes_no_new_unit(tmp_path):
    ids = set()
    for secret in ("X-Amz-Date=20260101T000000Z&X-Amz-Signature=hush", "X-Amz-Signature=other", ""):
        rows = [{"uri": f"https://host/a.jpg?{secret}"}]
        ((unit,), _) = found_in(open_source(write_rows(tmp_path / "list.csv", rows)))
        ids |= {(unit.unit_id, unit.source_key)}
    # "?" with nothing behind it is another address, which no signer writes.
    assert len(ids) == 2


def test_a_list_that_is_itself_signed_is_refused_without_showing_how(tmp_path):
    for address in ("https://host/list.csv?sig=hush", "s3://key:hush@bucket/list.csv"):
        with pytest.raises(UsageError, match=r"carries a secret.*Rows of a list") as refusal:
            open_source(address)
        assert "hush" not in str(refusal.value)
        prompts = PromptSource(uri=address, coordinates="pixels")
        with pytest.raises(UsageError, match="carries a secret") as refusal:
            open_source(write_rows(tmp_path / "list.csv", [{"uri": "a.jpg"}]), prompts=prompts)
        assert "hush" not in str(refusal.value)


def test_prompts_find_their_unit_whoever_signed_its_address(tmp_path):
    source = write_rows(tmp_path / "list.csv", [{"uri": "https://host/x/a.jpg?sig=hush"}])
    boxes = [
        {"uri": f"https://host/x/a.jpg?sig={secret}", "x0": 1, "y0": 1, "x1": 5, "y1": 5}
        for secret in ("other", "third")
    ]
    boxes.append(boxes[0] | {"uri": f"nowhere.jpg?signature={'hush' * 8}"})
    prompts = PromptSource(uri=write_rows(tmp_path / "p.csv", boxes), coordinates="pixels")
    opened = open_source(source, prompts=prompts)
    join = opened.join()
    (unit,) = join.run(found_in(opened)[0], opened.all_prompts())
    assert len(json.loads(unit.prompts)) == 2
    assert unit.address == "https://host/x/a.jpg?sig=hush"
    assert "nowhere.jpg" in join.report.describe()
    assert "hush" not in join.report.describe()


@pytest.mark.parametrize(
    "address",
    ["https://host/image?id=5&size=full", "s3://b/odd?sig=1.jpg", "https://host/@user/a.jpg"],
)
def test_an_address_without_a_secret_is_kept_whole(tmp_path, address):
    ((unit,), _) = found_in(open_source(write_rows(tmp_path / "list.csv", [{"uri": address}])))
    assert unit.source_uri == address
