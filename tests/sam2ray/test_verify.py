"""An output that was broken in any of many ways is found to be, with the file and the unit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_outputs import Ended, Output, clip, make_output, masks_of, picture
from peaks import peak_bytes

import sam2ray
from sam2_core.shipped import SHIPPED
from sam2ray.config_id import resolved_yaml
from sam2ray.errors import UsageError
from sam2ray.kept_config import CONFIG, kept_config
from sam2ray.root import SUCCESS
from sam2ray.sinks.result_files import EMBEDDINGS
from sam2ray.storage import LocalStore, Store
from sam2ray.verify import Findings, verify_output


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return make_output(tmp_path)


def _files(output: Output, folder: str = "masks") -> list[Path]:
    return sorted((Path(output.store.uri) / folder).glob("*.parquet"))


def _verify(output: Output) -> Findings:
    return verify_output(output.store)


def _rewrite(
    path: Path, change: Callable[[pa.Table], pa.Table], rows: int | None = None, **footer: bytes
) -> None:
    """Write a file anew, with other rows or another footer, as somebody with a script might."""
    table, kept = change(pq.read_table(path)), pq.read_metadata(path).metadata
    ours = {key: value for key, value in kept.items() if key.startswith(b"sam2ray.")}
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table, row_group_size=rows)
        writer.add_key_value_metadata(ours | {key.encode(): v for key, v in footer.items()})


def _with(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    place = table.schema.get_field_index(column)
    return table.set_column(place, table.field(place), pa.array(values, table.field(place).type))


# ---------------------------------------------------------------- what is whole


def test_a_complete_output_is_consistent(output: Output):
    findings = _verify(output)
    assert findings.complaints == []
    assert findings.summary == (
        f"{output.store.uri}: consistent: 6 units (5 done, 1 failed), 2 files, 7 masks"
    )


def test_an_output_on_any_store_is_verified_alike(store: Store):
    output = Output(store)
    output.list([picture(1)], "1")
    output.commit([Ended(picture(1))])
    output.finish()
    assert verify_output(store).is_consistent


def test_clips_retries_and_superseded_units_are_consistent(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    flaky, street, changed = picture("flaky"), clip("street"), picture("changed")
    output.list([flaky, street, changed], "1")
    output.commit([Ended(flaky, error_class="io"), Ended(changed)], "run-1")
    output.list([flaky, street, picture("changed", "2")], "2")
    newer = picture("changed", "2", supersedes=changed.unit_id)
    output.commit([Ended(flaky, attempt=2), Ended(newer), Ended(street)], "run-2")
    output.finish()
    findings = _verify(output)
    assert findings.complaints == []
    assert findings.standing.ended == {"ok": 3}


def test_a_failure_beside_the_result_of_the_same_attempt_is_consistent(output: Output):
    output.commit([Ended(picture(1), error_class="io")], "run-0")  # whose node died before
    findings = _verify(output)
    assert findings.is_consistent, findings.complaints
    assert findings.standing.ok == 5


def test_embeddings_are_consistent_unless_values_are_missing(tmp_path: Path):
    output = Output(LocalStore(tmp_path), ["mode=embed"])
    output.list([picture(1)], "1")
    output.commit([Ended(picture(1))], folder=EMBEDDINGS)
    output.finish()
    assert _verify(output).is_consistent
    (path,) = _files(output, EMBEDDINGS)
    _rewrite(path, lambda rows: _with(rows, "shape", 0, [2, 2, 3]))
    assert "another number of values than the shape says" in _verify(output).complaints[0]


def test_what_is_no_output_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="is no output of sam2ray"):
        verify_output(LocalStore(tmp_path))


# ---------------------------------------------------------------- what is broken


def _delete_masks(output: Output) -> None:
    _files(output)[0].unlink()


def _tear_file(output: Output) -> None:
    path = _files(output)[0]
    path.write_bytes(path.read_bytes()[:-100])


def _empty_file(output: Output) -> None:
    _files(output)[0].write_bytes(b"")


def _damage_page(output: Output) -> None:
    path = _files(output)[0]
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)


def _foreign_file(output: Output) -> None:
    pq.write_table(pa.table({"a": [1]}), Path(output.store.uri) / "masks" / "mine.parquet")


def _foreign_columns(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: rows.drop_columns(["area"]))


def _copy_file(output: Output) -> None:
    for folder in ("masks", "units"):
        path = _files(output, folder)[0]
        path.with_name(f"copy-of-{path.name}").write_bytes(path.read_bytes())


def _edit_mask(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "rle_counts", 0, "0l1"))


def _no_mask(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "rle_counts", 1, "not run lengths"))


def _edit_area(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "area", 2, 1))


def _move_box(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "bbox_xywh", 0, [9.0, 0.0, 9.0, 3.0]))


def _no_box(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "bbox_xywh", 0, None))


def _not_a_number(output: Output) -> None:
    box = [float("nan"), 0.0, 1.0, 1.0]
    _rewrite(_files(output)[0], lambda rows: _with(rows, "bbox_xywh", 0, box))


def _other_size(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "height", 0, 13))


def _no_size(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "height", 0, 0))


def _other_source(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: _with(rows, "source_uri", 0, "/elsewhere.jpg"))


def _lose_row(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: rows.slice(1))


def _repeat_row(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]))


def _rows_of_another(output: Output) -> None:
    stranger = picture("stranger").unit_id
    _rewrite(_files(output)[0], lambda rows: _with(rows, "unit_id", 0, stranger))


def _tear_apart(output: Output) -> None:
    _rewrite(_files(output)[1], lambda rows: rows.take(pa.array([0, 2, 1, 3])))


def _lose_copy(output: Output) -> None:
    _files(output, "units")[1].unlink()


def _lose_folder_of_copies(output: Output) -> None:
    folder = Path(output.store.uri) / "units"
    shutil.rmtree(folder)
    folder.write_text("no folder, so that nothing can be written into it")


def _edit_copy(output: Output) -> None:
    path = _files(output, "units")[1]
    rows = pq.read_table(path)
    pq.write_table(_with(rows, "status", 0, "failed"), path)


def _tear_copy(output: Output) -> None:
    path = _files(output, "units")[1]
    path.write_bytes(path.read_bytes()[:50])


def _other_config(output: Output) -> None:
    kept = kept_config(output.store)
    masks = kept.config.masks.model_copy(update={"points_per_side": 7})
    text = resolved_yaml(kept.config.model_copy(update={"masks": masks}))
    output.store.put(CONFIG, f"# weights: {SHIPPED['nano']}\n{text}".encode())


def _edit_config(output: Output) -> None:
    output.store.put(CONFIG, b"mode: nonsense\n")


def _delete_config(output: Output) -> None:
    output.store.delete(CONFIG)


def _other_schema(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: rows, **{"sam2ray.schema_version": b"2.0"})


def _no_footer(output: Output) -> None:
    _rewrite(_files(output)[0], lambda rows: rows, **{"sam2ray.units": b"!"})


def _list_more(output: Output) -> None:
    output.list([picture("new")], "index-2")


def _other_unit(output: Output) -> None:
    output.commit([Ended(picture("never listed"))], "run-2")


def _do_again(output: Output) -> None:
    output.commit([Ended(picture(1), attempt=2)], "run-2")


def _fail_again(output: Output) -> None:
    output.commit([Ended(picture(5), error_class="io")], "run-2")


def _lose_manifest(output: Output) -> None:
    (part,) = (Path(output.store.uri) / "_sam2ray/manifest").rglob("*.parquet")
    part.unlink()


def _lose_index(output: Output) -> None:
    (index,) = (Path(output.store.uri) / "_sam2ray/manifest").glob("*.json")
    index.unlink()


def _lose_mark(output: Output) -> None:
    output.store.delete(SUCCESS)


def _edit_mark(output: Output) -> None:
    output.store.put(SUCCESS, json.dumps({"units": 7, "ok": 6, "failed": 1}).encode())


def _break_mark(output: Output) -> None:
    output.store.put(SUCCESS, b"")


BROKEN = [
    (_delete_masks, r"{units0}: is no copy of a file that is there"),
    (_delete_masks, r"3 of 6 units have not ended, such as unit [0-9a-f]{{32}}: run the same"),
    (_tear_file, r"{masks0}: cannot be read: "),
    (_empty_file, r"{masks0}: cannot be read: "),
    (_damage_page, r"{masks0}: cannot be read: "),
    (_foreign_file, r"masks/mine\.parquet: cannot be read: .*lists no units"),
    (_foreign_columns, r"{masks0}: its columns are not those of masks: look at area"),
    (_copy_file, r"{masks0}: holds results of 3 units that masks/copy-of-.* holds too, such as"),
    (_edit_mask, r"{masks0}: unit {unit1}: 1 row has run lengths that cannot be decoded"),
    (_no_mask, r"{masks0}: unit {unit2}: 1 row has run lengths that cannot be decoded"),
    (_edit_area, r"{masks0}: unit {unit2}: 1 row has another area than the run lengths say"),
    (_move_box, r"{masks0}: unit {unit1}: 1 row has a box outside the picture"),
    (_no_box, r"{masks0}: unit {unit1}: 1 row has a box outside the picture"),
    (_not_a_number, r"{masks0}: unit {unit1}: 1 row has a box outside the picture"),
    (_other_size, r"{masks0}: unit {unit1}: 1 row has another size than the unit"),
    (_no_size, r"{masks0}: unit {unit1}: 1 row has an impossible size"),
    (_other_source, r"{masks0}: unit {unit1}: 1 row has another source_uri than the unit"),
    (_lose_row, r"{masks0}: unit {unit1}: has 0 rows, its footer says 1"),
    (_repeat_row, r"{masks0}: unit {unit1}: has 2 rows, its footer says 1"),
    (_repeat_row, r"{masks0}: unit {unit1}: its rows lie apart"),
    (_rows_of_another, r"{masks0}: has rows of unit {stranger}, which it does not list"),
    (_tear_apart, r"{masks1}: unit {unit3}: its rows lie apart"),
    (_lose_folder_of_copies, r"{units1}: is missing, and cannot be made again from here "),
    (_edit_copy, r"{units1}: differs from the footer of {masks1} at unit {unit3} \(status\)"),
    (_tear_copy, r"{units1}: cannot be read: "),
    (_other_config, r"{masks0}: unit {unit0}: is of config [0-9a-f]{{32}}, the output of "),
    (_edit_config, r"_sam2ray/config\.yaml: cannot be read: .*mode"),
    (_delete_config, r"_sam2ray/config\.yaml: cannot be read: "),
    (_other_schema, r"{masks0}: cannot be read: .*has schema 2\.0, this is a sam2ray for 1\.0"),
    (_no_footer, r"{masks0}: cannot be read: "),
    (_list_more, r"1 of 7 units have not ended, such as unit {new}: run the same command"),
    (_list_more, r"_SUCCESS: is there, though units wait"),
    (_other_unit, r"masks/run-2-.*: holds 1 units that the manifest does not list, such as"),
    (_do_again, r"masks/run-2-.*: holds results of 1 units that {masks0} holds too, .* {unit1}"),
    (_fail_again, r"masks/run-2-.*: holds the same attempt of 1 units that {masks1} holds too"),
    (_lose_manifest, r"_sam2ray/manifest: cannot be read: "),
    (_lose_index, r"_sam2ray/manifest: holds no complete index"),
    (_lose_index, r"{masks0}: holds 3 units that the manifest does not list"),
    (_lose_mark, r"_SUCCESS: is missing, though all units have ended"),
    (_edit_mark, r"_SUCCESS: says .*7.*, but there are .*6"),
    (_break_mark, r"_SUCCESS: says None, but there are "),
]


@pytest.mark.parametrize(
    ("break_it", "words"),
    BROKEN,
    ids=[f"{act.__name__[1:]}-{n}" for n, (act, _) in enumerate(BROKEN)],
)
def test_what_was_broken_is_found(output: Output, break_it: Callable[[Output], None], words: str):
    places = {f"masks{n}": f"masks/{path.name}" for n, path in enumerate(_files(output))}
    places |= {f"units{n}": f"units/{path.name}" for n, path in enumerate(_files(output))}
    places |= {f"unit{n}": picture(n).unit_id for n in range(6)}
    places |= {"stranger": picture("stranger").unit_id, "new": picture("new").unit_id}
    break_it(output)
    findings = _verify(output)
    wanted = re.compile(words.format(**places))
    assert any(wanted.match(text) for text in findings.complaints), "\n".join(findings.complaints)
    assert not findings.is_consistent
    assert "NOT consistent" in findings.summary


def test_a_broken_file_says_a_few_things_and_counts_the_others(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    units = [picture(n) for n in range(60)]
    output.list(units, "1")
    name = output.commit([Ended(unit) for unit in units])
    output.finish()
    path = tmp_path / name
    _rewrite(path, lambda rows: rows.set_column(11, rows.field("area"), pa.array([1] * len(rows))))
    findings = _verify(output)
    assert len(findings.complaints) == 21
    assert findings.complaints[-1].endswith("... and 40 more")


def test_nothing_is_written_but_copies_that_are_missing(output: Output):
    def everything() -> dict[str, str]:
        return {entry.name: entry.version for entry in output.store.list()}

    before = everything()
    _verify(output)
    assert everything() == before
    content = _files(output, "units")[1].read_bytes()
    _lose_copy(output)
    assert _verify(output).is_consistent
    assert _files(output, "units")[1].read_bytes() == content
    assert everything().keys() == before.keys()


_VERIFIES = """
from pathlib import Path
from sam2ray.storage import LocalStore
from sam2ray.verify import verify_output

