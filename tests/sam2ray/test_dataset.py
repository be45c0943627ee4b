"""What readers of an output get: every row that counts, none that does not, however they read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from made_outputs import SIZE_HW, Ended, Output, clip, make_output, masks_of, picture

import sam2ray
from sam2ray.records import MASK_SCHEMA, OUTCOME_SCHEMA
from sam2ray.sinks.result_files import EMBEDDINGS, UNITS
from sam2ray.storage import LocalStore, Store


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """An output with a past: a picture that changed, one that failed twice, a clip, a copy lost."""
    output = Output(LocalStore(tmp_path_factory.mktemp("history")))
    old = [picture("changed"), picture("same"), picture("flaky"), picture("bad")]
    output.list(old, "1")
    output.commit([Ended(unit) for unit in old[:2]], "run-1")
    output.commit([Ended(old[2], error_class="io"), Ended(old[3], error_class="corrupt")], "run-1")
    new = [picture("changed", "2"), *old[1:], clip("street")]
    output.list(new, "2")
    (changed,) = [u for u in _manifest(output) if u["supersedes"]]
    output.commit([Ended(old[2], attempt=2, error_class="io")], "run-2")
    again = picture("changed", "2", supersedes=changed["supersedes"])
    assert again.unit_id == changed["unit_id"]
    lost = output.commit([Ended(old[2], attempt=3, masks=5), Ended(again, masks=3)], "run-3")
    output.commit([Ended(new[-1], masks=2)], "run-3")
    output.store.delete(lost.replace("masks/", "units/"))
    output.finish()
    return output


def _manifest(output: Output) -> list[dict]:
    from sam2ray.manifest import read_manifest

    return [row for table in read_manifest(output.store) for row in table.to_pylist()]


LIVE = {"changed": 3, "same": 2, "flaky": 5, "street": 6}  # rows by name


def _by_name(uris: list[str]) -> dict[str, int]:
    names = [Path(uri).stem for uri in uris]
    return {name: names.count(name) for name in set(names)}


def test_masks_are_those_of_living_units_and_their_last_attempts(history: Output):
    masks = sam2ray.open(history.store.uri).masks().read_all()
    assert masks.schema == MASK_SCHEMA
    assert _by_name(masks["source_uri"].to_pylist()) == LIVE


def test_units_have_one_row_each(history: Output):
    dataset = sam2ray.open(history.store.uri)
    units = dataset.units().read_all()
    assert units.schema == OUTCOME_SCHEMA
    rows = {Path(row["source_uri"]).stem: row for row in units.to_pylist()}
    assert {name: row["attempt"] for name, row in rows.items()} == {
        **dict.fromkeys(LIVE, 1),
        "flaky": 3,
        "bad": 1,
    }
    assert len(units) == len(dataset) == 5


def test_the_masks_of_one_unit_come_from_its_own_file(history: Output):
    dataset = sam2ray.open(history.store.uri)
    (street,) = [u for u in dataset.units().read_all().to_pylist() if u["kind"] == "video"]
    one = dataset.unit_masks(street["unit_id"], ["frame_index"], pc.field("frame_index") > 0)
    assert one.read_all()["frame_index"].to_pylist() == [1, 1, 2, 2]
    assert dataset.unit_masks(street["unit_id"]).schema == MASK_SCHEMA
    (gone,) = [u["supersedes"] for u in _manifest(history) if u["supersedes"]]
    with pytest.raises(sam2ray.UsageError, match="was superseded"):
        dataset.unit_masks(gone)


def test_failures_say_why(history: Output):
    failures = sam2ray.open(history.store.uri).failures(["source_uri", "error_class"]).read_all()
    assert failures.to_pylist() == [{"source_uri": "/archive/bad.jpg", "error_class": "corrupt"}]


def test_columns_and_rows_can_be_chosen(history: Output):
    dataset = sam2ray.open(history.store.uri)
    where = pc.field("source_uri") == "/archive/changed.jpg"
    for table in (dataset.masks(["area"], where), dataset.masks(["area", "unit_id"], where)):
        assert len(table.read_all()) == LIVE["changed"]
    assert dataset.units(["masks"], where).read_all().to_pylist() == [{"masks": 3}]


def test_a_column_that_is_none_is_refused(history: Output):
    dataset = sam2ray.open(history.store.uri)
    for columns in (["aera"], "area"):
        with pytest.raises(sam2ray.UsageError, match="name some of unit_id, source_uri"):
            dataset.masks(columns)


def test_masks_come_as_a_stream_of_batches_that_holds_little(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    units = [picture(n) for n in range(6)]
    output.list(units, "1")
    for unit in units:
        output.commit([Ended(unit, masks=2)], times=25_000)
    dataset = sam2ray.open(str(tmp_path))
    whole = dataset.masks(["unit_id", "rle_counts"]).read_all().nbytes
    before = pa.total_allocated_bytes()
    rows = peak = 0
    for batch in dataset.masks(["unit_id", "rle_counts"]):
        rows += len(batch)
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert rows == 300_000
    assert peak < 0.7 * whole


def test_a_file_that_was_copied_under_another_name_counts_once(tmp_path: Path):
    output = make_output(tmp_path)
    for folder in ("masks", "units"):
        (name,) = [e.name for e in output.store.list(folder)][:1]
        output.store.put(name.replace(".parquet", "-copy.parquet"), output.store.read(name))
    dataset = sam2ray.open(str(tmp_path))
    assert len(dataset) == 6
    assert len(dataset.masks().read_all()) == 0 + 1 + 2 + 2 + 2


def test_an_output_on_any_store_reads_alike(store: Store, s3_options: dict, tmp_path: Path):
    output = Output(store)
    units = [picture(n) for n in range(4)]
    output.list(units, "1")
    output.commit([Ended(unit) for unit in units[:2]])
    output.list([picture(0, "2")], "2")
    dataset = sam2ray.open(store.uri, s3_options)
    assert _by_name(dataset.masks().read_all()["source_uri"].to_pylist()) == {"1": 2}
    assert (dataset.unit("/archive/1.jpg").masks() == masks_of(units[1])).all()


def test_an_output_without_a_single_result_has_empty_tables(tmp_path: Path):
    Output(LocalStore(tmp_path)).list([picture(1)], "1")
    dataset = sam2ray.open(str(tmp_path))
    assert len(dataset) == 0
    for reader in (dataset.masks(), dataset.units(), dataset.embeddings()):
        assert len(reader.read_all()) == 0


def test_what_is_no_output_is_refused(tmp_path: Path):
    with pytest.raises(sam2ray.UsageError, match="is no output of sam2ray"):
        sam2ray.open(str(tmp_path))


# ---------------------------------------------------------------- one unit


def test_a_picture_has_its_masks_boxes_and_scores(history: Output):
    unit = sam2ray.open(history.store.uri).unit("/archive/same.jpg")
    masks = unit.masks()
    assert masks.dtype == bool
    assert (masks == masks_of(picture("same"))).all()
    assert unit.boxes().dtype == np.float32
    assert unit.boxes().shape == (2, 4)
    for mask, (x, y, w, h) in zip(masks, unit.boxes().astype(int), strict=True):
        rows, columns = np.nonzero(mask)
        assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max(), rows.max())
    assert unit.scores().tolist() == [0.5, 0.5]
    assert unit.object_ids() == [None, None]
    assert unit.frames == []


def test_a_clip_has_its_masks_frame_by_frame(history: Output):
    dataset = sam2ray.open(history.store.uri)
    unit = dataset.unit(clip("street").unit_id)
    assert unit.frames == [0, 1, 2]
    assert (unit.masks(frame=1) == masks_of(clip("street"))).all()
    assert unit.masks(frame=7).shape == (0, *SIZE_HW)
    with pytest.raises(sam2ray.UsageError, match=r"masks on 3 frames \(0 to 2\): name one"):
        unit.masks()


def test_a_unit_that_failed_has_no_masks_and_its_reason(history: Output):
    unit = sam2ray.open(history.store.uri).unit("/archive/bad.jpg")
    assert unit.outcome["error_class"] == "corrupt"
    assert unit.masks().shape == (0, 0, 0)
    assert unit.boxes().shape == (0, 4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (picture("changed").unit_id, "was superseded"),
        (picture("never").unit_id, "has not ended"),
        ("/archive/never.jpg", r"no unit of '/archive/never.jpg' has ended here"),
    ],
)
def test_a_unit_that_is_not_there_is_said_to_be(history: Output, asked: str, words: str):
    with pytest.raises(sam2ray.UsageError, match=words):
        sam2ray.open(history.store.uri).unit(asked)


def test_one_of_many_units_of_a_source_is_asked_for_by_its_member(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    units = [picture("shard", member=f"{n}.jpg") for n in range(3)]
    output.list(units, "1")
    output.commit([Ended(unit, masks=n) for n, unit in enumerate(units)])
    dataset = sam2ray.open(str(tmp_path))
    with pytest.raises(sam2ray.UsageError, match="holds 3 units: name one by its unit_id"):
        dataset.unit("/archive/shard.jpg")
    assert len(dataset.unit("/archive/shard.jpg", member="2.jpg").masks()) == 2


def test_embeddings_are_read_as_masks_are(tmp_path: Path):
    output = Output(LocalStore(tmp_path), ["mode=embed"])
    units = [picture(1), clip(2)]
    output.list(units, "1")
    output.commit([Ended(unit) for unit in units], folder=EMBEDDINGS)
    dataset = sam2ray.open(str(tmp_path))
    embeddings = dataset.embeddings().read_all()
    assert len(embeddings) == 4
    assert dataset.masks().read_all().num_rows == 0
    unit = dataset.unit(units[0].unit_id)
    assert unit.rows["shape"].to_pylist() == [[2, 2, 2]]
    with pytest.raises(sam2ray.UsageError, match="has embeddings"):
        unit.masks()


# ---------------------------------------------------------------- raw readers, as the README says


@pytest.fixture
def mended(history: Output) -> Path:
    """The same output once a run has made the lost copy again."""
    from sam2ray.outcomes import mend_copies

    mend_copies(history.store)
    return Path(history.store.uri)


def _expected(root: Path) -> list[tuple]:
    masks = sam2ray.open(str(root)).masks(["unit_id", "rle_counts"]).read_all()
    return sorted(zip(*(column.to_pylist() for column in masks.columns), strict=True))


def test_pandas_gets_the_same_by_one_anti_join(mended: Path):
    units = pd.read_parquet(mended / UNITS)
    masks = pd.read_parquet(mended / "masks")
    masks = masks[~masks["unit_id"].isin(units["supersedes"].dropna())]
    assert sorted(zip(masks["unit_id"], masks["rle_counts"], strict=True)) == _expected(mended)


@pytest.mark.usefixtures("two_cpus")
def test_ray_data_gets_the_same_by_one_anti_join(mended: Path):
    import ray.data

    column = pq.read_table(mended / UNITS, columns=["supersedes"])["supersedes"]
    old = column.drop_null().combine_chunks()
    masks = ray.data.read_parquet(str(mended / "masks")).map_batches(
        lambda rows: rows.filter(~pc.field("unit_id").isin(old)), batch_format="pyarrow"
    )
    found = [(row["unit_id"], row["rle_counts"]) for row in masks.iter_rows()]
    assert sorted(found) == _expected(mended)


def test_pyarrow_gets_the_same_by_one_anti_join(mended: Path):
    old = pads.dataset(mended / UNITS).to_table(["supersedes"])["supersedes"].drop_null()
    living = ~pads.field("unit_id").isin(old.unique())
    masks = pads.dataset(mended / "masks").to_table(["unit_id", "rle_counts"], filter=living)
    found = zip(*(column.to_pylist() for column in masks.columns), strict=True)
    assert sorted(found) == _expected(mended)


def test_duckdb_gets_the_same_by_one_anti_join(mended: Path):
    duckdb = pytest.importorskip("duckdb")
    masks = duckdb.sql(f"""
        SELECT m.unit_id, m.rle_counts FROM '{mended}/masks/*.parquet' m
        ANTI JOIN '{mended}/units/*.parquet' u ON m.unit_id = u.supersedes
    """)
    assert sorted(masks.fetchall()) == _expected(mended)
    latest = duckdb.sql(f"""
        SELECT u.unit_id, u.attempt FROM '{mended}/units/*.parquet' u
        ANTI JOIN '{mended}/units/*.parquet' newer ON u.unit_id = newer.supersedes
        QUALIFY row_number() OVER (PARTITION BY u.unit_id ORDER BY u.attempt DESC) = 1
    """)
    units = sam2ray.open(str(mended)).units(["unit_id", "attempt"]).read_all()
    expected = zip(*(column.to_pylist() for column in units.columns), strict=True)
    assert sorted(latest.fetchall()) == sorted(expected)


def test_duckdb_reads_the_stream_itself(mended: Path):
    duckdb = pytest.importorskip("duckdb")
    masks = sam2ray.open(str(mended)).masks(["unit_id", "area"])
    (row,) = duckdb.from_arrow(masks).aggregate("count(*), sum(area)").fetchall()
    assert row[0] == len(_expected(mended))


# ---------------------------------------------------------------- the package


def test_opening_needs_neither_torch_nor_ray():
    code = "import sam2ray, sys; sys.exit(any(m in sys.modules for m in ('torch', 'ray')))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
