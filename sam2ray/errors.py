"""What ends a run, as one tree; what fails a unit is a row and not an exception (see records).

Sam2RayError
 ├── UsageError           wrong words on the command line, a config or a list   exit 2
 │    ├── BadAddress      in a stage it becomes the unit's row
 │    └── BrokenTable     in an archive of several tables it becomes the row of a failed unit
 ├── RootRefused          an output root that is in use, or of another config   exit 2
 ├── StorageError         a store that does not do what it must                 exit 1
 ├── RunCrashed           a process of a run that died of a bug or a full disk   exit 1
 ├── RunStalled           a run in which nothing happens any more               exit 1
 ├── ClusterSilent        a cluster that no longer says how a job goes on       exit 2
 └── UnitFailed           inside a stage only: becomes the unit's row
"""

from __future__ import annotations

import errno

from .addresses import without_secrets
from .records import ErrorClass, Failure

# What a machine runs out of; the next unit would fare no better.
_USED_UP = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}


class Sam2RayError(Exception):
    """Base of everything that sam2ray raises on purpose."""


class UsageError(Sam2RayError, ValueError):
    """What somebody wrote cannot be done as it stands."""


class BadAddress(UsageError):
    """An address that nothing can be read from: of a source or an output, or of one unit."""


class BrokenTable(UsageError):
    """A table whose bytes cannot be read; others beside it may be sound."""

    def __init__(self, uri: str, failure: Failure) -> None:
        super().__init__(uri, failure)
        self.uri = uri
        self.failure = failure

    def __str__(self) -> str:
        return f"{self.uri}: the table cannot be read ({self.failure.message})."


class RootRefused(Sam2RayError):
    """An output root that this run must not write to."""


class StorageError(Sam2RayError):
    """A store that cannot be read or written."""


class RunCrashed(Sam2RayError):
    """A process of a run that died of something that no unit is to blame for."""


class RunStalled(Sam2RayError):
    """A run in which nothing happens any more."""


class ClusterSilent(Sam2RayError):
    """A cluster that no longer says how a job of it goes on."""


class UnitFailed(Sam2RayError):
    """One unit cannot be done; its neighbours go on."""

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(error_class, message)
        self.error_class = error_class
        self.message = message

    def __str__(self) -> str:
        return f"{self.error_class.value}: {self.message}"


def is_of_the_job(error: BaseException) -> bool:
    """Whether no unit is to blame, but a setting, a package, or a disk that is full: a run ends."""
    if isinstance(error, OSError) and error.errno in _USED_UP:
        return True
    return isinstance(error, Sam2RayError) and not isinstance(error, UnitFailed | BadAddress)


def failure_by_surprise(error: Exception) -> Failure:
    """The row of a unit that ended by an exception that nobody foresaw."""
    if isinstance(error, BadAddress):
        return Failure(ErrorClass.UNSUPPORTED, without_secrets(str(error)))
    return Failure(ErrorClass.INTERNAL, without_secrets(f"{type(error).__name__}: {error}"))
