"""A run that a clock starts: submitted unless the one before still goes on, followed to its end.

    python jobs/scheduled.py nightly http://HEAD:8265
        sam2ray run s3://bucket/archive s3://bucket/masks --config jobs/all_masks

Ends with the exit code of the run, or with 2 where nothing was submitted, or where the cluster gave
no answer for minutes: the run may go on then. What it was, is said.
"""

import shlex
import sys

from ray.job_submission import JobSubmissionClient

from sam2ray.errors import ClusterSilent, UsageError
from sam2ray.scheduled_job import follow, submit_alone


def main(name: str, address: str, *command: str) -> int:
    """Submit the command, show its log, and return its exit code."""
    try:
        client = JobSubmissionClient(address)
        job_id = submit_alone(client, name, shlex.join(command))
    except (UsageError, OSError, RuntimeError, ValueError) as error:  # Ray's are the others
        print(error, file=sys.stderr)
        return 2
    try:
        return follow(client, job_id, lambda lines: print(lines, end="", flush=True))
    except ClusterSilent as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
