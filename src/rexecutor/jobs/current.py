"""`current_job`: the job whose code runs here."""

from contextvars import ContextVar
from typing import Any, Final

from rexecutor.errors import JobStateError
from rexecutor.model.job import Job

running_job: Final[ContextVar[Job[Any, Any, Any]]] = ContextVar("rexecutor_job")
"""The job that this task, thread or child process runs. Tasks and threads that the job's code starts inherit it."""


def current_job() -> Job[Any, Any, Any]:
    """Return the job whose `execute`, or function, called this, however far below.

    Works in tasks that the job starts, in blocking jobs, and in child processes; in a thread that the job starts by
    itself only if that runs in a copy of the context, as `asyncio.to_thread` does.

    Raises:
        JobStateError: No job runs here.
    """
    job = running_job.get(None)
    if job is None:
        raise JobStateError("current_job: no job runs here; call it from the code of a job")
    return job
