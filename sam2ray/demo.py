"""A demo: a small archive is made, labelled in three modes, verified, marked and shown."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import dataset
from .cli_words import INCONSISTENT
from .cluster import ensure_ray
from .config import JobConfig
from .config_file import load_config
from .demo_archive import (
    CLICKS,
    CLIP,
    FIRST_FRAME,
    FRAMES,
    PICTURES,
    DemoFolder,
    demo_folder,
    make_archive,
)
from .demo_marks import ClipMarks, PictureMarks, mark_prompted, mark_tracked
from .errors import UsageError
from .kept_config import KeptConfig, has_config, kept_config
from .pages.page import Shown, open_shown, page_of
from .pages.page_file import write_page
from .pages.sample import modest_words
from .report import RunReport, duration
from .root import Selection
from .run import run_job
from .run_end import CRASHED, STOPPED_EARLY
from .storage import open_store
from .tables import harmless
from .verify import Findings, verify_output
from .weights import weights_digest

_CONFIG = "jobs/smoke_cpu"  # small, and the same on any machine
_PUBLISHED = "sam2.1_hiera_tiny"
_UNITS_SHOWN = 24

Marks = PictureMarks | ClipMarks
Judge = Callable[[DemoFolder, dataset.Dataset], Marks]


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the demo."""

    what: str
    mode: str
    source: Path
    output: Path
    prompts: Path | None = None
    judge: Judge | None = None  # where what is true is known

    @property
    def settings(self) -> JobConfig:
        """What `sam2ray run` would make of the command."""
        assigned = () if self.prompts is None else ("prompts.coordinates=pixels",)
        return load_config(
            _CONFIG,
            assigned,
            source=str(self.source),
            output=str(self.output),
            mode=self.mode,
            prompts=None if self.prompts is None else str(self.prompts),
        )

    def command(self) -> str:
        """The same run by hand."""
        words = ["run", _near(self.source), _near(self.output), "--config", _CONFIG]
        if self.prompts is not None:
            words += ["--mode", self.mode, "--prompts", _near(self.prompts)]
            words += ["--set", "prompts.coordinates=pixels"]
        return shlex.join([*own_name(), *words])


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A step that has ended."""

    step: Step
    report: RunReport
    findings: Findings
    kept: KeptConfig
    seconds: float
    marks: Marks | None

    @property
    def exit_code(self) -> int:
        """Of the run, else of its proof."""
        return self.report.exit_code or (0 if self.findings.is_consistent else INCONSISTENT)


def steps_in(folder: DemoFolder) -> list[Step]:
    """What a demo does."""
    path, pictures = folder.path, folder.pictures
    return [
        Step(f"all masks of {PICTURES} pictures", "auto", pictures, path / "all-masks"),
        Step(
            "a mask for each click",
            "prompt",
            pictures,
            path / "prompted",
            path / CLICKS,
            mark_prompted,
        ),
        Step(
            f"objects through {FRAMES} frames",
            "track",
            folder.clips,
            path / "tracked",
            path / FIRST_FRAME,
            mark_tracked,
        ),
    ]


def run_demo(place: str, out: Console, err: Console) -> int:
    """Do it all and say so; an exit code."""
    began = time.monotonic()
    folder = demo_folder(place)
    _refuse_other_settings(folder)
    with err.status("making an archive"):
        is_new = make_archive(folder)
    what = f"{PICTURES} pictures, {CLIP} and their prompts"
    how = "made in" if is_new else "there since an earlier demo, which goes on in"
    _say(out, f"{what}: {how} {_near(folder.path)}")
    with err.status("starting Ray"):
        ensure_ray()
    done: list[Done] = []
    for step in steps_in(folder):
        with err.status(harmless(step.what)):
            done.append(_do(folder, step))
        if done[-1].report.exit_code in (CRASHED, STOPPED_EARLY):
            break
    _write(folder, done)
    out.print(_table(done))
    _say_rest(out, folder, done, time.monotonic() - began)
    for one in done:
        for words in one.findings.complaints:
            _say(err, words)
        if one.report.exit_code and one.report.advice:
            _say(err, one.report.advice)
    return next((one.exit_code for one in done if one.exit_code), 0)


def _refuse_other_settings(folder: DemoFolder) -> None:
    """An earlier demo goes on with what it began with: weights change from release to release."""
    for step in steps_in(folder):
        store, config = open_store(str(step.output)), step.settings
        if has_config(store):
            differing = kept_config(store).differences(config, weights_digest(config))
            if differing:
                raise UsageError(
                    f"{folder.path}: the demo there was made with others of {', '.join(differing)}."
                    " Delete the folder, or give a new one: sam2ray demo OTHER_FOLDER."
                )


def _do(folder: DemoFolder, step: Step) -> Done:
    began = time.monotonic()
    config = step.settings
    report = run_job(config, Selection(config.limits.max_attempts), lambda _before, _tally: None)
    store = open_store(str(step.output))
    findings = verify_output(store)
    data = dataset.open(str(step.output))
    marks = step.judge(folder, data) if step.judge is not None and findings.standing.ok else None
    seconds = time.monotonic() - began
    return Done(step, report, findings, kept_config(store), seconds, marks)


def _write(folder: DemoFolder, done: Sequence[Done]) -> None:
    lead = (
        "An archive of a made world, labelled by sam2ray in three modes. What is true is known of "
        "such a world, so masks that were asked for are compared with it.",
    )
    write_page(folder.page, page_of("A demo of sam2ray", [*_shown(done)], lead))


def _shown(done: Iterable[Done]) -> Iterator[Shown]:
    for one in done:
        if one.findings.standing.ok or one.findings.standing.failed:
            notes = [] if one.marks is None else [f"{_as_sentence(one.marks.words)}."]
            yield open_shown(
                str(one.step.output),
                {},
                _UNITS_SHOWN,
                with_failures=True,
                heading=_as_sentence(one.step.what),
                notes=notes,
                command=one.step.command(),
            )


def _as_sentence(words: str) -> str:
    return words[0].upper() + words[1:]


def _table(done: Iterable[Done]) -> Table:
    table = Table()
    for name in ("what", "mode", "units", "masks", "seconds", "verified"):
        number = name in ("units", "masks", "seconds")
        table.add_column(name, justify="right" if number else "left")
    for one in done:
        findings = one.findings
        table.add_row(
            one.step.what,
            one.step.mode,
            f"{findings.standing.ok:,}",
            f"{findings.masks:,}",
            f"{one.seconds:.1f}",
            "consistent" if findings.is_consistent else "NOT consistent",
        )
    return table


def _say_rest(out: Console, folder: DemoFolder, done: Sequence[Done], seconds: float) -> None:
    """Marks, whether they mean anything, where the page is, and what to try next."""
    for one in done:
        if one.marks is not None:
            _say(out, f"{one.step.mode}: {one.marks.words}")
    modest = modest_words(one.kept for one in done)
    if modest is not None:
        _say(out, modest)
    _say(out, f"{duration(seconds)} in all. Look at {_near(folder.page)} in a browser.")
    _say(out, "")
    _say(out, "With the published weights, which are downloaded once:")
    for command in _next_commands(folder):
        _say(out, f"  {command}")
    _say(out, "With your own files name their folder instead; sam2ray run --help tells more.")


def _next_commands(folder: DemoFolder) -> Iterator[str]:
    better = _near(folder.path.with_name(f"{folder.path.name}-published"))
    name = own_name()
    yield shlex.join([*name, "run", _near(folder.pictures), better, "--model", _PUBLISHED])
    yield shlex.join([*name, "show", better, f"{better}.html"])


def _near(path: Path) -> str:
    """A path as it can be typed here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def own_name() -> list[str]:
    """How this command is called here, so that what is told to be typed works."""
    called = Path(sys.argv[0])
    if called.name != "sam2ray":
        return [sys.executable, "-m", "sam2ray"]
    found = shutil.which("sam2ray")
    is_on_path = found is not None and Path(found).resolve() == called.resolve()
    return ["sam2ray"] if is_on_path else [sys.argv[0]]


def _say(console: Console, words: str) -> None:
    console.print(harmless(words), soft_wrap=True)
