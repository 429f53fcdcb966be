"""A job whose code runs, and why it may be told to stop."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Protocol

import msgspec

from rexecutor.backend.completion import Completion
from rexecutor.errors import ConfigurationError, LeaseLostError
from rexecutor.jobs.executor import Codecs, Executor
from rexecutor.model.job import Job, JobRecord

AnyExecutor = Executor[Any, Any]


class Stop(Enum):
    """Why a running job was told to stop."""

    TIMEOUT = auto()
    CANCEL = auto()
    SHUTDOWN = auto()
    LEASE_LOST = auto()


class Child(Protocol):
    """A process that runs a job."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class Completing(Protocol):
    """A run that a job may complete by itself."""

    may_be_complete: bool


@contextmanager
def completing(run: Completing) -> Generator[None]:
    """Have the run be in doubt from here on, unless the connection is refused before anything is asked of the store."""
    before, run.may_be_complete = run.may_be_complete, True
    try:
        yield
    except ConfigurationError:
        run.may_be_complete = before
        raise


class Running(msgspec.Struct, eq=False):
    """A job whose code runs, or is about to."""

    record: JobRecord
    executor: AnyExecutor
    codecs: Codecs[Any, Any]
    completion: Completion
    task: asyncio.Task[None] | None = None
    child: Child | None = None
    """The process that runs it, where it runs in one."""
    job: Job[Any, Any] | None = None
    timeout: timedelta | None = None
    deadline: float | None = None
    stop: Stop | None = None
    reason: str = ""
    has_begun: bool = False
    is_settled: bool = False
    may_be_complete: bool = False
    """Whether `complete_in` was called: the outcome is in a transaction of the user's, committed or not."""

    async def complete(self, connection: object) -> None:
        """Complete the job in the connection's transaction; see `Job.complete_in`."""
        with completing(self):
            require_ours(self.record, is_ours=await self.completion.complete(self.record, connection))

    def complete_sync(self, connection: object) -> None:
        """Do the same on a connection that blocks."""
        with completing(self):
            require_ours(self.record, is_ours=self.completion.complete_sync(self.record, connection))

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """Leave it behind where the job is copied or sent elsewhere: there it does not run."""
        return _no_run, ()


def require_ours(record: JobRecord, *, is_ours: bool) -> None:
    """Raise a `LeaseLostError` where the job is another's."""
    if not is_ours:
        raise LeaseLostError(
            f"job {record.id} ({record.executor}): no longer this worker's, another may run it, or complete_in was"
            " called before; roll the transaction back"
        )


def _no_run() -> None:
    """Answer what a job has in the place of its run where it does not run."""
