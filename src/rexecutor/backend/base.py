"""The port: what a job store does. Subclass `Backend` to write one; `rexecutor.testing.BackendSuite` proves it.

Everything is batched, fenced, and on the store's clock. What each change means is written in `rexecutor.model.rules`;
a backend decides nothing. A driver's exceptions never leave a backend: they are the cause of a `BackendError`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, NoReturn, Self

from rexecutor.backend.completion import Completion, NoCompletion
from rexecutor.backend.heartbeat import Heart
from rexecutor.backend.messages import PAGE, Claim, Count, Demand, Ticked
from rexecutor.backend.wakeups import Hints
from rexecutor.clock import Clock, SystemClock
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId, storable
from rexecutor.model.outcomes import CancelAsked, Rerun, Settlement
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where


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
        self._cancel_hints: Final = Hints(self.clock)

    def __reduce__(self) -> NoReturn:
        """Raise: no pickle can hold connections."""
        name = type(self).__name__
        raise ConfigurationError(f"{name}: no backend can be pickled or copied; make a new one there: `connect(url)`")

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether it may be used."""

    @abstractmethod
    async def open(self) -> None:
        """Make it ready for use. Harmless when open, and after its event loop was closed.

        Raises:
            BackendClosedError: Another event loop has it open, and the store cannot serve two.
            ConfigurationError: What it was given cannot work.
            SchemaError: The store belongs to another version of rexecutor.
            BackendError: The store cannot be reached.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and let go of the store. Harmless when closed.

        Raises:
            BackendClosedError: Another event loop has it open.
        """

    def close_sync(self) -> None:  # noqa: B027 - most stores keep nothing open for synchronous code
        """Close what synchronous code has opened, from any thread; the next use opens it again. Harmless when closed.

        For programs without an event loop, and for tests that drop their database. What was opened in an event loop
        that has ended is closed as well.

        Raises:
            BackendClosedError: An event loop that has not ended has it open: `await close()` there.
        """

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
        """Bring the store's tables up to this version, also while it is not open, which it then stays.

        There is nothing to do when that is automatic.

        Raises:
            ConfigurationError: What it was given cannot work.
            SchemaError: The tables belong to another version of rexecutor.
            BackendError: The store failed; nothing was changed.
        """

    async def ready(self) -> None:  # noqa: B027 - most stores are ready once open
        """Raise unless an open store has all that work needs. A `Rexecutor` asks when it starts.

        Raises:
            SchemaError: Its tables are missing, or belong to another version of rexecutor.
            BackendError: The store failed.
        """

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs, all or none, and wake those who wait for them. Answers in the order given.

        A job with criteria is added only where `rules.conflicting` describes no job, of the store or earlier in the
        batch; else `rules.existing` chooses one of these, which becomes what `rules.replaced` says. No two enqueues
        with criteria of one scope (executor, key) add two jobs that stand in each other's way, however they race.

        Raises:
            BackendError: The store failed; whether the jobs were stored is not known.
        """

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `enqueue` does, without a loop: callable from any thread, also while it is not open.

        Raises:
            ConfigurationError: It has no way to do that.
            BackendError: The store failed; whether the jobs were stored is not known.
        """
        raise ConfigurationError(f"{type(self).__name__}: has no enqueue_sync of its own; `await enqueue()` instead")

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
    async def give_back(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        """Undo claims whose answer was lost: the node's executing jobs whose claim is not among `held`.

        They change by `Interrupted`. Answers how many there were.

        What was given up may still be on its way to the store, and so may an earlier try of this. So it begins an
        epoch: a claim whose `Demand.epoch` is lower takes nothing from now on, and what is asked for here is done once
        for each epoch (with epoch 0 in any case). A node tells its epoch at each beat, for it may be forgotten.

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

    @property
    def cancels(self) -> int:
        """How many requests to cancel a running job this handle has heard of."""
        return self._cancel_hints.version

    async def wait_cancel(self, until: datetime, *, since: int) -> None:
        """Wait until there is one after that many, or until the moment. A hint: a heartbeat tells of all there are."""
        await self._cancel_hints.wait(until, since=since)

    def heard_cancel(self) -> None:
        """Take note that the cancel of a running job was asked for elsewhere; called by the store's own waking."""
        self._cancel_hints.heard()

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

    @abstractmethod
    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job that has not ended, as `rules.updated` says; answer it after that.

        Raises:
            JobNotFoundError: There is no such job of that executor.
            JobStateError: It has ended.
            StaleJobError: It is no longer of that version.
            BackendError: The store failed; whether it was done is not known.
        """

    @abstractmethod
    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take the ticks that are due, as `rules.looked_at` says, and enqueue their jobs.

        Each tick is taken at most once in the life of the store, in the transaction that enqueues its job; criteria
        of the job are not asked. A schedule that the store does not know begins with its next tick.

        Args:
            schedules: What to look at.
            up_since: Since when the caller has done so: the `now` of its first answer; None at its first look.

        Raises:
            BackendError: The store failed. What was taken is not known; look again.
        """

    @abstractmethod
    async def schedules(self) -> Sequence[StoredSchedule]:
        """Answer the schedules that the store knows, in the order of their ids.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def prune(self, spec: PruneSpec, most: int) -> int:
        """Delete the first `most` of those jobs that `rules.prunable` describes; answer how many there were. Atomic.

        Raises:
            BackendError: The store failed; repeat it.
        """

    @abstractmethod
    async def hold(self, duty: str, node_id: NodeId) -> bool:
        """Make the node the one that does the duty; answer False where another node with a live lease does it.

        Raises:
            BackendError: The store failed; repeat it.
        """

    @abstractmethod
    async def release(self, duty: str, node_id: NodeId) -> None:
        """Let others do the duty. Harmless when the node does not hold it.

        Raises:
            BackendError: The store failed; the duty is free when the node's lease has run out.
        """

    async def cancel(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job: at once while it waits; while it runs its node is told, at its next heartbeat or before.

        Answers the status after that. An ended job stays as it is. Of the reason `Limits.error_text` characters are
        kept, without NUL characters and lone surrogates.

        Raises:
            JobNotFoundError: There is no such job (of that executor, where one is given).
            BackendError: The store failed; repeat it.
        """
        _check_id("cancel", job_id)
        if not isinstance(reason, str):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(f"cancel: the reason is {reason!r}, str expected")
        asked = CancelAsked(storable(reason, self.limits.error_text))
        status = await self.change(job_id, asked, executor=executor)
        if status is JobStatus.EXECUTING:
            self.heard_cancel()
        return status

    async def rerun(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Run the ended job once more, at once.

        Raises:
            JobNotFoundError: There is no such job (of that executor, where one is given).
            JobStateError: The job has not ended.
            BackendError: The store failed; whether it was done is not known.
        """
        _check_id("rerun", job_id)
        await self.change(job_id, Rerun(), executor=executor)

    def command(self, words: str) -> str | None:
        """Return the line for a shell that runs this command of `rexecutor` on this store, such as `jobs show 7`.

        For messages; it shows no secrets. None when the command line cannot reach the store.
        """
        return None

    def completion(self) -> Completion:
        """Answer what completes running jobs in transactions of the application's own. Needs no open backend."""
        return NoCompletion(type(self).__name__)

    @abstractmethod
    def heart(self) -> Heart:
        """Answer a new heart, for one thread. It may outlive neither the backend nor that thread."""


def _check_id(what: str, job_id: object) -> None:
    if type(job_id) is not int:
        raise ConfigurationError(f"{what}: {job_id!r} is no id of a job; give a whole number")
