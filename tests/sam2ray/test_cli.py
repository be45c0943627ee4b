"""What the command prints and how it exits: for right words, and for wrong ones of many kinds."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from made_outputs import Output, made_report, make_output, picture
from rich.console import Console
from typer.testing import CliRunner

from sam2ray import cli_words, lease
from sam2ray.cli import app
from sam2ray.cli_words import classes_in, exit_code_of, said_in_words, with_values
from sam2ray.errors import StorageError, UsageError
from sam2ray.records import ErrorClass
from sam2ray.report import write_report
from sam2ray.root import SUCCESS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with what a user may have: pictures, an output, other things."""
    place = tmp_path_factory.mktemp("place")
    (place / "pics").symlink_to(pictures)
    make_output(place / "out")
    (place / "empty").mkdir()
    (place / "text").mkdir()
    (place / "text/a.txt").write_text("a")
    (place / "file").write_text("x")
    (place / "torn.yaml").write_text("mode: [\n")
    (place / "odd.yaml").write_text("mode: auto\nmodel:\n  naem: nano\n")
    (place / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    return place


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(place / "none"))
    return place


def _call(words: str) -> Result:
    return CliRunner().invoke(app, shlex.split(words))


def _said(result: Result) -> str:
    return " ".join(result.stderr.split())


def _shown(result: Result) -> str:
    """What was printed, wherever a long path made it break its lines."""
    return " ".join(result.stdout.split())


# ---------------------------------------------------------------- wrong words

