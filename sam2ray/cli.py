"""The command `sam2ray`. What is heavy is loaded by the command that needs it."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from . import cli_export, cli_learning, cli_pages
from .cli_options import (
    Assign,
    Config,
    Keep,
    Mode,
    NewOut,
    Out,
    Prompts,
    Source,
    columns_in,
    output_at,
    reached,
    require_source,
    settings_from,
    store_at,
)
from .cli_words import (
    INCONSISTENT,
    WithOptionalValue,
    classes_in,
    complain,
    console,
    said_in_words,
)
from .errors import UsageError
from .storage import Store

if TYPE_CHECKING:
    from .config import JobConfig
    from .root import Selection

app = typer.Typer(
    help="From an archive of images and videos to a dataset of masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(shown: bool) -> None:
    if shown:
        console().print(f"sam2ray {version('sam2ray')}")
        raise typer.Exit


@app.callback()
def main_options(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """From an archive of images and videos to a dataset of masks."""


# ---------------------------------------------------------------- jobs


@app.command(cls=WithOptionalValue)
@said_in_words
def run(
    source: Source = None,
    output: NewOut = None,
    mode: Mode = None,
    model: Annotated[
        str | None, typer.Option(help="A released model, see `sam2ray models`.", metavar="NAME")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: path or URL.", metavar="PATH")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="A head of classes, for mode semantic: path or URL.", metavar="FILE"),
    ] = None,
    prompts: Prompts = None,
    keep: Keep = None,
    config: Config = None,
    assign: Assign = None,
    retry_failed: Annotated[
        str | None,
        typer.Option(
            help="Try failed units again that would be left alone: all of them, or =CLASS,...",
            metavar="[=CLASS,...]",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Do at most so many units.", metavar="N")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Refuse an OUT that holds anything.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")
    ] = False,
) -> None:
    """Label an archive. The same command again goes on where it ended.

    Exit codes: 0 all that was asked for is done, 3 some failed, 4 stopped early, 2 bad usage, 1
    crashed or stopped.
    """
    settings = settings_from(
        source,
        output,
        config,
        assign,
        mode=mode,
        model=model,
        checkpoint=checkpoint,
        head=head,
        prompts=prompts,
        keep=columns_in(keep),
    )
    from .root import Selection

    chosen = Selection(settings.limits.max_attempts, classes_in(retry_failed), limit)
    store = reached(settings.output.uri, settings.store_options())
    if fresh and any(store.list()):
        raise UsageError(f"--fresh wants a new root, and {store.uri} holds files: name another.")
    require_source(settings)
    if dry_run:
        _show_plan(settings, store, chosen)
        return
    raise typer.Exit(_run(settings, chosen))


def _run(settings: JobConfig, chosen: Selection) -> int:
    from .config_section import public_uri
    from .metrics import RunGauges
    from .progress import RunProgress, told_to_all
    from .report import report_table
    from .run import run_job
    from .run_end import CRASHED, STOPPED_EARLY

    uri = public_uri(settings.output.uri)
    with RunProgress(console(stderr=True), chosen) as progress:
        report = run_job(
            settings, chosen, told_to_all(progress, RunGauges(uri, chosen)), say=progress.say
        )
    console().print(report_table(report, uri))
    if report.advice and report.exit_code in (CRASHED, STOPPED_EARLY):
        complain(f"sam2ray: {report.advice}")
    return report.exit_code


def _show_plan(settings: JobConfig, store: Store, chosen: Selection) -> None:
    from .cluster import cluster, ensure_ray
    from .dry_run import plan_table, prospect
    from .heads import head_digest
    from .kept_config import refuse_another_config
    from .root import allowed_attempts
    from .weights import weights_digest

    refuse_another_config(store, settings, weights_digest(settings), head_digest(settings))
    allowed = allowed_attempts(store, chosen.max_attempts)
    seen = prospect(settings, store, replace(chosen, max_attempts=allowed))
    ensure_ray()
    console().print(plan_table(settings, cluster(), seen, store))


@app.command()
@said_in_words
def index(
    source: Source = None,
    output: NewOut = None,
    mode: Mode = None,
    prompts: Prompts = None,
    keep: Keep = None,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """List an archive, and add what is new to the manifest of OUT. Nothing is labelled."""
    settings = settings_from(
        source, output, config, assign, mode=mode, prompts=prompts, keep=columns_in(keep)
    )
    store = reached(settings.output.uri, settings.store_options())
    require_source(settings)
    from . import lease
    from .index_table import index_table, unmark_if_more_waits
    from .kept_config import refuse_another_listing
    from .leftovers import sweep
    from .listing import list_source
    from .listing_progress import ListingProgress
    from .root import allowed_attempts, new_run_id

    index_id = new_run_id()
    with closing(lease.acquire(store, lease.this_process(index_id))) as held:
        sweep(store)
        refuse_another_listing(store, settings)
        still_mine = partial(lease.check_still_held, store, held.number)
        with ListingProgress(console(stderr=True)) as watch:
            listed, merged = list_source(settings, store, index_id, still_mine, watch=watch)
        unmark_if_more_waits(store, allowed_attempts(store, settings.limits.max_attempts))
    console().print(index_table(store.uri, listed, merged))


# ---------------------------------------------------------------- outputs


@app.command()
@said_in_words
def status(output: Out, config: Config = None, assign: Assign = None) -> None:
    """Show how far an output is, and who is at work on it."""
    from .status import read_status, status_table

    console().print(status_table(read_status(output_at(output, config, assign))))


@app.command()
@said_in_words
def report(
    output: Out,
    every: Annotated[bool, typer.Option("--all", help="All runs, a line each.")] = False,
    run_id: Annotated[
        str | None, typer.Option("--run", help="This run, not the last.", metavar="RUN_ID")
    ] = None,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """Show what a run did."""
    from .report import read_reports, report_table, reports_table

    store = output_at(output, config, assign)
    reports = read_reports(store)
    if run_id is not None:
        reports = [one for one in reports if one.run_id == run_id]
    if not reports:
        which = "no run has ended here" if run_id is None else f"run {run_id} did not end here"
        raise UsageError(f"{store.uri}: {which}, see `sam2ray status {store.uri}`.")
    if every:
        console().print(reports_table(reports, store.uri))
    else:
        console().print(report_table(reports[-1], f"{store.uri}, run {reports[-1].run_id}"))


@app.command()
@said_in_words
def verify(output: Out, config: Config = None, assign: Assign = None) -> None:
    """Prove that an output is whole: every unit once, every mask readable. Exit 0, or 5 if not."""
    from .progress import FileProgress
    from .verify import verify_output

    store = output_at(output, config, assign)
    progress = FileProgress(console(stderr=True))
    findings = verify_output(store, lambda done, of: progress("verified", done, of))
    for words in findings.complaints:
        complain(words)
    if findings.unsaid:
        complain(f"... and {findings.unsaid:,} more")
    console().print(findings.summary, soft_wrap=True)
    raise typer.Exit(0 if findings.is_consistent else INCONSISTENT)


@app.command()
@said_in_words
def compact(
    output: Out,
    new_root: Annotated[str, typer.Argument(metavar="NEW_ROOT", help="A place that is empty.")],
    target_bytes: Annotated[
        int, typer.Option(min=1 << 20, help="Size of the new files.", metavar="BYTES")
    ] = 256 << 20,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """Write a second output of few large files, without superseded units and earlier attempts."""
    from .compact import compact_output
    from .compact_table import compact_table
    from .progress import FileProgress

    old = output_at(output, config, assign)
    new = store_at(new_root, config, assign)
    progress = FileProgress(console(stderr=True))
    compacted = compact_output(old, new, target_bytes=target_bytes, watch=progress)
    console().print(compact_table(new.uri, compacted))


app.command()(cli_export.export)
app.command()(cli_pages.show)
app.command()(cli_pages.demo)


# ---------------------------------------------------------------- learning


app.command()(cli_learning.train)
app.command()(cli_learning.evaluate)


# ---------------------------------------------------------------- facts


@app.command()
@said_in_words
def models() -> None:
    """Show the models that can be asked for, and whether their weights are here."""
    from .models_table import models_table

    console().print(models_table())


@app.command()
@said_in_words
def schema() -> None:
    """Print the JSON Schema of config files, for editors."""
    from .config_id import schema_text

    sys.stdout.write(schema_text())


def main() -> None:
    """The entry point."""
    app()
