"""A source -> an index of its units, added to the manifest of an output; large ones in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add, itemgetter
from typing import Any, Protocol, TypeVar

from ray.exceptions import RayError

from .config import JobConfig
from .crash import explain_crash
from .dealt_lists import Dealt, beside_lists, dealt_list
from .index_facts import known_damages, known_shards, late_columns
from .listing_progress import ListingState, ListingWatch, unwatched
from .manifest import (
    Listed,
    ListingPlace,
    Merged,
    buckets_for,
    complete,
    forget,
    manifest_parts,
    merge_bucket,
)
from .ray_addresses import RayAddresses
from .readers.files import addressed
from .readers.prompts import PromptSource
from .readers.prompts.matching import PromptJoin
from .readers.slices import Ignored, Slice
from .readers.sources import Source, open_source
from .records import Unit
from .shares import cut, is_large_list
from .side_by_side import Answer, side_by_side
from .storage import Options, Store

_SEEN_EVERY = 1000  # entries that this process lists itself


class _Result(Protocol):
    """What a part of a listing came to."""

    def __add__(self, other: Any, /) -> Any: ...  # noqa: ANN401 Python 3.10 has no Self


Sum = TypeVar("Sum", bound=_Result)


def list_source(
    config: JobConfig,
    store: Store,
    index_id: str,
    still_mine: Callable[[], None] = lambda: None,
    addresses: RayAddresses | None = None,
    watch: ListingWatch = unwatched,
) -> tuple[Listed, Merged]:
    """List a source and add what is new in it; what was listed, and what that added.

    Until its last step nothing is added: whatever ends it before, the same command begins again.
    `addresses` keep what is secret of units: without them it is forgotten.
    """
    try:
        return _index(config, store, index_id, still_mine, addresses, watch)
    except RayError as error:
        raise explain_crash(error, store, index_id) from error


def _index(
    config: JobConfig,
    store: Store,
    index_id: str,
    still_mine: Callable[[], None],
    addresses: RayAddresses | None,
    watch: ListingWatch,
) -> tuple[Listed, Merged]:
    known, keep = tuple(manifest_parts(store)), config.source.keep
    place = ListingPlace(store, index_id, forget if addresses is None else addresses.keep)
    source = source_of(config)
    columns = Listed(
        keep=keep, late=late_columns(store, keep), looked_at=_now_of_damaged(source, store)
    )
    listed = columns + _list(source, place, watch)
    count = buckets_for(listed.units) if listed.runs else 0

    def merge(bucket: int) -> Merged:
        return merge_bucket(store, index_id, listed.runs, known, bucket, count)

    def tell(merged: Merged, done: int) -> None:
        compared = merged.added + merged.known + merged.duplicates
        watch(ListingState("compared with what is known", compared, done, count))

    merged = _sum(_work(merge, range(count)), Merged(), tell)
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
        ask_versions=config.source.ask_versions,
    )


def _list(source: Source, place: ListingPlace, watch: ListingWatch) -> Listed:
    watch(ListingState("looking at the source"))
    if source.prompts is not None:
        return _list_with_prompts(source, place, watch)
    found = list(source.slices())
    has_shards = any(piece.reader == "tar" for piece in found)
    known = known_shards(place.store, source.animations) if has_shards else {}
    slices = [piece for piece in found if not _is_known(piece, known, source.options)]
    large = [piece for piece in slices if is_large_list(piece)]
    shares = cut([piece for piece in slices if not is_large_list(piece)])
    counted = watch if len(shares) == 1 else unwatched  # else it is for tasks

    def write(number: int) -> Listed:
        units = _counted(_units(source, shares[number]), counted)
        return place.write(number, units)

    def tell(listed: Listed, done: int) -> None:
        watch(ListingState("listed", listed.entries, done, len(shares)))

    listed = _sum(_work(write, range(len(shares))), Listed(), tell)
    for piece in large:
        listed += _list_large(source, piece, place, len(shares), watch)
    return replace(listed, unchanged=len(found) - len(slices))


def _list_large(
    source: Source, piece: Slice, place: ListingPlace, first_run: int, watch: ListingWatch
) -> Listed:
    dealing = dealt_list(source, piece, place)

    def tell_rows(dealt: Dealt, done: int) -> None:
        watch(ListingState("rows of the list read", dealt.rows, done))

    dealt = _sum(dealing.deal(), Dealt(), tell_rows)

    def tell_units(listed: Listed, done: int) -> None:
        watch(ListingState("listed", listed.units, done, dealt.ranges))

    listed = _sum(dealing.join(dealt, first_run), beside_lists(piece) + dealt.beside, tell_units)
    for name in dealt.files:
        place.store.delete(name)
    return listed


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


def _units(source: Source, slices: Sequence[Slice]) -> Iterator[Unit | Ignored]:
    for piece in slices:
        yield from source.units(piece)


def _list_with_prompts(source: Source, place: ListingPlace, watch: ListingWatch) -> Listed:
    """Units and prompts meet in one process, in shares on its disk: any may belong to any."""
    join = source.join()

    def through(units: Iterator[Unit]) -> Iterator[Unit]:
        return _meet(join, units, source)

    listed = place.write(0, _counted(source.all_units(), watch), through)
    return replace(listed, note=join.report.describe())


def _meet(join: PromptJoin, units: Iterator[Unit], source: Source) -> Iterator[Unit]:
    return join.run(units, source.all_prompts())


def _counted(found: Iterable[Unit | Ignored], watch: ListingWatch) -> Iterator[Unit | Ignored]:
    for number, item in enumerate(found):
        if number % _SEEN_EVERY == 0:
            watch(ListingState("found", number))
        yield item


def _work(work: Callable[[int], Sum], numbers: range) -> Iterator[Answer[Sum]]:
    """What all pieces of work bring; one piece alone is done here, as it is sooner done."""
    if len(numbers) <= 1:
        return (Answer(number, work(number)) for number in numbers)
    return side_by_side(work, numbers)


def _sum(answers: Iterable[Answer[Sum]], start: Sum, tell: Callable[[Sum, int], None]) -> Sum:
    """All results together, as they would follow each other in one process."""
    came: list[Answer[Sum]] = []
    so_far = start
    for answer in answers:
        came.append(answer)
        so_far = so_far + answer.result
        tell(so_far, len(came))
    came.sort(key=itemgetter(0))
    return reduce(add, (answer.result for answer in came), start)
