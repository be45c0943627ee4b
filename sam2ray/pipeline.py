"""The job as Ray Data runs it: todo -> prepare -> label -> commit, one row a unit all the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import RayTaskError

from .arrow_files import patient_file_system
from .commit_sink import CommitSink
from .errors import Sam2RayError
from .patience import causes, classify
from .planner import WaveShape
from .processes import Job, Labeller, prepare
from .readers.places import place_of
from .records import ErrorClass
from .storage import storage_error

_COMMITS_PER_ACTOR = 2  # at a time


def run_wave(job: Job, todo_uri: str, shape: WaveShape) -> None:
    """Label every unit of a todo file, and return when all of them are committed."""
    configure_ray_data()
    with _reading(todo_uri):
        _labelled(job, todo_uri, shape).write_datasink(
            CommitSink(job.committer, job.handles.ledger, shape.units_per_write),
            # Tasks that wait for a CPU wait for the preparing of pictures to pause: on few CPUs
            # that is the end of the run, and all that was labelled would be lost with it.
            ray_remote_args={"num_cpus": 0},
            concurrency=_COMMITS_PER_ACTOR * job.plan.actors,
        )


def _labelled(job: Job, todo_uri: str, shape: WaveShape) -> Dataset:
    """What is to be committed, as Ray Data plans it."""
    plan, resources = job.plan, job.config.resources
    options, place = job.prepare.storage, place_of(todo_uri)
    dataset = ray.data.read_parquet(
        todo_uri,
        filesystem=patient_file_system(place.folder, options) if "://" in todo_uri else None,
        num_cpus=plan.cpus_per_task,
    )
    # One file is one block, whatever the reader is told: without this one task gets all the work.
    dataset = dataset.repartition(target_num_rows_per_block=shape.units_per_block)
    dataset = dataset.map_batches(
        partial(prepare, spec=job.prepare, handles=job.handles),
        batch_size=shape.units_per_block,
        batch_format="pyarrow",
        num_cpus=plan.cpus_per_task,
        # Booked even where it is next to nothing: steps that book alike are fused into one, and
        # pictures would be decoded in the actors, one after the other with the model.
        memory=resources.decode_memory_bytes or 1,
    )
    return dataset.map_batches(
        Labeller,
        batch_size=shape.units_per_batch,
        batch_format="pyarrow",
        fn_constructor_args=(job,),
        compute=ActorPoolStrategy(
            size=plan.actors,
            max_tasks_in_flight_per_actor=3,
            # One has the model, the other writes down what it has seen (label.BatchLabeller).
            max_concurrent_calls_per_actor=2,
            enable_true_multi_threading=True,
        ),
        num_cpus=plan.cpus_per_actor,
        num_gpus=plan.gpus_per_actor or None,
        accelerator_type=resources.accelerator_type,
        label_selector=dict(resources.label_selector) or None,
    )


@contextmanager
def _reading(todo_uri: str) -> Iterator[None]:
    """The todo file is all that Ray itself reads: a store that says no to it speaks of it."""
    try:
        yield
    except (RayTaskError, OSError) as error:
        first = error.cause if isinstance(error, RayTaskError) else error
        is_ours = any(isinstance(cause, Sam2RayError) for cause in causes(first))
        is_refused = classify(first) in (ErrorClass.FORBIDDEN, ErrorClass.THROTTLED)
        if "://" in todo_uri and is_refused and not is_ours:
            raise storage_error(todo_uri, "read", first) from error
        raise


def configure_ray_data() -> None:
    """Settings of Ray Data that a job relies on."""
    context = DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # interrupts.raising_when_stalled knows more
    # One output a task: a replay passes over as many outputs as were taken, and cut by their bytes
    # they would hold other units where one of them failed that had not, or the other way round.
    context.target_max_block_size = None
    context.max_errored_blocks = 0  # errors are rows; a block that is dropped would lose units
    context.actor_init_retry_on_errors = True
    context.max_consecutive_actor_init_deaths = 3
    context.enable_progress_bars = False  # sam2ray shows its own
    context.raise_original_map_exception = True
