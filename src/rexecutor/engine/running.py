"""A running job, and why it may be told to stop."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Protocol

import msgspec

from rexecutor.backend.completion import Completion
from rexecutor.errors import ConfigurationError, LeaseLostError
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.types import Codecs
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
        """Ask the process to end."""

    def kill(self) -> None:
        """Kill the process."""


class Completing(Protocol):
    """A run of a job, which the job itself may complete by `complete_in`."""

    commit_unknown: bool


@contextmanager
def completing(run: Completing) -> Generator[None]:
    """Set `commit_unknown`, unless the connection is refused before anything is sent to the store."""
    before, run.commit_unknown = run.commit_unknown, True
    try:
        yield
    except ConfigurationError:
        run.commit_unknown = before
        raise


class Running(msgspec.Struct, eq=False):
    """A job whose code runs, or is about to."""

    record: JobRecord
    executor: AnyExecutor
    codecs: Codecs[Any, Any]
    completion: Completion
    task: asyncio.Task[None] | None = None
    child: Child | None = None
    """The child process that runs the job; None if it runs in this process."""
    job: Job[Any, Any] | None = None
    timeout: timedelta | None = None
    deadline: float | None = None
    """When its timeout, or the grace after a stop, is over: in the clock's monotonic seconds."""
    stop: Stop | None = None
    reason: str = ""
    has_begun: bool = False
    is_settled: bool = False
    """Whether its outcome was handed over; code that does not stop may still run."""
    commit_unknown: bool = False
    """Whether `complete_in` was called. Then only the user's transaction decides whether the job is complete."""

    async def complete(self, connection: object) -> None:
        """Complete the job in the connection's transaction; see `Job.complete_in`."""
        with completing(self):
            require_ours(self.record, holds_claim=await self.completion.complete(self.record, connection))

    def complete_sync(self, connection: object) -> None:
        """Complete the job in a blocking connection's transaction; see `Job.complete_in_sync`."""
        with completing(self):
            require_ours(self.record, holds_claim=self.completion.complete_sync(self.record, connection))

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """Pickle and copy the run as None: a copy of the job, or the job in another process, is not running."""
        return _no_run, ()


def require_ours(record: JobRecord, *, holds_claim: bool) -> None:
    """Raise a `LeaseLostError` if the job is no longer this worker's."""
    if not holds_claim:
        raise LeaseLostError(
            f"job {record.id} ({record.executor}): no longer this worker's, another may run it, or complete_in was"
            " called before; roll the transaction back"
        )


def _no_run() -> None:
    """Return None: the run of a copied or unpickled job."""
