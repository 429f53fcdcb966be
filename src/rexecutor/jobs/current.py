"""`current_job`: the job whose code runs here."""

from contextvars import ContextVar
from typing import Any, Final

from rexecutor.errors import JobStateError
from rexecutor.model.job import Job

running_job: Final[ContextVar[Job[Any, Any, Any]]] = ContextVar("rexecutor_job")
"""The job that this task, thread or child process runs. Tasks and threads that the job's code starts inherit it."""


def current_job() -> Job[Any, Any, Any]:
    """Return the job that runs here: the one whose code called this, at any depth.

    Works in blocking jobs, in child processes, and in tasks that the job starts. In a thread that the job starts, it
    works only if the thread runs in a copy of the job's context, as with `asyncio.to_thread`.

    Raises:
        JobStateError: No job runs here.
    """
    job = running_job.get(None)
    if job is None:
        raise JobStateError("current_job: no job runs here; call it from the code of a job")
    return job
