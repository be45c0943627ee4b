"""Which Ray job this process is, and whether that of another process has ended.

Asked of the cluster's own API; whatever it cannot tell is not known to have ended.
"""

from __future__ import annotations

import ray
from ray.job_submission import JobStatus
from ray.util.state import list_jobs
from ray.util.state.exception import RayStateApiException

from . import lease

_ANSWERS_WITHIN_S = 5


def this_driver(run_id: str) -> lease.Holder:
    """The process that asks, as a holder that other jobs of its cluster can look up."""
    context = ray.get_runtime_context()
    return lease.this_process(run_id, context.get_job_id(), context.get_session_name())


class RayJobs:
    """The jobs of this cluster."""

    def __init__(self) -> None:
        self._session = ray.get_runtime_context().get_session_name()
        self._answers = True

    def has_ended(self, holder: lease.Holder) -> bool:
        """Whether the job of a holder is known to have ended."""
        if holder.job_id is None or holder.session != self._session or not self._answers:
            return False
        try:
            jobs = list_jobs(filters=[("job_id", "=", holder.job_id)], timeout=_ANSWERS_WITHIN_S)
        except (RayStateApiException, OSError, RuntimeError, ValueError):
            self._answers = False  # nor will it soon, and to find that out can take a minute
            return False
        # One that is not listed tells nothing: a submission shows the last of its drivers alone.
        return any(JobStatus(job.status).is_terminal() for job in jobs)
