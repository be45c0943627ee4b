"""A command as a Ray job that is alone of its name: submitted, followed to its end.

Submission ids are the lock: of two that ask for nightly-0007 at once Ray refuses the second. They
are counted, because Ray 2.60 can't use one again: a job that is deleted comes back as a failed one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from threading import Thread
from time import monotonic, sleep

from aiohttp import ClientError
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from .errors import ClusterSilent, UsageError
from .patience import said_without_secrets

# Between SIGTERM and SIGKILL when a job is stopped; in Ray's own 3 s little is committed.
_STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}
_LOOK_EVERY_S = 1.0
_ANSWERS_WITHIN_S = 30.0
_SILENT_FOR_S = 300.0  # a dashboard that starts anew takes less

# A server that is down, starts, or lies behind a proxy that says so; a token that is renewed.
_NO_ANSWER = (OSError, RuntimeError, ValueError, RayError, TooLate)
_BROKEN_OFF = (RuntimeError, ClientError, asyncio.TimeoutError)


def submit_alone(client: JobSubmissionClient, name: str, command: str) -> str:
    """The id of the job; a UsageError where another one of that name is at work."""
    numbers = [0]
    for job in client.list_jobs():
        found = re.fullmatch(re.escape(name) + r"-(\d+)", job.submission_id or "")
        if found and not job.status.is_terminal():
            raise UsageError(f"{job.submission_id} is {job.status.lower()}: nothing was submitted.")
        numbers += [int(found[1])] if found else []
    job_id = f"{name}-{max(numbers) + 1:04}"
    try:
        return client.submit_job(
            submission_id=job_id, entrypoint=command, runtime_env={"env_vars": _STOP_WAIT}
        )
    except RuntimeError as error:
        if "already exists" in str(error):
            raise UsageError(f"{job_id} was submitted at this moment: not once more.") from error
        raise


def follow(client: JobSubmissionClient, job_id: str, show: Callable[[str], object]) -> int:
    """Show the log of a job until it ends; its exit code, 1 where Ray knows none."""
    with suppress(*_BROKEN_OFF):  # a connection does so, the job does not
        asyncio.run(_show_log(client, job_id, show))
    while not JobStatus((job := _look(client, job_id)).status).is_terminal():
        sleep(_LOOK_EVERY_S)
    return 1 if job.driver_exit_code is None else job.driver_exit_code


async def _show_log(
    client: JobSubmissionClient, job_id: str, show: Callable[[str], object]
) -> None:
    async for lines in client.tail_job_logs(job_id):
        show(lines)


def _look(client: JobSubmissionClient, job_id: str) -> JobDetails:
    """What the cluster says of a job, asked again as long as it says nothing."""
    since = monotonic()
    while True:
        try:
            return _answer(client, job_id)
        except _NO_ANSWER as error:
            silent_s = monotonic() - since
            if silent_s >= _SILENT_FOR_S:
                raise ClusterSilent(
                    f"{job_id}: its cluster gave no answer for {silent_s:.0f} s "
                    f"({said_without_secrets(error, 1)}). It was submitted, and may go on: look "
                    f"with `ray job status {job_id}`."
                ) from error
        sleep(_LOOK_EVERY_S)


def _answer(client: JobSubmissionClient, job_id: str) -> JobDetails:
    """One answer; Ray's client has no time limit, and would wait for a machine that is gone."""
    answer: Future[JobDetails] = Future()

    def ask() -> None:
        try:
            answer.set_result(client.get_job_info(job_id))
        except Exception as error:  # noqa: BLE001 it is raised where the answer is waited for
            answer.set_exception(error)

    Thread(target=ask, daemon=True, name="look").start()
    return answer.result(_ANSWERS_WITHIN_S)
