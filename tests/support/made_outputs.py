"""Whole outputs as runs leave them: config, manifest, result files and reports, without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ops import encode_run_lengths
from sam2_core.shipped import SHIPPED
from sam2ray.config_file import load_config
from sam2ray.kept_config import pin_config
from sam2ray.ledger import Tally
from sam2ray.manifest import Listed, Merged, complete, manifest_parts, merge_bucket, write_runs
from sam2ray.modes.mask_rows import RowPlace, rows_of_runs
from sam2ray.modes.pictures import embedding_table
from sam2ray.outcomes import latest_outcomes
from sam2ray.planner import Plan
from sam2ray.records import OUTCOME_SCHEMA, Unit
from sam2ray.report import RunReport
from sam2ray.root import Standing, mark_success, standing
from sam2ray.sinks.result_files import EMBEDDINGS, MASKS, ResultFile, ResultPlace
from sam2ray.storage import LocalStore, Store

SIZE_HW = (12, 17)
FRAMES = 3  # of clips
CPU = Plan("cpu", 2, 0.0, 1.0, 1, 1.0, 32)
GPU = replace(CPU, device="cuda", gpus_per_actor=1.0)


def picture(name: object, version: str = "1", **fields: object) -> Unit:
    """A unit that is a picture."""
    return Unit(source_uri=f"/archive/{name}.jpg", kind="image", version=version, **fields)


def clip(name: object, version: str = "1") -> Unit:
    """A unit that is a video."""
    return Unit(source_uri=f"/archive/{name}.mp4", kind="video", version=version)


def masks_of(unit: Unit, count: int = 2) -> np.ndarray:
    """The masks that a unit has in a made output, bool [N, H, W]; of a clip those of one frame."""
    draw = np.random.default_rng(int(unit.unit_id[:8], 16))
    return draw.random((count, *SIZE_HW)) < 0.4


@dataclass(frozen=True)
class Ended:
    """How a unit ended."""

    unit: Unit
    masks: int = 2
    attempt: int = 1
    error_class: str | None = None
    message: str = "it is broken"
    label: str | None = None  # of all its masks
    objects: Sequence[int] | None = None  # of a clip, as many as masks on each of its frames
    rows: pa.Table | None = None  # instead of made ones
    frames: int = FRAMES  # of a clip


@dataclass
class Output:
    """An output in the making."""

    store: Store
    assignments: Sequence[str] = ()
    config_id: str = field(init=False)

    def __post_init__(self) -> None:
        config = load_config(
            None, self.assignments, source="/archive", output=self.store.uri, model="nano"
        )
        self.config_id = pin_config(self.store, config, SHIPPED["nano"])

    def list(self, units: Iterable[Unit], index_id: str, buckets: int = 1) -> None:
        """Add an index of units."""
        known = manifest_parts(self.store)
        listed = write_runs(self.store, index_id, 0, units)
        merged = Merged()
        for bucket in range(buckets):
            merged += merge_bucket(self.store, index_id, listed.runs, known, bucket, buckets)
        complete(self.store, index_id, ["/archive"], listed, merged)

    def commit(
        self, ended: Sequence[Ended], run_id: str = "run", folder: str = MASKS, times: int = 1
    ) -> str:
        """Write one result file, with each unit's masks so many times; its name."""
        with ResultFile(ResultPlace(self.store, folder, run_id)) as file:
            for end in ended:
                if end.error_class in (None, "partial") and end.masks:
                    rows = _rows(end, folder)
                    file.add(rows.take(np.tile(np.arange(len(rows)), times)))
            outcomes = [self._outcome(end, run_id, folder, times) for end in ended]
            table = pa.Table.from_pylist(outcomes, schema=OUTCOME_SCHEMA)
            return file.commit(table, still_mine=lambda: None)

    def _outcome(self, end: Ended, run_id: str, folder: str, times: int) -> dict[str, object]:
        ok = end.error_class in (None, "partial")
        frames = 1 if end.unit.kind == "image" else end.frames
        count = 0 if not ok else frames if folder == EMBEDDINGS else end.masks * frames
        return dict.fromkeys(OUTCOME_SCHEMA.names) | {
            "unit_id": end.unit.unit_id,
            "source_uri": end.unit.source_uri,
            "member": end.unit.member,
            "kind": end.unit.kind,
            "height": SIZE_HW[0] if ok else None,
            "width": SIZE_HW[1] if ok else None,
            "frames": frames if ok else None,
            "etag": end.unit.version,
            "model": "nano",
            "config_id": self.config_id,
            "run_id": run_id,
            "attempt": end.attempt,
            "masks": count * times,
            "model_s": 0.5,
            "status": "ok" if ok else "failed",
            "error_class": end.error_class,
            "error_message": None if ok else end.message,
            "supersedes": end.unit.supersedes,
            "user": list(end.unit.user.items()),
        }

    def finish(self) -> None:
        """Mark it as complete, if it is."""
        mark_success(self.store, standing(self.store, self.index()))

    def index(self):
        """The latest outcomes."""
        return latest_outcomes(self.store)


def _rows(end: Ended, folder: str) -> pa.Table:
    if end.rows is not None:
        return end.rows
    unit = end.unit
    frames = [None] if unit.kind == "image" else range(end.frames)
    tables = []
    for frame in frames:
        place = RowPlace(unit.unit_id, unit.source_uri, frame)
        if folder == EMBEDDINGS:
            values = np.arange(8, dtype=np.float16)
            tables.append(embedding_table(place, SIZE_HW, values, [2, 2, 2]))
        else:
            runs = encode_run_lengths(torch.from_numpy(masks_of(unit, end.masks)))
            columns = {
                "predicted_iou": [0.5] * end.masks,
                "label": [end.label] * end.masks,
                "object_id": end.objects or [None] * end.masks,
            }
            tables.append(rows_of_runs(place, runs, SIZE_HW, **columns))
    return pa.concat_tables(tables)


def make_output(folder: Path, units: int = 6) -> Output:
    """A complete output: pictures in two files, one of them failed and one without masks."""
    output = Output(LocalStore(folder))
    every = [picture(n) for n in range(units)]
    output.list(every, "index-1")
    half = units // 2
    output.commit([Ended(unit, masks=n) for n, unit in enumerate(every[:half])], "run-1")
    last = Ended(every[-1], error_class="corrupt")
    output.commit([*(Ended(unit) for unit in every[half:-1]), last], "run-1")
    output.finish()
    return output


def made_report(number: int = 1, **fields: object) -> RunReport:
    """What a run of 95 units may have left."""
    report = RunReport(
        run_id=f"run-{number}",
        config_id="c" * 32,
        started=1_700_000_000.0,
        ended=1_700_000_100.0,
        listed=Listed(110, {".txt": 2, "hidden": 1}, ("a.txt (.txt)",), ("run",)),
        merged=Merged(100, 1, 10, 0, ("part",)),
        standing=Standing(110, {"ok": 95, "corrupt": 3, "io": 4}),
        tally=Tally(
            {"ok": 90, "corrupt": 3, "io": 2},
            masks=4500,
            frames=90,
            seconds={"fetch": 5.0, "decode": 20.0, "model": 60.0, "pack": 1.0},
            elapsed_s=50.0,
            stop=None,
        ),
        exit_code=3,
        plan=CPU,
    )
    return replace(report, **fields)
