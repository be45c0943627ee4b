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
from .storage import Store

_TODO = re.compile(rf"{RUNS}/[^/]+/todo-\d+\.parquet")
_LEASE_IS_WRITTEN_S = (
    3600.0  # by this process and by newcomers at any time: only old files are left
)

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


def _drop_unfinished(store: Store) -> int:
    count = 0
    try:
        for file in list(store.unfinished()):
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