WRONG = {
    "run": "SOURCE and OUT are missing: name the archive and the place for its masks, as in",
    "run pics": "OUT is missing: name the archive",
    "run missing new": "missing: there is no such file or folder",
    "run text new": "text holds no known media",
    "run pics new --mode aoto": "--mode=aoto: must be 'auto', .*; did you mean auto?",
    "run pics new --model nanoo": "No model is called 'nanoo'. Did you mean 'nano'?",
    "run pics new --set masks.points=3": "--set masks.points is not a setting; did you mean",
    "run pics new --set masks.points_per_side=many": "points_per_side=many: must be an integer",
    "run pics new --set nothing": "--set nothing: write setting=value",
    "run pics new --set storage.s3.pasword=hunter2": "--set storage.s3.pasword is not a setting",
    "run pics new --config missing.yaml": "missing is neither a file nor a shipped config",
    "run pics new --config jobs/all_mask": "did you mean jobs/all_masks?",
    "run pics new --config torn.yaml": "torn.yaml:2: ",
    "run pics new --config odd.yaml": "odd.yaml:3: model.naem is not a setting; did you mean",
    "run pics new --config binary.yaml": "binary.yaml is not UTF-8 at byte 0",
    "run --config jobs/all_masks": "source.uri is missing",
    "run pics new --retry-failed=corupt": "there is no class 'corupt'; write all, or some of",
    "run pics new --limit 0": "Invalid value for '--limit'",
    "run pics new --limit many": "Invalid value for '--limit'",
    "run pics out --fresh": "--fresh wants a new root, and .*out holds files: name another",
    "run pics file": "file: .*file is a file; name a folder",
    "run pics file/below": "file/below: .*file is a file; name a folder",
    "run pics gopher://x/y": "gopher:// is no kind of storage known here",
    "run pics s3://nobodys-bucket/out": "cannot be reached: Unable to locate credentials",
    "run s3://nobodys-bucket/pics new": "cannot be reached: Unable to locate credentials",
    "run pics new --keep caption": "files have no columns to keep",
    "run pics new --prompts p.json": "--prompts is not read in mode auto",
    "run pics new --mode prompt": "files have no columns of prompts; name a file of them",
    "run pics new --mode semantic": "semantic.head is missing: mode semantic needs the head",
    "run pics new --mode semantic --head missing --dry-run": "missing: no such file",
    "run pics new --mode semantic --head file --dry-run": "file: is no safetensors file",
    "run pics new --head head": "--head is not read in mode auto: write semantic",
    "evaluate world --head missing": "missing: no such file",
    "run pics new --checkpoint missing.pt --dry-run": "missing.pt: No such file",
    "run pics out --model nano --set masks.points_per_side=7 --dry-run": (
        "holds results of another config; what differs: masks.points_per_side"
    ),
    "run pics new --modle nano": "No such option: --modle",
    "run pics new more": "unexpected extra arguments: 'more'. A shell writes out patterns",
    "run a.jpg b.jpg c.jpg new": "unexpected extra arguments: 'c.jpg' and 1 more",
    "rnu pics new": "No such command 'rnu'. Did you mean 'run'?",
    "index pics": "OUT is missing",
    "index missing new": "missing: there is no such file or folder",
    "status": "Missing argument 'OUT'",
    "status missing": "missing is no output of sam2ray: it has no _sam2ray/",
    "status file": "is a file; name a folder",
    "report empty": "empty is no output of sam2ray",
    "report out": "out: no run has ended here, see `sam2ray status",
    "report out --run run-9": "run run-9 did not end here",
    "verify empty": "empty is no output of sam2ray",
    "verify s3://nobodys-bucket/out": "cannot be reached: Unable to locate credentials",
    "show empty": "empty is no output of sam2ray",
    "show out photo.jpg": "photo.jpg: give the name of a page, such as masks.html",
    "show out nowhere/a.html": "there is no folder .*nowhere",
    "show out a.html --units 0": "Invalid value for '--units'",
    "show s3://nobodys-bucket/out": "cannot be reached: Unable to locate credentials",
    "demo text": "text: holds something else than an earlier demo .a.txt., which stays as it is",
    "demo file": "file: .*file is a file; give a folder that is new or empty",
    "demo s3://bucket/demo": "a demo runs on this machine",
    "compact out": "Missing argument 'NEW_ROOT'",
    "compact empty new": "empty is no output of sam2ray",
    "compact out text": "text: is not empty, and nothing is written over. Name a new root",
    "compact out out/inside": "out/inside: must lie outside",
    "compact out new --target-bytes 10": "Invalid value for '--target-bytes'",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_words_end_with_one_message_that_says_what_to_do(here: Path, words: str):
    before = {path.name for path in here.iterdir()}
    result = _call(words)
    assert result.exit_code == 2, result.output
    assert re.search(WRONG[words], _said(result)), result.stderr
    assert "Traceback" not in result.output
    assert "hunter2" not in result.output
    assert result.stdout == ""
    assert {path.name for path in here.iterdir()} == before, "it wrote something"


def test_no_words_show_help(here: Path):
    result = _call("")
    assert result.exit_code == 2
    for command in ("run", "index", "status", "report", "verify", "compact", "models", "schema"):
        assert command in result.output
    for command in ("show", "demo"):
        assert command in result.output


@pytest.mark.parametrize(
    "command", ["run", "index", "status", "report", "verify", "compact", "show"]
)
def test_every_command_explains_itself(command: str):
    result = _call(f"{command} --help")
    assert result.exit_code == 0
    assert "OUT" in result.stdout


def test_the_version_is_shown():
    assert _call("--version").stdout.startswith("sam2ray 0.")


def test_a_root_in_use_is_refused(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    output = make_output(tmp_path / "out")
    with closing(lease.acquire(output.store, lease.this_process("run-7"))):
        result = _call(f"index pics {tmp_path}/out")
    assert result.exit_code == 2
    assert "run run-7 is writing to it" in _said(result)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (StorageError("x"), 1),
        (PermissionError(13, "Permission denied", "/out"), 1),
        (OSError(28, "No space left on device", "/out"), 1),
        (ZeroDivisionError("x"), None),
        (OSError(5, "Input/output error"), None),
    ],
)
def test_what_is_said_in_words_and_what_keeps_its_traceback(error: Exception, code: int | None):
    assert exit_code_of(error) == code


