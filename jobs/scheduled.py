"""A run that a clock starts: submitted unless the one before still goes on, followed to its end.

    python jobs/scheduled.py nightly http://HEAD:8265
        sam2ray run s3://bucket/archive s3://bucket/masks --config jobs/all_masks

Submission ids are the lock: of two that ask for nightly-0007 at once Ray refuses the second. They
are counted, because Ray 2.60 can't use one again: a job that is deleted comes back as a failed one.
Ends with the exit code of the run, or with 2 where nothing was submitted.
"""

import asyncio
import re
import shlex
import sys
import time
from contextlib import suppress

from ray.job_submission import JobSubmissionClient

# Between SIGTERM and SIGKILL when a job is stopped; in Ray's own 3 s little is committed.
STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "120"}


def main(name: str, address: str, *command: str) -> int:
    """Submit the command, show its log, and return its exit code."""
    client = JobSubmissionClient(address)
    job_id = _submit(client, name, shlex.join(command))
    with suppress(RuntimeError):  # a connection breaks off, the job does not
        asyncio.run(_show_log(client, job_id))
    while not client.get_job_status(job_id).is_terminal():
        time.sleep(1)
    code = client.get_job_info(job_id).driver_exit_code
    return 1 if code is None else code


def _submit(client: JobSubmissionClient, name: str, command: str) -> str:
    numbers = [0]
    for job in client.list_jobs():
        found = re.fullmatch(re.escape(name) + r"-(\d+)", job.submission_id or "")
        if found and not job.status.is_terminal():
            _refuse(f"{job.submission_id} is {job.status.lower()}")
        numbers += [int(found[1])] if found else []
    job_id, env = f"{name}-{max(numbers) + 1:04}", {"env_vars": STOP_WAIT}
    try:
        return client.submit_job(submission_id=job_id, entrypoint=command, runtime_env=env)
    except RuntimeError as error:
        if "already exists" in str(error):
            _refuse(f"{job_id} was submitted at this moment")
        raise


def _refuse(reason: str) -> None:
    print(f"{reason}: nothing was submitted", file=sys.stderr)
    sys.exit(2)


async def _show_log(client: JobSubmissionClient, job_id: str) -> None:
    async for lines in client.tail_job_logs(job_id):
        print(lines, end="", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
