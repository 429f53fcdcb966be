"""The port: what a job store does. Subclass `Backend` to write one; `rexecutor.testing.BackendSuite` proves it.

Everything is batched, fenced, and on the store's clock. What each change means is written in `rules.py`; a backend
decides nothing. A driver's exceptions never leave a backend: they are the cause of a `BackendError`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from rexecutor.clock import Clock, SystemClock
from rexecutor.errors import ConfigurationError
from rexecutor.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId, storable
from rexecutor.outcome import CancelAsked, Rerun, Settlement
from rexecutor.status import JobStatus
from rexecutor.where import Where

PAGE: Final = 1_000
"""How many jobs a query answers when no limit is given."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a node has free slots for."""

    slots: Mapping[str, int]
    """Executor name → how many of its jobs, each 1 or more."""
    most: int
    """How many jobs in all, 1 or more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A store's answer to a demand."""

    jobs: Sequence[JobRecord]
    """Now executing on the node that asked, in claim order. A row that cannot be read has a `defect`."""
    next_due: datetime | None
    """When the next job of whatever executor falls due; None when none waits for its time.

    Looked up only when there were fewer jobs than `Demand.most`: else there is no reason to wait.
    """


@dataclass(frozen=True, slots=True)
class Node:
    """A `Rexecutor` that runs: the holder of a lease."""

    id: NodeId
    name: str
    """For people: host and process."""
    lease: timedelta


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Somebody asked for a cancel of a job that the node runs."""

    job_id: JobId
    claims: int
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A store's answer to a beat."""

    cancels: Sequence[CancelRequest]
    rescued: int
    """How many jobs of nodes without a lease were given on or discarded."""
    began: bool
    """Whether the lease began with this beat: at the node's first, or because it had run out and its jobs are lost."""


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs of one executor are in one status."""

    executor: str
    status: JobStatus
    jobs: int


class Heart(ABC):
    """A connection of its own for heartbeats. Synchronous: it is called from the lease's thread, and only there."""

    @abstractmethod
    def beat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew the node's lease (or begin it), rescue the jobs of nodes without one, tell of asked cancels.

        Atomic. Jobs of a node whose lease ran out change by `Lost`, and the node is forgotten with them, but not where
        `rescues` is False. A lease that has run out and that nobody has noticed is renewed like any other. A row that
        cannot be changed does not fail the beat: it is discarded, without what cannot be read of it.

        Raises:
            BackendError: The store failed; whether the lease was renewed is not known.
        """

    @abstractmethod
    def retire(self, node_id: NodeId) -> None:
        """End the node's lease now. What it still runs is for the next beat of any node to rescue.

        Raises:
            BackendError: The store failed; the lease runs out by itself.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Harmless when closed."""


class Backend(ABC):
    """A job store. An async context manager: `async with` opens and closes it."""

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        """Keep what every backend has.

        Args:
            clock: What time it is; the machine's clock by default.
            limits: How large jobs may be.
        """
        self.clock: Final = clock or SystemClock()
        self.limits: Final = limits or Limits()

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether it may be used."""

    @abstractmethod
    async def open(self) -> None:
        """Make it ready for use. Harmless when open.

        Raises:
            ConfigurationError: What it was given cannot work.
            SchemaError: The store belongs to another version of rexecutor.
            BackendError: The store cannot be reached.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and let go of the store. Harmless when closed."""

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    @abstractmethod
    async def migrate(self) -> None:
        """Bring the store's tables up to this version; nothing to do where that is automatic."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs, all or none, and wake those who wait for them. Answers in the order given.

        Raises:
            BackendError: The store failed; whether the jobs were stored is not known.
        """

    @abstractmethod
    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs to run them: never early, never more than asked, none without a live lease.

        In the order of `rules.claim_order`; each job changes by `Claimed`. Two nodes never get the same claim.

        Raises:
            BackendError: The store failed. What was claimed is not known: `give_back` what is not held.
        """

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record how attempts ended; answer those jobs that were no longer ours, which stay as they are.

        Each is recorded only while the job executes under the settlement's claim. Atomic. Outcomes that are
        already recorded are answered as no longer ours, so that a repeat after a failure does no harm.

        Raises:
            BackendError: The store failed; what was recorded is not known. Repeat it.
        """

    @abstractmethod
    async def give_back(self, node_id: NodeId, held: Collection[ClaimId]) -> int:
        """Undo claims whose answer was lost: the node's executing jobs whose claim is not among `held`.

        They change by `Interrupted`. Answers how many there were.

        Raises:
            BackendError: The store failed; repeat it.
        """

    @property
    @abstractmethod
    def version(self) -> int:
        """How many changes of the store this handle has heard of. Read it before a look, wait since it after."""

    @abstractmethod
    async def wait_ready(self, executors: Collection[str], until: datetime, *, since: int) -> None:
        """Wait until one of the executors may have something due, or until the moment.

        A hint: it may return early. What was heard of after version `since` ends the wait at once.
        """

    @abstractmethod
    async def wait_ended(self, job_id: JobId, until: datetime, *, since: int) -> None:
        """Wait until the job may have ended, or until the moment. A hint, like `wait_ready`."""

    @abstractmethod
    async def query(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        """Answer jobs in the order of their ids, from the first id above `after`.

        A row that cannot be read is answered with its `defect`.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def count(self) -> Sequence[Count]:
        """Answer how many jobs there are, by executor and status, in that order; none where there are none.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def change(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `rules.transition` says; answer its status after that. Wakes those who wait for a rerun.

        Raises:
            JobNotFoundError: There is no such job (of that executor, where one is given).
            JobStateError: Its status does not allow the change.
            BackendError: The store failed; whether it was done is not known.
        """

    async def cancel(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job: at once while it waits; while it runs its node is told, at its next heartbeat.

        Answers the status after that. An ended job stays as it is. Of the reason `Limits.error_text` characters are
        kept, without NUL characters and lone surrogates.

        Raises:
            JobNotFoundError: There is no such job (of that executor, where one is given).
            BackendError: The store failed; repeat it.
        """
        if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(f"cancel: the reason is {reason!r}, str expected")
        asked = CancelAsked(storable(reason, self.limits.error_text))
        return await self.change(job_id, asked, executor=executor)

    async def rerun(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Run the ended job once more, at once.

        Raises:
            JobNotFoundError: There is no such job (of that executor, where one is given).
            JobStateError: The job has not ended.
            BackendError: The store failed; whether it was done is not known.
        """
        await self.change(job_id, Rerun(), executor=executor)

    @abstractmethod
    def heart(self) -> Heart:
        """Answer a new heart, for one thread. It may outlive neither the backend nor that thread."""
