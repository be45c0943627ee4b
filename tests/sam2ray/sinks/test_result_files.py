"""A result file is its own commit: whole, listed in its footer, copied, and never torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_outcomes import mask_rows, outcome, outcome_table, unit_id
from pycocotools import mask as coco

from sam2ray.errors import RootRefused, StorageError
from sam2ray.outcomes import mend_copies
from sam2ray.sinks.result_files import (
    MASKS,
    ResultFile,
    ResultPlace,
    read_outcomes,
    units_name,
)
from sam2ray.storage import LocalStore, Store


def _mine() -> None:
    """The lease is held."""


def _commit(store: Store, *names: str, masks: int = 2, still_mine=_mine) -> str:
    with ResultFile(ResultPlace(store, MASKS, "run")) as file:
        for name in names:
            file.add(mask_rows(name, masks))
        rows = [outcome(name, masks=masks) for name in names]
        return file.commit(outcome_table(rows), still_mine=still_mine)


def test_a_file_holds_its_masks_and_lists_its_units(store: Store):
    name = _commit(store, "a", "b")
    with store.open(name) as file:
        table = pq.read_table(file)
    assert table["unit_id"].to_pylist() == [unit_id("a")] * 2 + [unit_id("b")] * 2
    assert read_outcomes(store, name)["unit_id"].to_pylist() == [unit_id("a"), unit_id("b")]
    with store.open(units_name(name)) as file:
        assert pq.read_table(file).equals(read_outcomes(store, name))


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' own
def test_its_masks_decode_with_pycocotools_as_they_stand(store: Store):
    name = _commit(store, "a")
    with store.open(name) as file:
        (row, _) = pq.read_table(file).to_pylist()
    mask = coco.decode({"size": [row["height"], row["width"]], "counts": row["rle_counts"]})
    assert mask.tolist() == [[1, 0], [0, 0]]


def test_units_without_any_mask_are_listed_too(store: Store):
    with ResultFile(ResultPlace(store, MASKS, "run")) as file:
        rows = outcome_table([outcome("bad", error_class="corrupt"), outcome("empty")])
        name = file.commit(rows, still_mine=_mine)
    assert read_outcomes(store, name)["status"].to_pylist() == ["failed", "ok"]
    with store.open(name) as file:
        assert pq.read_table(file).num_rows == 0


def test_the_same_units_have_the_same_name_in_any_order(store: Store):
    place = ResultPlace(store, MASKS, "run")
    assert place.name_of(["a", "b"], [1, 2]) == place.name_of(["b", "a"], [2, 1])
    assert place.name_of(["a", "b"], [1, 2]) != place.name_of(["a", "b"], [1, 1])


def test_committing_twice_writes_once(store: Store):
    name = _commit(store, "a")
    before = store.read(name)
    assert _commit(store, "a") == name
    assert store.read(name) == before
    assert len(list(store.list(MASKS))) == 1


def test_who_lost_the_output_writes_nothing(store: Store):
    def lost() -> None:
        raise RootRefused("taken over")

    with pytest.raises(RootRefused):
        _commit(store, "a", still_mine=lost)
    assert list(store.list()) == []


def test_a_file_that_is_left_before_its_commit_leaves_nothing(store: Store):
    with ResultFile(ResultPlace(store, MASKS, "run")) as file:
        file.add(mask_rows("a"))
    assert list(store.list()) == []


def test_a_copy_that_is_missing_is_made_again(store: Store):
    names = [_commit(store, f"{n}") for n in range(3)]
    copies = [store.read(units_name(name)) for name in names]
    for name in names[:2]:
        store.delete(units_name(name))
    assert mend_copies(store) == 2
    assert [store.read(units_name(name)) for name in names] == copies
    assert mend_copies(store) == 0


def test_a_foreign_file_is_refused_by_name(store: Store):
    source = _commit(store, "a")
    with store.open(source) as file:
        table = pq.read_table(file)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    store.put("masks/foreign.parquet", buffer.getvalue().to_pybytes())
    with pytest.raises(StorageError, match=r"masks/foreign\.parquet: lists no units"):
        read_outcomes(store, "masks/foreign.parquet")


KILLED_WHILE_COMMITTING = """
import os, signal, sys
from pathlib import Path
from made_outcomes import mask_rows, outcome, outcome_table
from sam2ray.sinks.result_files import MASKS, ResultFile, ResultPlace
from sam2ray.storage import LocalStore

store = LocalStore(Path(sys.argv[1]))
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "before the copy":
    put = store.put
    store.put = lambda name, content: die() if name.startswith("units") else put(name, content)
with ResultFile(ResultPlace(store, MASKS, "run")) as file:
    file.add(mask_rows("a"))
    still_mine = die if sys.argv[2] == "before the step" else (lambda: None)
    file.commit(outcome_table([outcome("a", masks=1)]), still_mine=still_mine)
"""


@pytest.mark.parametrize(("moment", "files"), [("before the step", 0), ("before the copy", 1)])
def test_a_kill_leaves_all_of_a_file_or_nothing(tmp_path: Path, moment: str, files: int):
    support = str(Path(__file__).parents[2] / "support")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([support, str(Path.cwd())])}
    command = [sys.executable, "-c", KILLED_WHILE_COMMITTING, str(tmp_path), moment]
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    store = LocalStore(tmp_path)
    assert len(list(store.list(MASKS))) == files
    assert mend_copies(store) == files
    assert len(list(store.list("units"))) == files
