"""Ray's own words, kept off the terminal: there a run shows what sam2ray says, and nothing else.

Nothing is lost: the Python side of Ray Data goes on writing ray-data.log in Ray's session folder,
and what the native side says while Ray starts is shown if Ray does not start.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

BACKEND_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_STDERR = 2


@contextmanager
def starting_quietly() -> Iterator[None]:
    """Around ray.init: the native side speaks of what is fatal only, unless its level was chosen.

    It says of every pool of actors that their restart may fail (ray#57733), and that it has read
    its own level. Neither goes through Python, so the file descriptor itself is turned aside.
    """
    os.environ.setdefault(BACKEND_LEVEL, "fatal")
    sys.stderr.flush()
    terminal = os.dup(_STDERR)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), _STDERR)
        try:
            yield
        except KeyboardInterrupt:  # nothing is wrong with Ray
            raise
        except BaseException:
            os.dup2(terminal, _STDERR)
            aside.seek(0)
            os.write(_STDERR, aside.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, _STDERR)
            os.close(terminal)


def quieten_ray_data() -> None:
    """Once ray.data is imported: its words stay in its file, and sam2ray.crash tells of errors."""
    # Its writes may be many at a time, and a small wave has few: Ray advises to have more blocks.
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks for ")
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # the other one writes its file
            handler.setLevel(logging.CRITICAL)
