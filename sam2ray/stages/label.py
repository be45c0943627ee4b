"""Pixels -> rows of results, on the device: what an actor does with a batch of units."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch

from sam2_core import Picture, ResizedPicture

from ..modes.mask_rows import RowPlace
from ..modes.pictures import PictureItem, PictureMode, ToRows
from ..records import ErrorClass, Failure
from .columns import bytes_of, pack_rows
from .faults import failure_of, is_sticky
from .hands import Hands
from .outcome_rows import Row, Stamp, labelled_table, outcome_row
from .room import Room

Item = TypeVar("Item")
Result = TypeVar("Result")
Labeller = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the model has seen of one unit, or why nothing."""

    to_rows: ToRows | None
    failure: Failure | None
    model_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A batch that the model is done with; it is in hand until it is written."""

    rows: list[Row]
    seen: list[Seen]
    written: dict[int, Row]  # by place: suspects, which are done with before anything else is


@dataclass(frozen=True, slots=True, eq=False)
class BatchLabeller:
    """Takes pictures and videos mixed, and does each kind in its own way.

    It may be called by several threads: the model serves one batch at a time, and meanwhile another
    thread writes down what was seen of the batch before.
    """

    pictures: PictureLabeller
    videos: Labeller
    _model: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, prepared: pa.Table) -> pa.Table:
        """One row in, one row out, in the same order."""
        is_picture = np.array([kind == "image" for kind in prepared["kind"].to_pylist()], bool)
        pictures = prepared.filter(pa.array(is_picture))
        videos = prepared.drop_columns(["pixels"]).filter(pa.array(~is_picture))
        with self._model:
            looked = self.pictures.look_at(pictures)
        labelled = [self.pictures.write(looked)]
        if len(videos):
            with self._model:
                labelled.append(self.videos(videos))
        places = np.concatenate([np.flatnonzero(is_picture), np.flatnonzero(~is_picture)])
        return pa.concat_tables(labelled).take(pa.array(np.argsort(places)))


class PictureLabeller:
    """Runs a mode over the pictures of a batch; whoever spoils a batch fails alone."""

    def __init__(self, mode: PictureMode, hands: Hands, stamp: Stamp, *, max_rows: int) -> None:
        self._mode = mode
        self._max_rows = max_rows
        self._hands = hands
        self._stamp = stamp
        self._room = Room()
        self._unwritten = 0  # batches
        self._one_is_written = threading.Condition()

    def look_at(self, prepared: pa.Table) -> Looked:
        """Show the model a batch; whoever does this has the model to itself, and writes it next."""
        pixels = bytes_of(prepared["pixels"])
        rows = prepared.drop_columns(["pixels"]).to_pylist()
        places = [n for n, row in enumerate(rows) if _is_open(row)]
        seen, written = [_as_prepared(row) for row in rows], {}
        for group in self._hands.take([rows[n]["unit_id"] for n in places]):
            of_group = [places[n] for n in group.places]
            if group.skipped:
                for n in of_group:
                    rows[n]["skipped"] = True
            elif group.refusal is not None:
                for n in of_group:
                    seen[n] = Seen(None, group.refusal)
            elif group.alone:
                (n,) = of_group
                written[n] = self._alone(rows[n], pixels[n])
            else:
                items = [_item(rows[n], pixels[n]) for n in of_group]
                for n, of_one in zip(of_group, self._look_at(items), strict=True):
                    seen[n] = of_one
        with self._one_is_written:
            self._unwritten += 1
        return Looked(rows, seen, written)

    def _alone(self, row: Row, pixels: pa.Buffer | None) -> Row:
        """Do all of a suspect while nothing else is in hand: a death then says who it was."""
        with self._one_is_written:
            self._one_is_written.wait_for(lambda: not self._unwritten)
        (seen,) = self._look_at([_item(row, pixels)])
        return self._outcome(row, seen)

    def write(self, looked: Looked) -> pa.Table:
        """Write down what was seen of a batch: one row a picture, in order; then let go of it."""
        try:
            unit_ids = [row["unit_id"] for row in looked.rows]
            pairs = enumerate(zip(looked.rows, looked.seen, strict=True))
            written = looked.written
            if written:
                self._hands.hand_on(unit_ids)
            table = labelled_table([written.get(n) or self._outcome(*pair) for n, pair in pairs])
            self._hands.let_go(unit_ids)
        finally:
            with self._one_is_written:
                self._unwritten -= 1
                self._one_is_written.notify_all()
        return table

    def _look_at(self, items: Sequence[PictureItem]) -> list[Seen]:
        room, seen = self._room, list[Seen]()
        for piece in room.pieces(items):
            before = room.most
            of_piece = one_by_one_if_need_be(piece, self._run, _failed, room.was_too_small_for)
            if any(one.failure and one.failure.error_class is ErrorClass.OOM for one in of_piece):
                room.most = before  # one of them was too large by itself
            seen += of_piece
        room.was_enough()
        return seen

    def _run(self, items: Sequence[PictureItem]) -> list[Seen]:
        start = time.perf_counter()
        unit_ids = [item.place.unit_id for item in items]
        try:
            with self._hands.working_on(*unit_ids, steps=len(items)):
                seen = self._mode.look_at(items)
        except Exception as error:
            if is_sticky(error):
                self._hands.give_up_device(error)
            raise
        seconds = (time.perf_counter() - start) / len(items)
        return [Seen(to_rows, None, model_s=seconds) for to_rows in seen]

    def _outcome(self, row: Row, seen: Seen) -> Row:
        start = time.perf_counter()
        failure, table, packed = seen.failure, None, None
        left_out: dict[str, object] = {}
        if seen.to_rows is not None:
            try:
                with self._hands.working_on(row["unit_id"]):
                    table = seen.to_rows()
                    if len(table) > self._max_rows:
                        left_out = _partial(len(table), self._max_rows)
                        table = best_rows(table, self._max_rows)
                    packed = pack_rows(table)
            except Exception as error:  # noqa: BLE001 it is one unit's, and is kept in its row
                failure, table = failure_of(error), None
        return outcome_row(
            row,
            self._stamp,
            failure,
            frames=None if table is None else 1,
            masks=0 if table is None else len(table),
            model_s=seen.model_s,
            pack_s=time.perf_counter() - start,
            rows=packed,
            skipped=bool(row.get("skipped")),
            **left_out,
        )


def best_rows(table: pa.Table, most: int) -> pa.Table:
    """At most so many masks, the best by predicted IoU or else by score, in their order."""
    iou, score = (table[name].to_numpy() for name in ("predicted_iou", "object_score"))
    ranked = np.argsort(-np.where(np.isnan(iou), score, iou), kind="stable")
    return table.take(pa.array(np.sort(ranked[:most])))


def _partial(found: int, most: int) -> dict[str, object]:
    return {
        "error_class": ErrorClass.PARTIAL.value,
        "error_message": f"the best {most} of {found} masks: output.max_masks_per_unit={most}",
    }


def one_by_one_if_need_be(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], list[Result]],
    fail: Callable[[Exception], Result],
    tell_room: Callable[[int], None] = lambda _count: None,
) -> list[Result]:
    """Run a batch; where it cannot be done, its halves; and so on to the one that is to blame.

    `tell_room` hears how many there was no memory for.
    """
    if not items:
        return []
    try:
        return run(items)
    except Exception as error:  # noqa: BLE001 whatever it is, it is one unit's, and is kept in its row
        if len(items) == 1:
            return [fail(error)]
        if isinstance(error, torch.OutOfMemoryError):
            tell_room(len(items))
            torch.cuda.empty_cache()
    half = len(items) // 2
    return [
        *one_by_one_if_need_be(items[:half], run, fail, tell_room),
        *one_by_one_if_need_be(items[half:], run, fail, tell_room),
    ]


def _failed(error: Exception) -> Seen:
    return Seen(None, failure_of(error))


def _is_open(row: Row) -> bool:
    return row["error_class"] is None and not row["skipped"]


def _as_prepared(row: Row) -> Seen:
    if row["error_class"] is None:
        return Seen(None, None)
    return Seen(None, Failure(ErrorClass(row["error_class"]), row["error_message"]))


def _item(row: Row, pixels: pa.Buffer | None) -> PictureItem:
    assert pixels is not None, row["unit_id"]
    array = np.frombuffer(pixels, dtype=row["pixel_type"]).reshape(row["pixel_shape"])
    size_hw = (row["height"], row["width"])
    picture: Picture = ResizedPicture(array, size_hw) if row["is_resized"] else array
    place = RowPlace(row["unit_id"], row["source_uri"])
    return PictureItem(place, picture, size_hw, row["prompts"])
