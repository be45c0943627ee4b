"""A unit's bytes, with patience for stores that are busy, and a reason where they do not come."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..errors import UnitFailed
from ..records import ErrorClass

_WORTH_ANOTHER_TRY = (ErrorClass.THROTTLED, ErrorClass.IO)
_LONGEST_PAUSE_S = 60.0
_MESSAGE_LENGTH = 500

_BY_STATUS = {
    401: ErrorClass.FORBIDDEN,
    403: ErrorClass.FORBIDDEN,
    404: ErrorClass.NOT_FOUND,
    410: ErrorClass.NOT_FOUND,
    429: ErrorClass.THROTTLED,
    503: ErrorClass.THROTTLED,
}
_BY_CODE = {  # words of stores, in lower case, where there is no status to go by
    "slowdown": ErrorClass.THROTTLED,
    "throttl": ErrorClass.THROTTLED,
    "reduce your request rate": ErrorClass.THROTTLED,
    "too many requests": ErrorClass.THROTTLED,
    "serverbusy": ErrorClass.THROTTLED,
    "expiredtoken": ErrorClass.FORBIDDEN,
    "accessdenied": ErrorClass.FORBIDDEN,
    "nosuchkey": ErrorClass.NOT_FOUND,
    "nosuchbucket": ErrorClass.NOT_FOUND,
}
# Signatures and tokens travel in what follows the question mark of an address.
_QUERY = re.compile(r"(\w+://[^\s'\"?]+)\?[^\s'\"]+")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask a store, and how long to wait in between."""

    attempts: int
    first_pause_s: float


def fetch(read: Callable[[], bytes], patience: Patience) -> bytes:
    """What `read` gives, asked again where another try may help."""
    attempt = 1
    while True:
        try:
            return read()
        except UnitFailed:
            raise
        except Exception as error:  # every store has its own; a unit's end is its row
            reason = classify(error)
            if reason not in _WORTH_ANOTHER_TRY or attempt == patience.attempts:
                raise UnitFailed(reason, said_without_secrets(error, attempt)) from error
        time.sleep(_pause_s(attempt, patience))
        attempt += 1


def _pause_s(attempt: int, patience: Patience) -> float:
    """Twice as long each time, and never at the same moment as everybody else."""
    longest = min(_LONGEST_PAUSE_S, patience.first_pause_s * 2 ** (attempt - 1))
    return random.uniform(longest / 2, longest)


def classify(error: BaseException) -> ErrorClass:
    """What a store's exception means, whatever the store."""
    for cause in _causes(error):
        found = _BY_STATUS.get(_status_of(cause) or 0)
        if found is not None:
            return found
        if isinstance(cause, FileNotFoundError | IsADirectoryError | NotADirectoryError):
            return ErrorClass.NOT_FOUND
        if isinstance(cause, PermissionError):
            return ErrorClass.FORBIDDEN
        text = str(cause).lower().replace(" ", "") + type(cause).__name__.lower()
        for word, found in _BY_CODE.items():
            if word.replace(" ", "") in text:
                return found
    return ErrorClass.IO


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _status_of(error: BaseException) -> int | None:
    """The HTTP status, under the names that clients of stores give it."""
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int):
            return value
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        value = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return value if isinstance(value, int) else None
    return None


def said_without_secrets(error: BaseException, attempts: int) -> str:
    """An error in a line that may be kept and shown."""
    text = " ".join(_QUERY.sub(r"\1?...", str(error)).split()) or type(error).__name__
    tries = f" (asked {attempts} times)" if attempts > 1 else ""
    return f"{type(error).__name__}: {text}"[:_MESSAGE_LENGTH] + tries
