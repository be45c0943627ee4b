"""Units stay in hand until their rows are written: whoever a process dies over is suspected."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from label_bench import ledger, prepared
from made_outcomes import mask_rows
from make_clip import textured_picture
from PIL import Image

from sam2ray.ledger import Ledger, Process
from sam2ray.modes.pictures import PictureItem, ToRows
from sam2ray.patience import Patience
from sam2ray.records import Unit
from sam2ray.stages import prepare
from sam2ray.stages.columns import TODO_SCHEMA
from sam2ray.stages.decode import PictureLimits
from sam2ray.stages.hands import Group, Hands
from sam2ray.stages.label import BatchLabeller, PictureLabeller
from sam2ray.stages.outcome_rows import Stamp
from sam2ray.stages.prepare import Preparer, PrepareSpec
from sam2ray.unit_rows import unit_table


class _Died(BaseException):
    """A process ends here; nothing that it would do after this is done."""


class _Pictures:
    """A mode that does what a test wants when a unit is looked at, and when it is written."""

    folder = "masks"

    def __init__(self, look: Callable[[list[str]], None], write: Callable[[str], None]) -> None:
        self.look, self.write = look, write

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        self.look([item.place.unit_id for item in items])
        return [self._rows_of(item.place.unit_id) for item in items]

    def _rows_of(self, unit_id: str) -> ToRows:
        def to_rows() -> pa.Table:
            self.write(unit_id)
            return mask_rows(unit_id)

        return to_rows


def _hands(book: Ledger, pid: int, stage: str = "label") -> Hands:
    return Hands(book, Process("node", pid, stage), 600.0)


def _units(count: int) -> list[Unit]:
    return [Unit(f"/in/{n}.jpg", "image") for n in range(count)]


def _batch(units: list[Unit]) -> pa.Table:
    count, pixels = len(units), np.zeros((4, 4, 3), np.uint8)
    return prepared(
        units,
        pixels=[pixels.tobytes()] * count,
        pixel_type=["|u1"] * count,
        pixel_shape=[[4, 4, 3]] * count,
        is_resized=[False] * count,
        height=[4] * count,
        width=[4] * count,
    )


def _labeller(book: Ledger, mode: _Pictures, pid: int = 1) -> PictureLabeller:
    return PictureLabeller(mode, _hands(book, pid), Stamp("m", "c", "r"), max_rows=100)


def _groups(hands: Hands, ids: Sequence[str]) -> list[Group]:
    return list(hands.take(ids))


def _die(_unit_id: str) -> None:
    raise _Died


def test_a_death_over_writing_makes_suspects_of_a_batch():
    book, units = ledger(), _units(3)
    labeller = _labeller(book, _Pictures(lambda _: None, _die))
    looked = labeller.look_at(_batch(units))
    with pytest.raises(_Died):
        labeller.write(looked)
    groups = _groups(_hands(book, 2), [unit.unit_id for unit in units])
    assert [(group.places, group.alone) for group in groups] == [([n], True) for n in range(3)]


def test_what_was_written_is_let_go_of():
    book, units = ledger(), _units(3)
    labeller = _labeller(book, _Pictures(lambda _: None, lambda _: None))
    labeller.write(labeller.look_at(_batch(units)))
    assert _groups(_hands(book, 2), [unit.unit_id for unit in units]) == [Group([0, 1, 2])]


def test_a_unit_that_kills_who_writes_it_is_poison_after_three_deaths_and_others_are_not():
    book, units = ledger(), _units(3)
    ids = [unit.unit_id for unit in units]

    def write(unit_id: str) -> None:
        if unit_id == ids[1]:
            raise _Died

    for pid in range(1, 5):
        labeller = _labeller(book, _Pictures(lambda _: None, write), pid)
        with pytest.raises(_Died):
            labeller.write(labeller.look_at(_batch(units)))
    last = _labeller(book, _Pictures(lambda _: None, write), 5)
    rows = last.write(last.look_at(_batch(units))).to_pylist()
    assert [row["error_class"] for row in rows] == [None, "poison", None]


def test_a_suspect_comes_first_and_nothing_else_is_in_hand_meanwhile():
    book = ledger()
    first, second, third = (_hands(book, pid) for pid in (1, 2, 3))
    list(first.take(["bad"]))
    groups = second.take(["good", "bad", "fine"])
    seen = [(group.places, book._suspects.held()) for group in groups]
    assert seen == [([1], 1), ([0, 2], 2)]
    second.let_go(["good", "bad", "fine"])
    assert _groups(third, ["good", "fine"]) == [Group([0, 1])]


def test_of_two_batches_in_hand_a_single_unit_was_not_alone():
    book = ledger()
    hands = _hands(book, 1)
    list(hands.take(["a", "b"]))  # being written
    list(hands.take(["c"]))
    for pid in (2, 3, 4):
        (group,) = _groups(_hands(book, pid), ["c"])
        assert group.refusal is None
        _hands(book, pid).let_go(["c"])
    assert _groups(_hands(book, 5), ["c"])[0].alone


def test_who_holds_a_unit_is_not_robbed_of_it_by_another_process():
    book = ledger()
    list(_hands(book, 1).take(["a"]))
    _hands(book, 2).let_go(["a"])
    assert book._suspects.held() == 1


def test_a_suspect_waits_until_nobody_writes():
    book, units = ledger(), _units(4)
    suspect = units[3].unit_id
    list(_hands(book, 9).take([suspect]))
    writing, looking, done = threading.Event(), threading.Event(), threading.Event()
    overlaps: list[bool] = []

    def look(ids: list[str]) -> None:
        if ids == [suspect]:
            looking.set()
            overlaps.append(not done.is_set())

    def write(unit_id: str) -> None:
        if unit_id == units[0].unit_id:
            writing.set()
            looking.wait(0.5)  # it does not come
            done.set()

    label = BatchLabeller(_labeller(book, _Pictures(look, write)), lambda table: table)
    other = threading.Thread(target=label, args=(_batch(units[:3]),))
    other.start()
    assert writing.wait(60)
    (row,) = label(_batch(units[3:])).to_pylist()
    other.join()
    assert row["status"] == "ok"
    assert overlaps == [False]


def test_a_death_over_the_pixels_of_a_batch_makes_suspects_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Image.fromarray(np.asarray(textured_picture(40, 56, 0))).save(tmp_path / "a.png")
    units = [Unit(str(tmp_path / "a.png"), "image"), Unit(str(tmp_path / "none.png"), "image")]
    table = unit_table(units)
    todo = table.append_column("attempt", pa.array([1, 1], pa.int32())).cast(TODO_SCHEMA)
    limits = PictureLimits(
        max_bytes=1 << 20, max_pixels=1 << 20, min_side=1, max_side=1 << 10, max_aspect_ratio=20.0
    )
    spec = PrepareSpec("rounded", 64, limits, Patience(1, 0.0), 2, {})
    book = ledger()

    def die(*_: object) -> None:
        raise _Died

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_beside", die)
        with pytest.raises(_Died):
            Preparer(spec, _hands(book, 1, "prepare"))(todo)
    second = Preparer(spec, _hands(book, 2, "prepare"))
    assert second(todo)["error_class"].to_pylist() == [None, "not_found"]
    ids = [unit.unit_id for unit in units]
    assert all(group.alone for group in _groups(_hands(book, 3, "prepare"), ids))
