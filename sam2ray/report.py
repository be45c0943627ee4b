"""What a run did, as a file that is kept and a table that is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import Any, TypeVar

from rich.table import Table

from .errors import StorageError
from .ledger import Stop, Tally
from .manifest import Listed, Merged
from .planner import Plan
from .root import RUNS, Standing
from .storage import Store
from .tables import harmless, two_columns
from .waiting import Wait, what_it_waited_for

Made = TypeVar("Made")

_STAGES = {"fetch": "fetching", "decode": "decoding", "model": "the model", "pack": "packing"}


@dataclass(frozen=True, slots=True)
class _Span:
    seconds: float
    name: str
    part_s: float
    part: str


_SPANS = (_Span(86_400, "d", 3600, "h"), _Span(3600, "h", 60, "min"), _Span(60, "min", 1, "s"))


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run."""

    run_id: str
    config_id: str
    started: float
    ended: float
    listed: Listed
    merged: Merged
    standing: Standing
    tally: Tally
    exit_code: int
    plan: Plan | None = None
    advice: str = ""  # what to do next
    settings: Mapping[str, Any] = field(default_factory=dict)  # all, without storage and secrets

    @property
    def seconds(self) -> float:
        """How long it took, with listing and accounting."""
        return self.ended - self.started

    @property
    def units(self) -> int:
        """Units that ended in it, well or not."""
        return sum(self.tally.ended.values())

    @property
    def units_per_s(self) -> float:
        """Units that ended, by the time that there were models."""
        return self.units / self.tally.elapsed_s if self.tally.elapsed_s > 0 else 0.0

    @property
    def frames_per_s(self) -> float:
        """Frames with results, pictures too, by the same time."""
        return self.tally.frames / self.tally.elapsed_s if self.tally.elapsed_s > 0 else 0.0

    @property
    def waited_for(self) -> Wait | None:
        """What held it up."""
        if self.plan is None:
            return None
        return what_it_waited_for(self.tally.seconds, self.tally.elapsed_s, self.plan)


# ---------------------------------------------------------------- files


def write_report(store: Store, report: RunReport) -> None:
    """Keep a report with its output."""
    store.put(f"{RUNS}/{report.run_id}.json", json.dumps(as_json(report), indent=1).encode())


def as_json(report: RunReport) -> dict[str, Any]:
    """A report as plain values, with the figures that its table shows."""
    content = asdict(report)
    content["listed"].pop("runs")
    content["merged"].pop("parts")
    waited_for = report.waited_for
    content["figures"] = {
        "seconds": report.seconds,
        "units_per_s": report.units_per_s,
        "frames_per_s": report.frames_per_s,
        "model_busy": None if waited_for is None else waited_for.model_busy,
        "waited_for": None if waited_for is None else waited_for.stage,
    }
    return content


def read_reports(store: Store) -> list[RunReport]:
    """Reports of all runs of an output, oldest first."""
    depth = RUNS.count("/") + 1
    names = [e.name for e in store.list(RUNS) if e.name.endswith(".json")]
    return [_read(store, name) for name in sorted(names) if name.count("/") == depth]


