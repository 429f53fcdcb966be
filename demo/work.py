"""The demo's executor: each job examines one file, and fails or lingers if its data say so."""

import threading
from datetime import timedelta
from typing import Final, Literal, TypeAlias

import msgspec
from typing_extensions import override

from demo.findings import examined
from demo.history import Ended, History, Started
from rexecutor.jobs.executor import Executor
from rexecutor.model.backoff import BackoffStrategy
from rexecutor.model.job import ErrorKind, Job

LINGER: Final = timedelta(seconds=15)
"""How long a lingering job waits to be killed with its worker."""

Trouble: TypeAlias = Literal["none", "fails once", "always fails", "lingers"]


class SourceFile(msgspec.Struct, frozen=True):
    """The data of a job: a file, and what goes wrong on purpose."""

    path: str
    trouble: Trouble = "none"


class OnPurposeError(Exception):
    """A failure that the demo causes on purpose."""


class ExamineFile(Executor[SourceFile]):
    """Examines a file in a thread, and records its start and its findings."""

    name = "demo.examine_file"
    blocking = True
    pause = BackoffStrategy.constant(timedelta(milliseconds=300))

    def __init__(self, history: History, pid: int) -> None:
        self._history = history
        self._pid = pid

    @override
    def execute(self, job: Job[SourceFile]) -> None:
        """Examine the file."""
        self._history.write(Started(job.id, job.attempt, self._pid))
        trouble = job.data.trouble
        has_failed = any(error.kind is ErrorKind.EXCEPTION for error in job.errors)
        # It asks for an exception and not for attempt 1, which may have been lost with its worker.
        if trouble == "always fails" or (trouble == "fails once" and not has_failed):
            raise OnPurposeError(f"{job.data.path} {trouble}, as the demo wants")
        if trouble == "lingers" and job.attempt == 1:
            threading.Event().wait(LINGER.total_seconds())
        self._history.write(Ended(job.id, examined(job.data.path)))

    @override
    def backoff(self, job: Job[SourceFile]) -> timedelta:
        """Wait 300 ms after each failure."""
        return self.pause(job.attempt)
