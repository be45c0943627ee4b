"""How far an output is, and who is at work on it.

Nothing is written but the copies of outcomes that killed processes had no time for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import sleep

from rich.table import Table

from . import lease
from .compact import broke_off
from .errors import StorageError
from .index_facts import superseded_ids
from .kept_config import kept_config
from .live_units import require_output
from .manifest import FOLDER
from .outcomes import latest_outcomes, mend_copies, result_names
from .report import RunReport, counted, duration, moment, read_reports, standing_rows
from .root import SUCCESS, USUAL_ATTEMPTS, Standing, allowed_attempts, standing
from .storage import Store
from .tables import amount, two_columns


@dataclass(frozen=True, slots=True)
class Status:
    """What can be told of an output from outside."""

    uri: str
    standing: Standing
    superseded: int
    files: int
    indexes: int
    reports: list[RunReport]
    at_work: str  # who holds the lease, in words
    is_marked: bool
    broke_off: bool  # a compaction
    unmended: str = ""  # why copies that are missing could not be made


def read_status(store: Store, *, watch_s: float = 1.2 * lease.BEAT_S) -> Status:
    """Look; a holder on another machine is watched for a beat."""
    require_output(store)
    unmended = ""
    try:
        mend_copies(store)
    except (OSError, StorageError) as error:  # whoever looks need not be who may write
        unmended = str(error).partition("\n")[0]
    return Status(
        store.uri,
        standing(store, latest_outcomes(store), _max_attempts(store)),
        len(superseded_ids(store)),
        sum(1 for _ in result_names(store)),
        sum(entry.name.endswith(".json") for entry in store.list(FOLDER)),
        read_reports(store),
        at_work(store, watch_s),
        store.exists(SUCCESS),
        broke_off(store),
        unmended,
    )


def status_table(status: Status) -> Table:
    """What `sam2ray status` shows."""
    return two_columns(status.uri, _rows(status))


def _rows(status: Status) -> Iterator[tuple[str, str]]:
    now = status.standing
    yield "units", f"{now.units:,} of {amount(status.indexes, 'listing')}"
    yield from standing_rows(now)
    if status.superseded:
        yield "superseded", f"{status.superseded:,}"
    yield "files", f"{status.files:,}"
    if now.is_complete and now.units:
        yield "complete", "yes" if status.is_marked else _unmarked(now)
    else:
        yield "complete", "no"
    if status.broke_off:
        yield "compaction", "broke off here: delete this root, and compact again"
    if status.unmended:
        yield "units/", f"copies are missing and cannot be made from here: {status.unmended}"
    yield "at work", status.at_work
    yield "runs", _runs(status.reports)


def _unmarked(now: Standing) -> str:
    if now.earns_mark:
        return "yes, but _SUCCESS is missing"
    if now.again:
        return f"no: the same command tries {now.again:,} of the failed units again"
    return "no: none could be read"


def _runs(reports: list[RunReport]) -> str:
    if not reports:
        return "none has ended yet"
    last = reports[-1]
    how = f"{last.units:,} units in {duration(last.seconds)}, exit {last.exit_code}"
    ended = {name: count for name, count in last.tally.ended.items() if name != "ok"}
    failed = f", failed: {counted(ended)}" if ended else ""
    return f"{len(reports):,}; the last, {last.run_id}, ended {moment(last.ended)}: {how}{failed}"


# ---------------------------------------------------------------- the lease


def at_work(store: Store, watch_s: float) -> str:
    """Who holds the lease: told by the process where it is on this machine, else by its beat."""
    number = lease.newest(store)
    holder = lease.read_holder(store, number)
    if holder is None or holder.ended:
        return "nobody"
    who = f"run {holder.run_id} (process {holder.pid} on {holder.host})"
    if lease.is_dead(holder, lambda _: False):
        return f"nobody: {who} is gone, the next run takes over at once"
    if lease.is_near(holder):
        return f"{who}, {_last_beat(holder)}"
    sleep(watch_s)
    now = lease.read_holder(store, number)
    if now is None or now.ended:
        return "nobody"
    if now.beat == holder.beat:
        return f"{who} shows no sign of life, {_last_beat(holder)}; the next run takes over"
    return f"{who}, {_last_beat(now)}"


def _last_beat(holder: lease.Holder) -> str:
    return f"last beat {moment(holder.beat_at)}" if holder.beat_at else f"beat {holder.beat}"


def _max_attempts(store: Store) -> int:
    """As often as the first run of this output tried units; nobody has to say it again."""
    try:
        said = kept_config(store).config.limits.max_attempts
    except FileNotFoundError:
        said = USUAL_ATTEMPTS
    return allowed_attempts(store, said)