def _read(store: Store, name: str) -> RunReport:
    try:
        return report_of(json.loads(store.read(name)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageError(
            f"{store.uri_of(name)}: is no report of a run ({error!r}). Move it away."
        ) from error


def report_of(content: Mapping[str, Any]) -> RunReport:
    """The report that was kept; what a later release may have added is passed over."""
    tally, plan = content["tally"], content.get("plan")
    stop = tally["stop"]
    return _made(
        RunReport,
        content,
        listed=_made(Listed, _with_tuples(content["listed"])),
        merged=_made(Merged, content["merged"]),
        standing=_made(Standing, content["standing"]),
        tally=_made(Tally, tally, stop=None if stop is None else _made(Stop, stop)),
        plan=None if plan is None else _made(Plan, plan),
    )


def _made(kind: type[Made], content: Mapping[str, Any], **parts: object) -> Made:
    names = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType]
    return kind(**{name: content[name] for name in names if name in content} | parts)


def _with_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON has as lists."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}


# ---------------------------------------------------------------- tables


def report_table(report: RunReport, uri: str) -> Table:
    """The table that ends a run."""
    return two_columns(uri, report_rows(report))


def report_rows(report: RunReport) -> Iterator[tuple[str, str]]:
    """What a report says, line by line."""
    now, tally = report.standing, report.tally
    yield "units", f"{now.units:,}"
    yield from standing_rows(now)
    if report.listed.ignored:
        yield "ignored files", counted(report.listed.ignored)
    if report.listed.note:
        yield "prompts", report.listed.note
    if report.listed.late:
        yield "columns", late_in_words(report.listed.late)
    yield "this run", _this_run(report)
    if report.units:
        rate = f"{report.units_per_s:,.2f} {tally.unit_name}/s"
        yield "rate", f"{rate}, {report.frames_per_s:,.1f} frames/s" if tally.of_clips else rate
    for stage, words in _STAGES.items():
        if tally.seconds.get(stage):
            yield f"seconds {words}", f"{tally.seconds[stage]:,.1f}"
    if report.waited_for is not None:
        yield "waited for", str(report.waited_for)
    if tally.stop is not None:
        yield "stopped", tally.stop.reason
    elif report.advice:
        yield "next", report.advice


def late_in_words(late: Sequence[str]) -> str:
    """That a column was named too late for some units."""
    return (
        f"{', '.join(late)}: units listed before this was named go without it; "
        "a new output would have it of all"
    )


def standing_rows(now: Standing) -> Iterator[tuple[str, str]]:
    """How units ended, the most frequent failure first."""
    yield "done", f"{now.ok:,}"
    for reason, count in sorted(now.ended.items(), key=lambda item: -item[1]):
        if reason != "ok":
            yield f"failed: {reason}", f"{count:,}"
    waiting = now.units - now.ok - now.failed
    if waiting:
        yield "waiting", f"{waiting:,}"


def _this_run(report: RunReport) -> str:
    added = report.merged.added
    found = f", {added:,} new in the manifest" if added else ""
    ended = f"{report.units:,} units, {report.tally.masks:,} masks"
    return f"{ended} in {duration(report.seconds)}{found}"


def reports_table(reports: Sequence[RunReport], uri: str) -> Table:
    """A line a run."""
    table = Table(title=harmless(uri), title_justify="left")
    for heading in ("run", "began", "took", "new", "done", "failed", "masks", "units/s", "exit"):
        text = heading in ("run", "began")
        table.add_column(heading, justify="left" if text else "right", no_wrap=text)
    for report in reports:
        ended, ok = report.tally.ended, report.tally.ended.get("ok", 0)
        table.add_row(
            harmless(report.run_id),
            moment(report.started),
            duration(report.seconds),
            f"{report.merged.added:,}",
            f"{ok:,}",
            counted({name: count for name, count in ended.items() if name != "ok"}) or "0",
            f"{report.tally.masks:,}",
            f"{report.units_per_s:,.2f}",
            str(report.exit_code),
        )
    return table


def counted(numbers: Mapping[str, int]) -> str:
    """`corrupt 12, io 3`: the most frequent first."""
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count:,}" for name, count in ranked)


def moment(seconds: float) -> str:
    """A time of a clock, in UTC."""
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def duration(seconds: float) -> str:
    """A span of time, with the two units that matter: 12.3 s, 4 min 5 s, 3 h 20 min, 2 d 1 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    span = next((span for span in _SPANS if seconds >= span.seconds), _SPANS[-1])
    large, small = divmod(round(seconds / span.part_s), round(span.seconds / span.part_s))
    return f"{large} {span.name} {small} {span.part}" if small else f"{large} {span.name}"
