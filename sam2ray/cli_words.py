"""What ends a command -> one message and an exit code; options with an optional value."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from .errors import RootRefused, Sam2RayError, UsageError
from .interrupts import Interrupted, raising_on_signals
from .patience import is_of_a_package
from .records import ErrorClass
from .tables import harmless

CRASHED, BAD_USAGE, INCONSISTENT = 1, 2, 5
_PIPE_WIDTH = 140  # of tables in files and logs: nobody's window

# What a machine refuses: the message says it all, a traceback says nothing more.
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG),
}


def console(*, stderr: bool = False) -> Console:
    """Where to speak; wide enough where nobody sees it."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def complain(words: str) -> None:
    """Write to stderr what went wrong."""
    console(stderr=True).print(harmless(words), style="red", soft_wrap=True)


def said_in_words(command: Callable[..., None]) -> Callable[..., None]:
    """Errors that say what to do end a command with one message, not with a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 whatever the command takes
        try:
            with raising_on_signals():
                command(*args, **kwargs)
        except Interrupted as error:
            complain(f"sam2ray: stopped: {error}")
            raise typer.Exit(CRASHED) from error
        except Exception as error:
            code = exit_code_of(error)
            if code is None:
                raise
            complain(f"sam2ray: {_words_of(error)}")
            raise typer.Exit(code) from error

    return run


def exit_code_of(error: Exception) -> int | None:
    """2 for what a user can mend by other words, 1 for a machine's refusals, None for a bug."""
    if isinstance(error, UsageError | RootRefused):
        return BAD_USAGE
    if isinstance(error, Sam2RayError):
        return CRASHED
    core = sys.modules.get("sam2_core.errors")  # it takes seconds to load: only if it was needed
    if core is not None and isinstance(error, core.Sam2Error):
        return CRASHED if isinstance(error, core.DownloadFailed) else BAD_USAGE
    if is_of_a_package(error) or (isinstance(error, OSError) and error.errno in _REFUSALS):
        return CRASHED
    return None


def _words_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return f"{type(error).__name__}: {error}" if is_of_a_package(error) else str(error)


class WithOptionalValue(TyperCommand):
    """A command whose `--retry-failed` may stand without a value; the value follows `=`.

    `--retry-failed all` and `--retry-failed corrupt,io` are understood as well: no source is
    called so, or it can be written ./all.
    """

    optional: Mapping[str, Callable[[str], bool]] = {
        "--retry-failed": lambda text: not set(text.split(",")) - {"all", *map(str, _names())}
    }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 as click has it
        """Write out what is meant by a bare option, and go on as always."""
        ctx.allow_extra_args = True
        left = super().parse_args(ctx, with_values(args, self.optional))
        if left and not ctx.resilient_parsing:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            ctx.fail(
                f"Got unexpected extra arguments: {harmless(left[0])!r}{more}. A shell writes out "
                "patterns: put one in quotation marks, such as 'clips/*.mp4'."
            )
        return left


def _names() -> list[str]:
    return [error.value for error in ErrorClass]


def with_values(args: Sequence[str], optional: Mapping[str, Callable[[str], bool]]) -> list[str]:
    """Arguments in which options that stand alone have the value `all`."""
    written: list[str] = []
    rest = list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "--":
            return [*written, arg, *rest]
        is_value = optional.get(arg)
        if is_value is None:
            written.append(arg)
        elif rest and is_value(rest[0]):
            written.append(f"{arg}={rest.pop(0)}")
        else:
            written.append(f"{arg}=all")
    return written


def classes_in(text: str | None) -> frozenset[ErrorClass]:
    """The classes of failures that `--retry-failed` names."""
    if text is None:
        return frozenset()
    if text == "all":
        return frozenset(ErrorClass)
    wanted = [name.strip() for name in text.split(",")]
    unknown = [name for name in wanted if name not in _names()]
    if unknown:
        raise UsageError(
            f"--retry-failed={text}: there is no class {unknown[0]!r}; write all, or some of "
            f"{', '.join(_names())}, with commas."
        )
    return frozenset(ErrorClass(name) for name in wanted)
