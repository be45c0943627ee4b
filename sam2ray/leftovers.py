"""What killed runs left in an output, removed by the next one that holds its lease."""

from __future__ import annotations

import logging
import re
import time

from . import lease
from .errors import StorageError
from .manifest import RUNS as LISTING
from .patience import BRIEF, is_of_a_package
from .root import RUNS
from .sinks.result_files import RESULT_SCHEMAS, UNITS
from .storage import Store

_TODO = re.compile(rf"{RUNS}/[^/]+/todo-\d+\.parquet")
_LEASE_IS_WRITTEN_S = (
    3600.0  # by this process and by newcomers at any time: only old files are left
)

_OWN_FOLDERS = (*RESULT_SCHEMAS, UNITS, RUNS.partition("/")[0])

_log = logging.getLogger(__name__)


def sweep(store: Store) -> int:
    """Remove what nobody will read or finish; how many files and uploads it was.

    Called by whoever holds the lease, before it writes anything: so none of it is a living run's.
    """
    dead = [entry.name for entry in store.list(RUNS) if _TODO.fullmatch(entry.name)]
    dead += [entry.name for entry in store.list(LISTING)]
    for name in dead:
        store.delete(name)
    return len(dead) + _drop_unfinished(store.with_patience(BRIEF))


def _is_ours(name: str) -> bool:
    """Whether it is of this output: another one may lie deeper, and be written to at the moment."""
    folder, slash, _ = name.partition("/")
    return not slash or folder in _OWN_FOLDERS


def _drop_unfinished(store: Store) -> int:
    count = 0
    try:
        for file in list(store.unfinished()):
            if not _is_ours(file.name):
                continue
            is_of_lease = file.name.startswith(f"{lease.FOLDER}/")
            if not is_of_lease or time.time() - file.began > _LEASE_IS_WRITTEN_S:
                file.drop()
                count += 1
    except Exception as error:
        if not (isinstance(error, StorageError | OSError) or is_of_a_package(error)):
            raise
        # Not every store lists uploads, nor everybody who may write; what stays costs some room.
        _log.info("%s: unfinished uploads were not removed: %s", store.uri, error)
    return count
