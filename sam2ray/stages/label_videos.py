"""Units of videos -> result files of their own, several at a time, and a row of counts each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa
import torch

from sam2_core import FrameSourceError
from sam2_core.inference.frame_prompts import LostPrompt, words_of_lost

from ..lease import check_still_held
from ..modes.clips import ClipMode, ClipOver, FrameRows, OpenClip
from ..modes.pictures import ToRows
from ..records import ErrorClass, Failure
from ..sinks.commit import Committer, ending_of
from ..sinks.result_files import read_outcomes
from .clip_arrivals import Arrival, Arrivals
from .clips import ClipInHand, ClipOpener
from .faults import failure_of, is_sticky
from .hands import Hands
from .outcome_rows import Row, Stamp, labelled_table, outcome_row
from .packing import PackingQueue, PackingThread
from .unit_rows import UnitRows


@dataclass(slots=True, eq=False)
class _Work:
    """A clip that is being labelled."""

    row: Row
    in_hand: ClipInHand
    rows: UnitRows
    packing: PackingQueue
    watch: ExitStack  # the watchdog looks at it
    frames: int = 0
    model_s: float = 0.0
    pack_s: float = 0.0
    fault: Exception | None = None  # that made what was seen unfit for rows

    @property
    def is_over(self) -> bool:
        """Whether no further frame is of use."""
        return self.rows.is_full or self.fault is not None

    def write(self, to_rows: ToRows) -> None:
        """Write down what was seen of the next frame; done by the packing thread."""
        if self.is_over:
            return
        start = time.perf_counter()
        try:
            rows = to_rows()
        except Exception as fault:  # noqa: BLE001 it becomes the row of one unit
            self.fault = fault
            return
        self.frames += 1
        self.rows.add(rows)
        self.pack_s += time.perf_counter() - start

    def close(self) -> None:
        """Let go of everything; what was not committed is gone."""
        self.packing.give_up()
        self.in_hand.close()
        self.rows.close()
        self.watch.close()


@dataclass(slots=True, eq=False)
class _Group:
    """Units that are done together."""

    ended: dict[str, Row] = field(default_factory=dict)
    works: dict[str, _Work] = field(default_factory=dict)

    def left(self, rows: Sequence[Row]) -> list[Row]:
        """Those of which nothing is known yet."""
        return [row for row in rows if row["unit_id"] not in self.ended]

    def share_out(self, model_s: float) -> None:
        """Put seconds of the model down to all clips at work: they advance together."""
        for work in self.works.values():
            work.model_s += max(0.0, model_s) / len(self.works)

    def close(self) -> None:
        """Let go of all clips."""
        for work in self.works.values():
            work.close()
        self.works.clear()


class VideoLabeller:
    """Runs a mode over the videos of a batch and commits each when it ends."""

    def __init__(
        self,
        mode: ClipMode,
        opener: ClipOpener,
        hands: Hands,
        stamp: Stamp,
        committer: Committer,
        *,
        lanes: int,
        frames_at_once: int,
        max_rows: int,
    ) -> None:
        self._mode = mode
        self._opener = opener
        self._hands = hands
        self._stamp = stamp
        self._committer = committer
        self._lanes = lanes
        self._frames_at_once = frames_at_once  # that a mode may look at before it says anything
        self._max_rows = max_rows
        self._packing = PackingThread()

    def __call__(self, prepared: pa.Table) -> pa.Table:
        """One row in, one row out, in the same order."""
        rows = prepared.to_pylist()
        known = {row["unit_id"]: self._without_a_look(row) for row in rows}
        done = {unit_id: row for unit_id, row in known.items() if row is not None}
        open_rows = [row for row in rows if row["unit_id"] not in done]
        unit_ids = [row["unit_id"] for row in open_rows]
        for group in self._hands.take(unit_ids):
            of_group = [open_rows[n] for n in group.places]
            if group.skipped:
                done |= {row["unit_id"]: self._skipped(row) for row in of_group}
            elif group.refusal is not None:
                done |= {row["unit_id"]: self._failed(row, group.refusal) for row in of_group}
            else:
                done |= self._label_group(of_group)
        table = labelled_table([done[row["unit_id"]] for row in rows])
        self._hands.let_go(unit_ids)
        return table

    # --- what needs no model

    def _without_a_look(self, row: Row) -> Row | None:
        """The row of a unit that needs not be opened; None if it does."""
        if row["skipped"]:
            return self._skipped(row)
        if row["fault"] is not None:  # found when it was listed: it needs no prompts to fail
            return self._failed(row, Failure.of_text(row["fault"]))
        if row["error_class"] is not None:
            failure = Failure(ErrorClass(row["error_class"]), row["error_message"])
            return self._failed(row, failure)
        if (committed := self._committed(row)) is not None:
            return committed
        if self._opener.needs_prompts and row["prompts"] is None:
            return outcome_row(row, self._stamp, frames=0)
        return None

    def _committed(self, row: Row) -> Row | None:
        """What this run has committed of a unit before, in a process that died since."""
        place = self._committer.place
        name = place.name_of([row["unit_id"]], [row["attempt"]])
        if not place.store.exists(name):
            return None
        (outcome,) = read_outcomes(place.store, name).to_pylist()
        return {**outcome, "rows": None, "is_committed": True, "skipped": False}

    def _skipped(self, row: Row) -> Row:
        return outcome_row(row, self._stamp, skipped=True)

    def _failed(self, row: Row, failure: Failure) -> Row:
        return outcome_row(row, self._stamp, failure)

    # --- what does

    def _label_group(self, rows: Sequence[Row]) -> dict[str, Row]:
        group = _Group()
        self._label(rows, group)
        for row in group.left(rows):
            group.ended[row["unit_id"]] = self._skipped(row)  # the run stops
        return group.ended

    def _label(self, rows: Sequence[Row], group: _Group) -> None:
        """Run; where the model fails, whatever is left is run by halves, down to who is to blame.

        A clip that was being labelled then starts over: nothing of it was committed.
        """
        failure = self._run(rows, group)
        left = group.left(rows)
        if failure is None or not left:
            return
        if failure.error_class is ErrorClass.OOM:
            torch.cuda.empty_cache()
        if len(left) == 1:
            group.ended[left[0]["unit_id"]] = self._failed(left[0], failure)
            return
        half = len(left) // 2
        self._label(left[:half], group)
        self._label(left[half:], group)

    def _run(self, rows: Sequence[Row], group: _Group) -> Failure | None:
        """Label clips until all are done, the run stops, or the model fails: then say how."""
        with Arrivals(self._opener, self._hands, rows, self._lanes) as arrivals, closing(group):
            events = self._mode.label(self._clips(arrivals, group), self._lanes)
            while not self._hands.is_stopping():
                start, waited = time.perf_counter(), _waited_s(arrivals, group)
                try:
                    event = next(events, None)
                except Exception as error:  # noqa: BLE001 it becomes the row of one unit
                    return self._failure_of_model(error)  # itself, it would hold on to tensors
                waited = _waited_s(arrivals, group) - waited
                group.share_out(time.perf_counter() - start - waited)
                if event is None:
                    break
                self._take(event, group)
        return None

    def _clips(self, arrivals: Arrivals, group: _Group) -> Iterator[OpenClip]:
        """Clips as lanes ask for them; those that cannot be opened end here."""

        def on_wait() -> None:
            self._hands.moved_on(*group.works)  # it is not they who are slow

        while (arrival := arrivals.next(self._hands.is_stopping, on_wait)) is not None:
            unit_id = arrival.row["unit_id"]
            if isinstance(arrival.result, Failure):
                self._ended(self._failed(arrival.row, arrival.result), group)
            else:
                group.works[unit_id] = self._begin(arrival, arrival.result)
                yield arrival.result.clip

    def _begin(self, arrival: Arrival, in_hand: ClipInHand) -> _Work:
        watch = ExitStack()
        unit_id, steps = arrival.row["unit_id"], self._frames_at_once
        watch.enter_context(self._hands.working_on(unit_id, steps=steps))
        place, compression = self._committer.place, self._committer.compression
        rows = UnitRows(place, compression, self._max_rows)
        return _Work(arrival.row, in_hand, rows, self._packing.queue(), watch)

    def _take(self, event: FrameRows | ClipOver, group: _Group) -> None:
        work = group.works[event.clip.unit_id]
        if isinstance(event, ClipOver):
            self._ended(self._end(work, event), group)
            group.works.pop(event.clip.unit_id).close()
            return
        # Of all: clips take turns, and who waits for the others is not stuck.
        self._hands.moved_on(*group.works)
        work.packing.put(partial(work.write, event.to_rows))
        if work.is_over:
            work.in_hand.ahead.end()  # its end comes next

    def _ended(self, row: Row, group: _Group) -> None:
        group.ended[row["unit_id"]] = row
        self._hands.ended(ending_of(row))

    def _end(self, work: _Work, over: ClipOver) -> Row:
        """Commit what a clip brought, if it brought anything; its row says what went wrong."""
        work.packing.finish()
        error = work.fault or over.error or work.in_hand.loss()
        failure = None if error is None or work.rows.is_full else self._failure_of(work, error)
        if failure is not None and not _keeps_what_came_before(work, error, failure):
            return self._outcome(work, failure)
        found: Row = {"masks": work.rows.count, "is_committed": work.rows.count > 0}
        lost = [*work.in_hand.lost, *over.lost]
        missing = _with_lost(self._what_is_missing(work, failure), lost)
        if missing is not None:
            found |= {"error_class": ErrorClass.PARTIAL.value, "error_message": missing}
        row = self._outcome(work, None, **found)
        if work.rows.count:  # a file with no masks is not worth a file: the sink takes it
            committer = self._committer
            work.rows.commit(row, lambda: check_still_held(committer.place.store, committer.lease))
        return row

    def _what_is_missing(self, work: _Work, failure: Failure | None) -> str | None:
        """Why a clip has fewer masks than it might have; None if it was labelled to its end."""
        if failure is not None:
            return failure.message
        if work.rows.is_full:
            return (
                f"ended after {work.frames} frames with output.max_masks_per_unit="
                f"{self._max_rows} masks"
            )
        return work.in_hand.clip.sample.cut

    def _failure_of(self, work: _Work, error: Exception) -> Failure:
        if isinstance(error, FrameSourceError):
            return work.in_hand.explain(error)
        return self._failure_of_model(error)

    def _failure_of_model(self, error: Exception) -> Failure:
        if is_sticky(error):
            self._hands.give_up_device(error)
        return failure_of(error)

    def _outcome(self, work: _Work, failure: Failure | None, **found: object) -> Row:
        height, width = work.in_hand.size_hw
        return outcome_row(
            work.row,
            self._stamp,
            failure,
            height=height,
            width=width,
            frames=work.frames,
            fps=work.in_hand.fps,
            fetch_s=work.in_hand.fetch_s,
            decode_s=work.in_hand.ahead.read_s,
            model_s=work.model_s,
            pack_s=work.pack_s,
            **found,
        )


def _keeps_what_came_before(work: _Work, error: Exception | None, failure: Failure) -> bool:
    """Whether a clip that broke off is worth its frames: another try would not bring more."""
    broke_off = isinstance(error, FrameSourceError) and work.frames > 0
    return broke_off and not failure.error_class.retryable


def _with_lost(missing: str | None, lost: Sequence[LostPrompt]) -> str | None:
    if not lost:
        return missing
    said = f"{missing.removesuffix('.')}. " if missing else ""
    return said + words_of_lost(lost)


def _waited_s(arrivals: Arrivals, group: _Group) -> float:
    """How long the model has waited for clips and frames."""
    return arrivals.waited_s + sum(work.in_hand.ahead.waited_s for work in group.works.values())
