"""How a job runs: how bytes are fetched, what of a cluster it takes, and when it gives up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .config_section import Section, Share, Text, run

Auto = Literal["auto"]


class Fetch(Section):
    """How bytes come from a store."""

    attempts: int = run(5, "Tries for one file before its unit fails.", ge=1, le=100)
    timeout_s: float = run(60.0, "Longest silence of a store before it is asked again.", gt=0)
    backoff_s: float = run(0.5, "First pause between tries; each further one is twice it.", ge=0)
    threads: int = run(16, "Pictures one task fetches and decodes at a time.", ge=1, le=1024)


class Resources(Section):
    """What of the cluster the job takes."""

    actors: Annotated[int, Field(ge=1)] | Auto = run(
        "auto", "Processes that hold a model; auto: as many as there is room for."
    )
    wait_s: float = run(
        0.0,
        "How long to wait for nodes, where there is no room yet for the actors asked for.",
        ge=0,
    )
    gpus_per_actor: Share | Auto = run(
        "auto", "Share of a GPU each takes; 0: none; auto: one where the cluster has GPUs."
    )
    cpus_per_actor: float = run(1.0, "CPUs each takes.", ge=0)
    threads_per_actor: Annotated[int, Field(ge=1, le=1024)] | Auto = run(
        "auto", "Threads torch computes with; auto: as many as cpus_per_actor, at least 1."
    )
    batch_size: int = run(8, "Images the model gets at once; memory follows it.", ge=1)
    video_lanes: int = run(4, "Videos one actor tracks side by side.", ge=1)
    decode_cpus: float = run(1.0, "CPUs a fetch and decode task takes.", gt=0)
    decode_memory_bytes: int | None = run(
        None, "Memory a fetch and decode task books; null: none.", ge=1
    )
    accelerator_type: Text | None = run(None, "Kind of GPU, such as H100; null: any.")
    label_selector: dict[str, str] = run({}, "Labels of the nodes that actors may run on.")


class Limits(Section):
    """When a unit, and when the whole run, is given up."""

    unit_timeout_s: float = run(
        600.0,
        "A process that is so long at one picture, or one frame, is ended; at a batch as many "
        "times as long.",
        gt=0,
    )
    max_attempts: int = run(3, "Times a unit is tried in all, over all runs.", ge=1)
    max_failed_fraction: Share = run(
        0.5, "More retryable failures than this, of at least stop_window units, end the run."
    )
    accepted_failed_fraction: Share = run(
        0.0, "Exit code 0 while no larger part of all units has failed; with more it is 3."
    )
    stop_window: int = run(
        200, "So many units in a row with a retryable failure end the run.", ge=1
    )
    wave_units: int = run(
        1_000_000, "Units of one Ray dataset, one after another; fewer of large prompts.", ge=1
    )