def test_errors_of_the_core_and_of_stores_are_said_in_words():
    from botocore.exceptions import EndpointConnectionError

    from sam2_core import ConfigError, DownloadFailed

    assert exit_code_of(ConfigError("x")) == 2
    assert exit_code_of(DownloadFailed("x")) == 1
    assert exit_code_of(EndpointConnectionError(endpoint_url="http://x")) == 1


def test_a_bug_keeps_its_traceback():
    @said_in_words
    def broken() -> None:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        broken()


def test_messages_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]):
    cli_words.complain("a\x1b[2Jb [bold]c[/bold]")
    assert capsys.readouterr().err == "a\\x1b[2Jb [bold]c[/bold]\n"


# ---------------------------------------------------------------- --retry-failed

OPTIONAL = cli_words.WithOptionalValue.optional


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        ("--retry-failed pics out", "--retry-failed=all pics out"),
        ("pics out --retry-failed", "pics out --retry-failed=all"),
        ("pics out --retry-failed --limit 3", "pics out --retry-failed=all --limit 3"),
        ("pics out --retry-failed=corrupt", "pics out --retry-failed=corrupt"),
        ("--retry-failed corrupt,io pics out", "--retry-failed=corrupt,io pics out"),
        ("--retry-failed all pics out", "--retry-failed=all pics out"),
        ("pics -- --retry-failed", "pics -- --retry-failed"),
        ("pics out", "pics out"),
    ],
)
def test_retry_failed_may_stand_alone(args: str, meant: str):
    assert with_values(args.split(), OPTIONAL) == meant.split()


def test_classes_are_named_with_commas():
    assert classes_in(None) == frozenset()
    assert classes_in("all") == frozenset(ErrorClass)
    assert classes_in("corrupt, io") == {ErrorClass.CORRUPT, ErrorClass.IO}


# ---------------------------------------------------------------- commands that need no cluster


def test_an_index_lists_what_is_new_and_takes_the_mark_away(here: Path, tmp_path: Path):
    first = _call(f"index pics {tmp_path}/new")
    assert first.exit_code == 0, first.output
    assert "added" in first.stdout
    assert ".txt 1, such as " in first.stdout
    again = _call(f"index pics {tmp_path}/new")
    assert "known │ 11".replace(" ", "") in again.stdout.replace(" ", "")
    output = make_output(tmp_path / "out")
    _call(f"index pics {tmp_path}/out")
    assert not output.store.exists(SUCCESS)


def test_an_index_that_would_supersede_everything_is_refused(here: Path, tmp_path: Path):
    output = make_output(tmp_path / "out")
    before = {entry.name for entry in output.store.list("_sam2ray/manifest")}
    result = _call(f"index pics {tmp_path}/out --mode embed")
    assert result.exit_code == 2
    assert "what differs: mode" in result.stderr
    assert {entry.name for entry in output.store.list("_sam2ray/manifest")} == before


def test_a_status_and_a_report_are_shown(here: Path, tmp_path: Path):
    output = make_output(tmp_path / "out")
    for number in (1, 2):
        write_report(output.store, made_report(number))
    status = _call(f"status {tmp_path}/out")
    assert status.exit_code == 0
    assert "failed: corrupt" in status.stdout
    assert "run run-2" in _shown(_call(f"report {tmp_path}/out"))
    assert "run run-1" in _shown(_call(f"report {tmp_path}/out --run run-1"))
    every = _call(f"report {tmp_path}/out --all").stdout
    assert "run-1" in every
    assert "run-2" in every


def test_verify_exits_0_or_5(here: Path, tmp_path: Path):
    output = make_output(tmp_path / "out")
    fine = _call(f"verify {tmp_path}/out")
    assert (fine.exit_code, fine.stderr) == (0, "")
    assert "consistent: 6 units (5 done, 1 failed)" in fine.stdout
    output.store.delete(SUCCESS)
    broken = _call(f"verify {tmp_path}/out")
    assert broken.exit_code == 5
    assert "_SUCCESS: is missing" in broken.stderr
    assert "NOT consistent" in broken.stdout


