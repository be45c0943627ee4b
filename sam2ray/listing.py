"""A source -> an index of its units, added to the manifest of an output; large ones in parallel."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import ray

from .cluster import ensure_ray
from .config import JobConfig
from .manifest import (
    Listed,
    Merged,
    buckets_for,
    complete,
    forget,
    known_damages,
    known_shards,
    late_columns,
    manifest_parts,
    merge_bucket,
    write_runs,
)
from .ray_addresses import RayAddresses
from .readers.files import addressed
from .readers.prompts import PromptSource
from .readers.prompts.matching import PromptJoin
from .readers.slices import Slice
from .readers.sources import Source, open_source
from .records import Unit
from .storage import Options, Store

_SLICES_A_TASK = 64
_WORTH_TASKS = 2 * _SLICES_A_TASK  # fewer are listed sooner than tasks are started

Result = TypeVar("Result", Listed, Merged)


def list_source(
    config: JobConfig,
    store: Store,
    index_id: str,
    still_mine: Callable[[], None] = lambda: None,
    addresses: RayAddresses | None = None,
) -> tuple[Listed, Merged]:
    """List a source and add what is new in it; what was listed, and what that added.

    `addresses` keep what is secret of units: without them it is forgotten.
    """
    known, keep = tuple(manifest_parts(store)), config.source.keep
    source = source_of(config)
    columns = Listed(
        keep=keep, late=late_columns(store, keep), looked_at=_now_of_damaged(source, store)
    )
    listed = columns + _list(source, store, index_id, addresses)
    count = buckets_for(listed.units) if listed.runs else 0

    def merge(bucket: int) -> Merged:
        return merge_bucket(store, index_id, listed.runs, known, bucket, count)

    merged = _sum(merge, list(range(count)), Merged(), in_tasks=count > 1)
    complete(store, index_id, config.source.uri, listed, merged, still_mine)
    return listed, merged


def source_of(config: JobConfig) -> Source:
    """The readers of a job's source."""
    prompts = None
    if config.mode in ("prompt", "track"):
        told = config.prompts
        format_ = told.read_as()
        prompts = PromptSource(
            uri=told.file,
            coordinates=told.coordinates,
            format="auto" if format_ == "columns" else format_,
            box_format=told.box_format,
            use=told.use,
            uri_column=told.uri_column,
        )
    return open_source(
        config.source.uri,
        config.store_options(),
        kind=config.source.kind,
        keep=config.source.keep,
        uri_column=config.source.uri_column,
        bytes_column=config.source.bytes_column,
        prompts=prompts,
        animations="video" if config.mode in ("track", "auto_track") else "image",
    )


def _list(source: Source, store: Store, index_id: str, addresses: RayAddresses | None) -> Listed:
    keep_whole = forget if addresses is None else addresses.keep
    if source.prompts is not None:
        return _list_with_prompts(source, store, index_id, keep_whole)
    found = list(source.slices())
    known = known_shards(store) if any(piece.reader == "tar" for piece in found) else {}
    slices = [piece for piece in found if not _is_known(piece, known, source.options)]
    groups = [slices[i : i + _SLICES_A_TASK] for i in range(0, len(slices), _SLICES_A_TASK)]

    def write(number: int) -> Listed:
        found = _units(source, groups[number])
        return write_runs(store, index_id, number, found, keep_whole=keep_whole)

    start = Listed(unchanged=len(found) - len(slices))
    return _sum(write, list(range(len(groups))), start, in_tasks=len(slices) > _WORTH_TASKS)


def _now_of_damaged(source: Source, store: Store) -> dict[str, str]:
    """The versions of files that were damaged once: where they are as they were, they still are."""
    damaged = {damage.source_uri for damage in known_damages(store)}
    if not damaged:
        return {}
    with_files = (piece for piece in source.slices() if piece.files)
    files = (one for piece in with_files for one in addressed(piece, source.options))
    return {one.name: one.version for one in files if one.name in damaged}


def _is_known(piece: Slice, versions: Mapping[str, str], options: Options) -> bool:
    """Whether a slice is a shard as the latest index has seen it: reading it brings nothing."""
    if piece.reader != "tar":
        return False
    return all(versions.get(one.name) == one.version for one in addressed(piece, options))


def _units(source: Source, slices: Sequence[Slice]) -> Iterator[Any]:
    for piece in slices:
        yield from source.units(piece)


def _list_with_prompts(
    source: Source, store: Store, index_id: str, keep_whole: Callable[[Sequence[Unit]], None]
) -> Listed:
    """Units and prompts meet in one process, in shares on its disk: any may belong to any."""
    join = source.join()

    def through(units: Iterator[Unit]) -> Iterator[Unit]:
        return _meet(join, units, source)

    listed = write_runs(store, index_id, 0, source.all_units(), through, keep_whole)
    return replace(listed, note=join.report.describe())


def _meet(join: PromptJoin, units: Iterator[Unit], source: Source) -> Iterator[Unit]:
    return join.run(units, source.all_prompts())


def _sum(
    work: Callable[[int], Result], numbers: Sequence[int], start: Result, *, in_tasks: bool
) -> Result:
    """What all pieces of work bring together, done by Ray Data where it is worth it."""
    if not in_tasks:
        return sum(map(work, numbers), start)
    ensure_ray()
    dataset = ray.data.from_items([{"number": number} for number in numbers])
    rows = dataset.repartition(len(numbers)).map(
        lambda row: {"result": pickle.dumps(work(row["number"]))}
    )
    return sum((pickle.loads(row["result"]) for row in rows.iter_rows()), start)  # noqa: S301 ours
