"""Patience with stores: what their errors mean, which are worth another try, how long to wait.

Patience does not multiply: what is asked inside of another's patience is asked once, and the outer
one sees the error.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import sleep
from typing import TypeVar

from .addresses import without_secrets
from .errors import Sam2RayError
from .records import ErrorClass

Answer = TypeVar("Answer")

_WORTH_ANOTHER_TRY = (ErrorClass.THROTTLED, ErrorClass.IO)
_LONGEST_PAUSE_S = 60.0
_LONGEST_WISH_S = 30.0  # of a store that says when to come back: units have a time limit
_MESSAGE_LENGTH = 500

_STORE_PACKAGES = frozenset(
    ("aiohttp", "aiobotocore", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs")
)
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
    "nocredentialserror": ErrorClass.FORBIDDEN,
    # Its answer has no body that could name the token that has expired.
    "(400) when calling the headobject": ErrorClass.FORBIDDEN,
    "nosuchkey": ErrorClass.NOT_FOUND,
    "nosuchbucket": ErrorClass.NOT_FOUND,
}

_within = threading.local()


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask a store, and how long to wait in between."""

    attempts: int
    first_pause_s: float


STEADY = Patience(attempts=8, first_pause_s=0.25)  # at most 32 s of pauses
BRIEF = Patience(attempts=5, first_pause_s=0.2)  # 3 s


def patiently(
    question: Callable[[], Answer],
    patience: Patience,
    give_up: Callable[[Exception, int], Exception],
) -> Answer:
    """The answer to a question, which is asked again where another try may help.

    The question must be one that may be asked twice. `give_up` turns the last error, and the number
    of tries, into what is raised.
    """
    if getattr(_within, "patience", False):
        return question()
    _within.patience = True
    try:
        return _asked(question, patience, give_up)
    finally:
        _within.patience = False


def _asked(
    question: Callable[[], Answer],
    patience: Patience,
    give_up: Callable[[Exception, int], Exception],
) -> Answer:
    attempt = 1
    while True:
        try:
            return question()
        except Sam2RayError:  # somebody knows better what it means
            raise
        except Exception as error:
            if attempt == patience.attempts or not may_pass(error):
                ended = give_up(error, attempt)
                if ended is error:
                    raise
                raise ended from error
            asked_for_s = min(retry_after_s(error) or 0.0, _LONGEST_WISH_S)
        sleep(max(asked_for_s, _pause_s(attempt, patience)))
        attempt += 1


def _pause_s(attempt: int, patience: Patience) -> float:
    """Twice as long each time, and never at the same moment as everybody else."""
    longest = min(_LONGEST_PAUSE_S, patience.first_pause_s * 2 ** (attempt - 1))
    return random.uniform(longest / 2, longest)


def retry_after_s(error: BaseException) -> float | None:
    """How long a store asks to be left alone; None if it does not say."""
    for cause in causes(error):
        wish = getattr(cause, "retry_after_s", None)
        if wish is None and isinstance(response := getattr(cause, "response", None), dict):
            said = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after")
            wish = float(said) if str(said).isdecimal() else None
        if isinstance(wish, float):
            return wish
    return None


def may_pass(error: BaseException) -> bool:
    """Whether another try may help: a store is busy or away; our own bugs stay what they are."""
    return is_of_a_store(error) and classify(error) in _WORTH_ANOTHER_TRY


def is_of_a_store(error: BaseException) -> bool:
    """Whether a store, or the way to it, says no."""
    return isinstance(error, OSError) or is_of_a_package(error)


def is_of_a_package(error: BaseException) -> bool:
    """Whether it is an error of its own kind, as the packages of most stores have them."""
    return type(error).__module__.partition(".")[0] in _STORE_PACKAGES


def classify(error: BaseException) -> ErrorClass:
    """What a store's exception means, whatever the store."""
    for cause in causes(error):
        found = _BY_STATUS.get(status_of(cause) or 0)
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


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def status_of(error: BaseException) -> int | None:
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
    text = " ".join(without_secrets(str(error)).split()) or type(error).__name__
    tries = f" (asked {attempts} times)" if attempts > 1 else ""
    return f"{type(error).__name__}: {text}"[:_MESSAGE_LENGTH] + tries
