"""Model stages for measuring what is around a model, and the diary that each keeps.

They are given to `run_job` as what loads in its actors. All else is the product's own: what they do
with a batch goes through the same labellers, the same ledger and the same commits.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from sam2ray.ledger import Ending, Process, Verdict
from sam2ray.modes.clips import FrameByFrame
from sam2ray.modes.mask_rows import mask_table
from sam2ray.modes.pictures import PictureItem, PictureMode, ToRows
from sam2ray.processes import BatchWork, Job, LoadLabeller, RayLedger, load_labeller, this_process
from sam2ray.sinks.result_files import MASKS
from sam2ray.stages.hands import Hands, LedgerClient
from sam2ray.stages.make_labeller import Modes, labeller_of

_MASKS_A_PICTURE = 20
_RUN_LENGTHS = "PPYo1f2O1K3N1N2N1O1N2O0O2N1O1O1O1O1O1O1O100O1O100O10000O1000000O100O1" * 3


class Diary:
    """When things began and ended in this process: a line each, in a file of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = (folder / f"{os.getpid()}.jsonl").open("a", buffering=1)

    @contextmanager
    def writing(self, what: str, count: int) -> Iterator[None]:
        """Note how long something took, and for how many units or frames."""
        began = time.time()
        yield
        self._file.write(json.dumps([what, count, began, time.time()]) + "\n")


@dataclass(frozen=True, slots=True)
class KeptMode:
    """A mode whose batches are noted."""

    mode: PictureMode
    diary: Diary

    @property
    def folder(self) -> str:
        """Which table the rows belong to."""
        return self.mode.folder

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """What is seen of each picture, in order."""
        with self.diary.writing("model", len(items)):
            return self.mode.look_at(items)


@dataclass(frozen=True, slots=True)
class Sleeping:
    """A mode that takes its time, and finds the same masks in everything."""

    seconds: float  # a picture or frame
    masks: int = _MASKS_A_PICTURE
    folder: str = MASKS

    def look_at(self, items: Sequence[PictureItem]) -> list[ToRows]:
        """The same masks of each picture."""
        time.sleep(self.seconds * len(items))
        return [partial(self._rows, item) for item in items]

    def _rows(self, item: PictureItem) -> pa.Table:
        count = self.masks
        return mask_table(
            item.place,
            item.size_hw,
            rle_counts=[_RUN_LENGTHS] * count,
            bbox_xywh=[[1.0, 2.0, 3.0, 4.0]] * count,
            point_xy=[[1.0, 2.0]] * count,
            area=[6] * count,
            predicted_iou=[0.9] * count,
            stability_score=[0.9] * count,
        )


@dataclass(frozen=True, slots=True)
class _KeptLedger:
    """A ledger whose answers are noted as long as somebody waits for them."""

    ledger: LedgerClient
    diary: Diary

    def begin(self, process: Process, unit_ids: Sequence[str]) -> list[Verdict]:
        with self.diary.writing("ledger", len(unit_ids)):
            return self.ledger.begin(process, unit_ids)

    def end(self, process: Process, unit_ids: Sequence[str]) -> None:
        with self.diary.writing("ledger", len(unit_ids)):
            self.ledger.end(process, unit_ids)

    def last_words(self, process: Process, verdict: Verdict) -> None:
        self.ledger.last_words(process, verdict)

    def hand_on(self, process: Process, unit_ids: Sequence[str]) -> None:
        self.ledger.hand_on(process, unit_ids)

    def report(self, endings: Sequence[Ending], *, early: bool = False) -> None:
        self.ledger.report(endings, early=early)

    def sign_of_life(self) -> None:
        self.ledger.sign_of_life()

    def is_stopping(self) -> bool:
        with self.diary.writing("ledger", 1):
            return self.ledger.is_stopping()


def sleeping(seconds: float, folder: Path, masks: int = _MASKS_A_PICTURE) -> LoadLabeller:
    """Actors that sleep instead of looking, and keep a diary in a folder."""

    def load(job: Job) -> BatchWork:
        diary = Diary(folder)
        mode = KeptMode(Sleeping(seconds, masks), diary)
        modes = Modes(mode, FrameByFrame(mode, job.config.resources.batch_size))
        ledger = _KeptLedger(RayLedger(job.handles.ledger), diary)
        hands = Hands(ledger, this_process("label"), job.handles.unit_timeout_s)
        label = labeller_of(job.config, modes, hands, job.stamp, job.committer)
        return _with_diary(label, diary)

    return load


def kept(folder: Path) -> LoadLabeller:
    """The product's own actors, with a diary of their batches."""

    def load(job: Job) -> BatchWork:
        return _with_diary(load_labeller(job), Diary(folder))

    return load


def _with_diary(label: BatchWork, diary: Diary) -> BatchWork:
    def kept(prepared: pa.Table) -> pa.Table:
        with diary.writing("batch", len(prepared)):
            return label(prepared)

    return kept
