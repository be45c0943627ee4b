"""An output that lies in its own source is no part of it, whatever is listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_archive import jpeg, tar_bytes, write_picture_table

from sam2ray.config_file import load_config
from sam2ray.listing import list_source
from sam2ray.readers.places import is_of_an_output
from sam2ray.root import SUCCESS, new_run_id
from sam2ray.sinks.result_files import EMBEDDINGS, MASKS, UNITS, ResultPlace
from sam2ray.storage import Store, open_store

KINDS = ("files", "frames", "tar", "list", "parquet")


def _fill(source: Store, kind: str, at: Path) -> None:
    """A source of two units, or one clip."""
    if kind in ("files", "frames"):
        contents = {"1.jpg": jpeg(), "2.jpg": jpeg(seed=2)}
    elif kind == "tar":
        contents = {"a.tar": tar_bytes([("1.jpg", jpeg()), ("2.jpg", jpeg(seed=2))])}
    elif kind == "list":
        contents = {"a.csv": b"uri\n1.jpg\n2.jpg\n"}
    else:
        table = write_picture_table(at / "a.parquet", [jpeg(), jpeg(seed=2)])
        contents = {"a.parquet": table.read_bytes()}
    for name, content in contents.items():
        source.put(name, content)


def _write_results(output: Store, table: bytes) -> None:
    """What a run leaves, under its own names; its tables have a column of addresses."""
    ids, attempts = ["0" * 32], [1]
    for folder in (MASKS, EMBEDDINGS, UNITS):
        for part in (0, 3):
            place = ResultPlace(output, folder, new_run_id())
            output.put(place.name_of(ids, attempts, part), table)
    output.put("_sam2ray/config.yaml", b"")
    output.put(SUCCESS, b"")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["", "/out"])
def test_the_second_listing_finds_what_the_first_one_did(
    store: Store, tmp_path: Path, kind: str, where: str, request: pytest.FixtureRequest
):
    is_remote = "://" in store.uri
    options = request.getfixturevalue("s3_options") if is_remote else {}
    settings = [f"source.kind={kind}"] if kind == "frames" else []
    if is_remote:
        settings.append(f"storage.s3.endpoint_url={options['s3']['endpoint_url']}")
    output = open_store(f"{store.uri}{where}", options)
    config = load_config(None, settings, source=store.uri, output=output.uri)
    _fill(store, kind, tmp_path)
    first, merged = list_source(config, output, "1")
    _write_results(output, write_picture_table(tmp_path / "x.parquet", [jpeg()]).read_bytes())
    again, nothing = list_source(config, output, "2")
    assert merged.added == first.units == (1 if kind == "frames" else 2)
    assert again.ignored == first.ignored == {}
    assert again.units == (0 if again.unchanged else first.units), "but for shards that are known"
    assert (nothing.added, nothing.superseding) == (0, 0)


@pytest.mark.parametrize(
    "name",
    [
        "masks/cat.parquet",
        "20260101T120000-01234567-0123456789abcdef0123.parquet",
        "units/a/20260101T120000-01234567-0123456789abcdef0123.parquet",
        "a_sam2ray/1.jpg",
        "_SUCCESS/1.jpg",
        "masks/20260101.jpg",
    ],
)
def test_names_that_only_look_alike_are_anybodys(name: str):
    assert not is_of_an_output(name)