def test_compact_says_what_became_of_files(here: Path, tmp_path: Path):
    make_output(tmp_path / "out")
    result = _call(f"compact {tmp_path}/out {tmp_path}/new")
    assert result.exit_code == 0, result.output
    assert "2 -> 1" in result.stdout
    assert _call(f"verify {tmp_path}/new").exit_code == 0


def test_a_page_is_made_and_says_which_sources_are_gone(here: Path, tmp_path: Path):
    make_output(tmp_path / "out")
    first = _call(f"show {tmp_path}/out {tmp_path}/a.html --units 2 --failed")
    assert first.exit_code == 0, first.output
    assert re.search(r"a\.html: 2 of 5 units, \d\.\d MB$", _shown(first))
    assert "2 units could not be shown in full (/archive/" in _said(first)
    assert "it is broken" in (tmp_path / "a.html").read_text()
    assert "over the page that was there" in _shown(_call(f"show {tmp_path}/out {tmp_path}/a.html"))


def test_models_are_listed_with_where_their_weights_are(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path))
    (tmp_path / "sam2.1_hiera_tiny.pt").write_bytes(b"")
    lines = {line.split()[1]: line for line in _call("models").stdout.splitlines() if "M │" in line}
    assert "cached" in lines["sam2.1_hiera_tiny"]
    assert "published, fetched when first used" in lines["sam2_hiera_large"]
    assert "comes with this package" in lines["nano"]
    assert "38.9 M" in lines["sam2_hiera_tiny"]
    assert "224.4 M" in lines["sam2.1_hiera_large"]


def test_the_schema_is_the_one_that_ships():
    shipped = Path(__file__).parents[2] / "configs/schema.json"
    assert json.loads(_call("schema").stdout) == json.loads(shipped.read_text())


def test_settings_of_a_store_are_taken_by_every_command(s3_options: dict, tmp_path: Path):
    from s3_server import BUCKET

    from sam2ray.storage import open_store

    uri = f"s3://{BUCKET}/{tmp_path.name}/out"
    make = Output(open_store(uri, s3_options))
    make.list([picture(1)], "1")
    url = s3_options["s3"]["endpoint_url"]
    for command, code in (("status", 0), ("verify", 5), ("show", 2)):
        result = _call(f"{command} {uri} --set storage.s3.endpoint_url={url}")
        assert result.exit_code == code, result.output
    assert "no unit has ended here yet, so there is nothing to show" in _said(result)


def test_help_is_there_at_once():
    code = "import sam2ray.cli, sys; sys.exit(any(m in sys.modules for m in ('torch', 'ray')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_tables_in_files_are_wide(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert cli_words.console().width == 140
    assert isinstance(cli_words.console(), Console)


# ---------------------------------------------------------------- with a cluster


@pytest.mark.usefixtures("two_cpus")
def test_a_run_is_planned_done_shown_and_proved(here: Path, tmp_path: Path):
    small = "--model nano --set model.image_size=64 --set masks.points_per_side=2"
    plan = _call(f"run pics {tmp_path}/out {small} --dry-run")
    assert plan.exit_code == 0, plan.output
    assert "11 (image 11" in plan.stdout
    assert "not measured" in plan.stdout
    assert not (tmp_path / "out").exists()
    done = _call(f"run pics {tmp_path}/out {small}")
    assert done.exit_code == 3, done.output
    assert "failed: unsupported" in done.stdout
    assert "starting Ray" in done.stderr
    assert _call(f"verify {tmp_path}/out").exit_code == 0
    assert "11 units" in _call(f"report {tmp_path}/out").stdout
    nothing = _call(f"run pics {tmp_path}/out {small} --dry-run")
    assert "nothing to do" in nothing.stdout
    again = _call(f"run pics {tmp_path}/out {small} --retry-failed --dry-run")
    assert "1 (image 1" in again.stdout