def run(folder):
    assert verify_output(LocalStore(Path(folder))).is_consistent
"""


def test_memory_follows_a_row_group_and_not_a_file(tmp_path: Path):
    def peak(name: str, times: int) -> int:
        output = Output(LocalStore(tmp_path / name))
        output.list([picture(1)], "1")
        output.commit([Ended(picture(1), masks=100)], times=times)
        output.finish()
        _rewrite(_files(output)[0], lambda rows: rows, rows=5000)
        return peak_bytes(_VERIFIES, output.store.uri)

    small, large = peak("small", 100), peak("large", 500)
    assert large < 1.5 * small


def test_masks_of_one_size_are_decoded_together_and_the_bad_one_is_found(tmp_path: Path):
    output = Output(LocalStore(tmp_path))
    units = [picture(n) for n in range(20)]
    output.list(units, "1")
    name = output.commit([Ended(unit, masks=10) for unit in units])
    output.finish()
    _rewrite(tmp_path / name, lambda rows: _with(rows, "rle_counts", 133, "o"))
    (complaint,) = _verify(output).complaints
    assert complaint == (
        f"{name}: unit {units[13].unit_id}: 1 row has run lengths that cannot be decoded"
    )


def test_a_made_output_holds_the_masks_that_it_says(output: Output):
    unit = sam2ray.open(output.store.uri).unit(picture(4).unit_id)
    assert np.array_equal(unit.masks(), masks_of(picture(4)))
