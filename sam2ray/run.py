"""A run from its config to its exit code: take the root, list, work in waves, account."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from . import lease
from .cluster import ensure_ray
from .config import JobConfig
from .config_id import kept_settings
from .crash import explain_crash
from .heads import head_digest
from .interrupts import (
    EndStalled,
    longest_silence_s,
    raising_when_stalled,
    stopping_on_signals,
)
from .kept_config import pin_config
from .ledger import Tally
from .leftovers import sweep
from .listing import list_source, source_of
from .live_state import Watcher
from .outcomes import OutcomeIndex, latest_outcomes, mend_copies
from .patience import Patience
from .pipeline import run_wave
from .planner import Plan, remark_on_device, shape_of_wave
from .processes import Job, LoadLabeller, RunHandles, load_labeller, start_ledger
from .ray_addresses import RayAddresses, address_book
from .ray_jobs import RayJobs, this_driver
from .readers.sources import Source
from .report import RunReport, write_report
from .room_to_come import plan_with_room
from .root import (
    SUCCESS,
    Selection,
    Standing,
    Wave,
    allowed_attempts,
    new_run_id,
    standing,
    write_waves,
)
from .run_end import CRASHED, conclude
from .shared_disk import require_shared_disks
from .sinks.commit import Committer
from .sinks.result_files import EMBEDDINGS, MASKS, ResultPlace
from .stages.label import Stamp
from .stages.specs import prepare_spec
from .storage import Store, open_store
from .weights import weights_digest

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class RunContext:
    """What a run holds while it lasts."""

    config: JobConfig
    store: Store
    run_id: str
    held: lease.Lease
    config_id: str
    load: LoadLabeller
    weights: str  # their digest
    addresses: RayAddresses | None
    head: str | None  # its digest, where there is one


def run_job(
    config: JobConfig,
    chosen: Selection,
    watch: Watcher,
    load: LoadLabeller = load_labeller,
    *,
    say: Callable[[str], None] = lambda _words: None,
) -> RunReport:
    """Label what is due of a source; the same command again goes on where this one ended.

    `say` is told what the run starts on.
    `load` puts something else in the model's place, which the config_id knows nothing of: it is for
    measuring all that is around a model.
    """
    started = time.time()
    store = open_store(config.output.uri, config.store_options(), patience_with_output(config))
    source = source_of(config)  # what is wrong with it is said before anything else happens
    weights, head = weights_digest(config), head_digest(config)
    ensure_ray()
    plan, there = plan_with_room(config, say)
    say(f"{plan.in_words}; the cluster has {there}")
    if remark := remark_on_device(config, plan):
        say(remark)
    run_id = new_run_id()
    with holding(store, run_id) as held, addresses_of(source) as addresses:
        sweep(store)
        chosen = replace(chosen, max_attempts=allowed_attempts(store, chosen.max_attempts))
        require_shared_disks(config, store)
        own = pin_config(store, config, weights, head)
        context = RunContext(config, store, run_id, held, own, load, weights, addresses, head)
        still_mine = partial(lease.check_still_held, store, held.number)
        listed, merged = list_source(context.config, store, run_id, still_mine, addresses)
        tally = _work(context, plan, chosen, watch)
        mend_copies(store)
        now = standing(store, latest_outcomes(store), chosen.max_attempts)
        still_mine()
        end = conclude(store, run_id, now, tally, chosen, config.limits)
        report = RunReport(
            run_id=run_id,
            config_id=own,
            started=started,
            ended=time.time(),
            listed=listed,
            merged=merged,
            standing=now,
            tally=tally,
            exit_code=end.exit_code,
            plan=plan,
            advice=end.advice,
            settings=kept_settings(config),
        )
        write_report(store, report)
    return report


def _work(context: RunContext, plan: Plan, chosen: Selection, watch: Watcher) -> Tally:
    """Run wave after wave until nothing is due, or the run has to stop."""
    store, config = context.store, context.config
    mend_copies(store)
    outcomes = latest_outcomes(store)
    before = standing(store, outcomes, chosen.max_attempts)
    if not before.earns_mark:  # new units are listed
        store.delete(SUCCESS)
    ledger = start_ledger(config, plan.actors)
    try:
        with (
            stopping_on_signals(lambda words: ledger.stop.remote(words, CRASHED)),
            raising_when_stalled(longest_silence_s(config.limits.unit_timeout_s)) as tell,
            watching(ledger, before, watch, tell),
        ):
            for wave in _waves(context, outcomes, chosen):
                if tally_of(ledger).stop is None:  # else a signal came while it was planned
                    store.delete(SUCCESS)  # until it is known how what is tried again ends
                    job = make_job(context, plan, ledger)
                    run_wave(job, store.uri_of(wave.name), shape_of_wave(config, plan, wave))
                store.delete(wave.name)
                if tally_of(ledger).stop is not None:
                    break
            return tally_of(ledger)
    except RayError as error:
        raise explain_crash(error, store, context.run_id) from error
    finally:
        ray.kill(ledger)  # processes that are used again would keep it alive


def _waves(context: RunContext, outcomes: OutcomeIndex, chosen: Selection) -> Iterator[Wave]:
    size = context.config.limits.wave_units
    return write_waves(context.store, context.run_id, outcomes, chosen, size)


def make_job(context: RunContext, plan: Plan, ledger: ActorHandle) -> Job:
    """What each process of the run is told."""
    config = context.config
    place = ResultPlace(
        context.store, EMBEDDINGS if config.mode == "embed" else MASKS, context.run_id
    )
    return Job(
        config,
        plan,
        Stamp(config.model.name, context.config_id, context.run_id),
        prepare_spec(config),
        Committer(
            place,
            context.held.number,
            config.output.commit_every_units,
            config.output.commit_every_bytes,
            config.output.compression,
        ),
        RunHandles(context.run_id, ledger, config.limits.unit_timeout_s, context.addresses),
        context.load,
        context.weights,
        context.head,
    )


def patience_with_output(config: JobConfig) -> Patience:
    """More than with sources: what cannot be written was worked for, and ends the whole run."""
    return Patience(2 * config.fetch.attempts, config.fetch.backoff_s)


@contextmanager
def holding(store: Store, run_id: str) -> Iterator[lease.Lease]:
    """Hold an output's lease."""
    held = lease.acquire(store, this_driver(run_id), job_has_ended=RayJobs().has_ended)
    try:
        yield held
    finally:
        held.close()


@contextmanager
def addresses_of(source: Source) -> Iterator[RayAddresses | None]:
    """Where whole addresses are kept; None for sources that name nothing by signed ones."""
    if all(part.reader != "list" for part in source.parts):
        yield None
        return
    with address_book() as addresses:
        yield addresses


@contextmanager
def watching(
    ledger: ActorHandle, before: Standing, watch: Watcher, tell_silence: EndStalled
) -> Iterator[None]:
    """Ask the ledger how things stand, and show it."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_EVERY_S):
            tally = tally_of(ledger)
            watch(before, tally)
            tell_silence(tally.quiet_s)

    thread = threading.Thread(target=look, daemon=True, name="watch")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        watch(before, tally_of(ledger))


def tally_of(ledger: ActorHandle) -> Tally:
    """How the ledger says that things stand."""
    tally = ray.get(ledger.tally.remote())
    assert isinstance(tally, Tally)
    return tally
