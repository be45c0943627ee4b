"""Units -> their pixels at the size that the model wants; videos pass, their actor reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ..errors import UnitFailed, failure_by_surprise, is_of_the_job
from ..patience import Patience
from ..readers.locate import read_unit
from ..records import ErrorClass, Failure, Unit
from ..storage import Options
from ..unit_rows import WHOLE_URI, unit_of
from .columns import PREPARED_SCHEMA, TODO_SCHEMA
from .decode import DecodedPicture, DecodeMode, PictureLimits, decode_picture
from .faults import is_out_of_memory
from .fetch import fetch
from .hands import Hands

Row = dict[str, Any]
FindWhole = Callable[[Sequence[str]], list[str | None]]
"""Whole addresses by the source keys of units, where an address carries a secret."""


@dataclass(frozen=True, slots=True)
class PrepareSpec:
    """How pictures are fetched and decoded."""

    mode: DecodeMode
    model_px: int | None  # None: the picture's own pixels are needed, for crops
    limits: PictureLimits
    patience: Patience
    threads: int
    storage: Options


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    picture: DecodedPicture
    fetch_s: float
    decode_s: float


class Preparer:
    """Fetches and decodes the pictures of a batch, several at a time."""

    def __init__(
        self, spec: PrepareSpec, hands: Hands, find_whole: FindWhole | None = None
    ) -> None:
        self._spec = spec
        self._hands = hands
        self._find_whole = find_whole
        self._pool = ThreadPoolExecutor(spec.threads, thread_name_prefix="prepare")

    def __call__(self, todo: pa.Table) -> pa.Table:
        """One row in, one row out, in the same order."""
        units = self._with_whole_addresses([unit_of(row) for row in todo.to_pylist()])
        places = [n for n, unit in enumerate(units) if unit.kind == "image"]
        found: list[Row] = [{WHOLE_URI: unit.whole_uri} for unit in units]
        unit_ids, any_alone = [units[n].unit_id for n in places], False
        for group in self._hands.take(unit_ids):
            any_alone |= group.alone
            of_group = [places[n] for n in group.places]
            if group.refusal is not None or group.skipped:
                results = [_refused(group.refusal)] * len(of_group)
            else:
                results = list(self._pool.map(self._prepare, [units[n] for n in of_group]))
            for n, result in zip(of_group, results, strict=True):
                found[n] = result
        if any_alone:
            self._hands.hand_on(unit_ids)
        table = _beside(todo, found)  # a copy of all pixels: it may be what a process dies of
        self._hands.let_go(unit_ids)
        return table

    def _with_whole_addresses(self, units: list[Unit]) -> list[Unit]:
        if self._find_whole is None:
            return units
        wholes = self._find_whole([unit.source_key for unit in units])
        return [replace(unit, whole_uri=w) for unit, w in zip(units, wholes, strict=True)]

    def _prepare(self, unit: Unit) -> Row:
        try:
            with self._hands.working_on(unit.unit_id):
                return _columns_of(self._open(unit))
        except UnitFailed as failure:
            return _refused(Failure(failure.error_class, failure.message))
        except Exception as error:  # a bug of ours, and one picture's: it has a row
            if is_out_of_memory(error):
                return _refused(Failure(ErrorClass.OOM, f"decoding it: {error or 'out of memory'}"))
            if is_of_the_job(error):
                raise
            return _refused(failure_by_surprise(error))

    def _open(self, unit: Unit) -> _Prepared:
        spec = self._spec
        start = time.perf_counter()
        data = fetch(lambda: read_unit(unit, spec.storage, spec.limits.max_bytes), spec.patience)
        fetched = time.perf_counter()
        picture = decode_picture(data, mode=spec.mode, model_px=spec.model_px, limits=spec.limits)
        return _Prepared(picture, fetched - start, time.perf_counter() - fetched)


def _columns_of(prepared: _Prepared) -> Row:
    picture = prepared.picture
    return {
        "pixels": np.ascontiguousarray(picture.pixels).data.cast("B"),
        "pixel_type": picture.pixels.dtype.str,
        "pixel_shape": list(picture.pixels.shape),
        "is_resized": picture.resized,
        "height": picture.size_hw[0],
        "width": picture.size_hw[1],
        "exif_orientation": picture.exif_orientation,
        "fetch_s": prepared.fetch_s,
        "decode_s": prepared.decode_s,
    }


def _refused(failure: Failure | None) -> Row:
    if failure is None:
        return {"skipped": True}
    return {"error_class": failure.error_class.value, "error_message": failure.message}


def _beside(todo: pa.Table, found: list[Row]) -> pa.Table:
    """The units with what was found out about each."""
    added = list(PREPARED_SCHEMA)[len(TODO_SCHEMA) :]
    arrays = [pa.array([row.get(field.name) for row in found], field.type) for field in added]
    return pa.table([*todo.cast(TODO_SCHEMA).columns, *arrays], schema=PREPARED_SCHEMA)
