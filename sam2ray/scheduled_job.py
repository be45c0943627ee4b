"""A command as a Ray job that is alone of its name: submitted, followed to its end.

Submission ids are the lock: of two that ask for nightly-0007 at once Ray refuses the second. They
are counted, because Ray 2.60 can't use one again: a job that is deleted comes back as a failed one.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress

from ray.job_submission import JobStatus, JobSubmissionClient

from .errors import UsageError

# Between SIGTERM and SIGKILL when a job is stopped; in Ray's own 3 s little is committed.
_STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}
_LOOK_EVERY_S = 1.0


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
    with suppress(RuntimeError):  # a connection breaks off, the job does not
        asyncio.run(_show_log(client, job_id, show))
    while not JobStatus(client.get_job_status(job_id)).is_terminal():
        time.sleep(_LOOK_EVERY_S)
    code = client.get_job_info(job_id).driver_exit_code
    return 1 if code is None else code


async def _show_log(
    client: JobSubmissionClient, job_id: str, show: Callable[[str], object]
) -> None:
    async for lines in client.tail_job_logs(job_id):
        show(lines)
