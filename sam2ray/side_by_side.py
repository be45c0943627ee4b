"""Pieces of work -> their results, by Ray Data's tasks, with errors that stay what they are."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import ray
from ray.data import Dataset

from .cluster import ensure_ray
from .errors import Sam2RayError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Answer(NamedTuple, Generic[Result]):
    """What a piece of work came to."""

    number: int
    result: Result


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Answer[Result]]:
    """Results as they come; a task each."""
    ensure_ray()
    rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
    yield from answers(one_a_task(rows).map(in_a_task(work)))


def one_a_task(rows: list[dict[str, Any]]) -> Dataset:
    """Rows that a task each is started for; errors in these stay what they are, and none passes."""
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    context = dataset.context  # this one's, and that of all that is made of it
    context.raise_original_map_exception = True
    context.max_errored_blocks = 0
    context.enable_progress_bars = False  # sam2ray shows its own
    # A folder of millions of files answers when it is listed to its end; stores have timeouts.
    context.execution_no_progress_timeout_s = -1
    return dataset


def in_a_task(work: Callable[[Item], Result]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Work on a pickled `item` as Ray Data maps it.

    An error that says what to do comes back as a row: Ray would wrap it in its own traceback.
    """

    def do(row: dict[str, Any]) -> dict[str, Any]:
        try:
            came = work(pickle.loads(row["item"]))  # noqa: S301 ours
        except (Sam2RayError, OSError) as error:
            return {"number": row["number"], "came": pickled_error(error)}
        return {"number": row["number"], "came": pickle.dumps(came)}

    return do


def answers(dataset: Dataset) -> Iterator[Answer[Any]]:
    """What tasks answered, as it comes; the first error of any is raised here."""
    for row in dataset.iter_rows():
        came = pickle.loads(row["came"])  # noqa: S301 ours
        if isinstance(came, Exception):
            raise came
        yield Answer(row["number"], came)


def pickled_error(error: Exception) -> bytes:
    """An error that can be read back; those of stores' packages are not all made for that."""
    try:
        written = pickle.dumps(error)
        pickle.loads(written)  # noqa: S301 ours
    except Exception:  # noqa: BLE001 whatever a class of somebody's does when it is copied
        raise error from None
    return written
