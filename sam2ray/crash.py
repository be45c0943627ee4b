"""What Ray raises when a run cannot go on -> one message with the reason, the rest in a file."""

from __future__ import annotations

import re

from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from sam2_core import Sam2Error

from .addresses import without_secrets
from .errors import RunCrashed, Sam2RayError
from .patience import causes
from .root import RUNS
from .storage import Store

_ADDED_BY_RAY = "\nFailed to "  # and how Ray Data could be told to try again
_NO_MEMORY = (
    "A machine ran out of memory, and Ray ended a process of the run there. Take fewer processes "
    "(lower resources.actors, raise resources.decode_cpus or resources.decode_memory_bytes) "
    "or smaller batches (resources.batch_size), or machines with more memory. What was committed "
    "stays, and the same command goes on."
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LAST_WORDS = re.compile(r"^(?:[a-z_]\w*\.)*([A-Z]\w*: .*)", re.MULTILINE | re.DOTALL)


def explain_crash(error: RayError, store: Store, run_id: str) -> Exception:
    """Our own error where there is one; else what a process said last, with its traceback kept."""
    for cause in causes(error.cause if isinstance(error, RayTaskError) else error):
        if isinstance(cause, Sam2RayError | Sam2Error):
            cause.args = (str(cause).partition(_ADDED_BY_RAY)[0],)
            return cause
    if isinstance(error, OutOfMemoryError):
        return RunCrashed(f"{_NO_MEMORY}\nRay says: {without_secrets(str(error))}")
    text = _COLOURS.sub("", without_secrets(str(error)))
    name = f"{RUNS}/{run_id}.crash.txt"
    store.put(name, text.encode())
    return RunCrashed(
        f"a process of the run failed: {last_words(text)}\n"
        f"Its traceback is in {store.uri_of(name)}. What was committed stays; once the cause is "
        "mended, the same command goes on."
    )


def last_words(traceback: str) -> str:
    """The exception at the end of a traceback, on a line of its own and those that follow."""
    words = ""
    for line in traceback.strip().splitlines():
        found = _LAST_WORDS.match(line)
        if found is not None:
            words = found[1]
        elif line[:1].isspace() or not line:
            continue
        elif words:
            words += f" {line}"
    return words or traceback.strip().splitlines()[-1]
