"""The port: what a job store does. Subclass `Backend` to write one; `rexecutor.testing.BackendSuite` proves it.

Everything is batched, fenced, and on the store's clock. What each change means is written in `rexecutor.model.rules`;
a backend decides nothing. A driver's exceptions never leave a backend: each becomes the cause of a `BackendError`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, NoReturn, Self

from rexecutor.backend.completion import Completion, NoCompletion
from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import (
    EVERY_EXECUTOR,
    MOST_CHANGED,
    PAGE,
    Claim,
    Count,
    Demand,
    Load,
    NewPause,
    Pause,
    StoredNode,
    Ticked,
)
from rexecutor.backend.sync_waits import PollingWatch, SyncWaits, Watch
from rexecutor.backend.waits import SharedWaits, known_of
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock, SystemClock
from rexecutor.errors import ConfigurationError, JobNotFoundError, JobStateError, SchemaError, StaleJobError
from rexecutor.model import rules
from rexecutor.model.checks import (
    LONGEST_DELAY,
    checked_delay,
    checked_ids,
    checked_instance,
    checked_int,
    checked_name,
)
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId, storable
from rexecutor.model.outcomes import CancelAsked, FieldUpdate, Rerun, Settlement
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn, Where


class Backend(ABC):
    """Access to one job store. An async context manager: `async with` opens and closes it."""

    def __init__(self, *, clock: Clock | None = None, limits: Limits | None = None) -> None:
        """Store the settings that every backend has.

        Args:
            clock: Source of the time; the machine's clock by default.
            limits: How large jobs may be.
        """
        self.clock: Final = clock or SystemClock()
        self.limits: Final = limits or Limits()
        self._wakeups = Wakeups(self.clock)
        """For changes of the store: the backend calls `notify` when it makes one, or hears of one."""
        self._cancel_wakeups: Final = Wakeups(self.clock)
        self.waits: Final = SharedWaits(self)
        """Waits until jobs have ended. However many there are, they share the calls of `check_ended`."""
        self.sync_waits: Final = SyncWaits(self)
        """Waits of threads without an event loop."""

    def __reduce__(self) -> NoReturn:
        """Raise `ConfigurationError`: a pickle cannot hold connections."""
        name = type(self).__name__
        raise ConfigurationError(f"cannot pickle or copy {name}; make a new one there: `connect(url)`")

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether the backend is open and can be used."""

    @abstractmethod
    async def open(self) -> None:
        """Make the backend ready for use. Does nothing if it is open; opens it again if its event loop was closed.

        Raises:
            BackendClosedError: Another event loop has it open, and the store cannot serve two.
            ConfigurationError: A setting cannot work.
            SchemaError: The store belongs to another version of rexecutor.
            BackendError: The store cannot be reached.
        """

    @abstractmethod
    async def close(self) -> None:
        """Finish pending work and release the store. Does nothing if the backend is closed.

        Raises:
            BackendClosedError: Another event loop has it open.
        """

    def close_sync(self) -> None:  # noqa: B027 - most stores keep nothing open for synchronous code
        """Close what synchronous calls have opened. Callable from any thread; does nothing if nothing is open.

        For programs without an event loop, and for tests that drop their database. Also closes what was opened in an
        event loop that has ended. The next use opens it again.

        Raises:
            BackendClosedError: An event loop that has not ended has it open: `await close()` there.
        """

    async def __aenter__(self) -> Self:
        """Open the backend; see `open`."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the backend; see `close`."""
        await self.close()

    @abstractmethod
    async def migrate(self) -> None:
        """Bring the store's tables up to this version. A closed backend can do this too, and stays closed.

        Does nothing if the store migrates by itself.

        Raises:
            ConfigurationError: A setting cannot work.
            SchemaError: The tables belong to another version of rexecutor.
            BackendError: The store failed; nothing was changed.
        """

    async def check_schema(self) -> None:  # noqa: B027 - most stores are ready once open
        """Raise unless the open backend's store has all that a node needs. A `Rexecutor` calls this when it starts.

        Raises:
            SchemaError: Its tables are missing, or belong to another version of rexecutor.
            BackendError: The store failed.
        """

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs, all or none, and wake those who wait for them. Return one result per job, in order.

        A job with criteria is added only if no job, in the store or earlier in the batch, matches
        `rules.conflicting`. Otherwise `rules.pick_existing` chooses one of the matching jobs, and `rules.replaced` says
        what becomes of it. Two enqueues with criteria of one scope (executor, key) never add two conflicting jobs,
        however they race.

        Raises:
            BackendError: The store failed; whether the jobs were stored is not known.
        """

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `enqueue` does, without an event loop. Callable from any thread; need not be open.

        Raises:
            ConfigurationError: This backend has no synchronous enqueue.
            BackendError: The store failed; whether the jobs were stored is not known.
        """
        raise self._must_be_awaited("enqueue")

    @abstractmethod
    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs for the node to run: never early, never more than demanded, none without a live lease.

        Jobs are taken in the order of `rules.claim_order`, and each changes by `Claimed`. Two nodes never get the
        same claim.

        Raises:
            BackendError: The store failed. What was claimed is not known: call `release_claims` with the claims held.
        """

    @abstractmethod
    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record how attempts ended. Return the jobs whose claim was lost; these stay as they are. Atomic.

        An outcome is recorded only while the job executes under the settlement's claim. An outcome that is already
        recorded counts as a lost claim, so that repeating the call after a failure does no harm.

        Raises:
            BackendError: The store failed; what was recorded is not known. Call again.
        """

    @abstractmethod
    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        """Give back the node's executing jobs whose claim is not in `held`, because the result of the claim was lost.

        The jobs change by `Interrupted`. Return how many there were.

        An abandoned claim, or an earlier try of this call, may still reach the store later. The call therefore moves
        the node to `epoch`: from then on, claims with a lower `Demand.epoch` take nothing, and another call with this
        epoch, or a lower one, gives nothing back. Epoch 0 moves nothing: such a call always gives the jobs back.
        Heartbeats repeat the epoch, because the store may have forgotten the node and its epoch meanwhile.

        Raises:
            BackendError: The store failed; call again.
        """

    @property
    def change_count(self) -> int:
        """Number of changes of the store that this backend has made or heard of.

        Read it before a look into the store and pass it as `since` to wait afterwards; then no change is missed.
        """
        return self._wakeups.count

    async def wait_ready(self, executors: Collection[str], until: datetime, *, since: int) -> None:
        """Wait until one of the executors may have a due job, but not past `until`.

        A hint: it may return early, and does so at any change that may have made work. If there was one since the
        `change_count` given as `since`, it returns at once.
        """
        await self._wakeups.wait(until, since=since)

    async def wait_ended(self, until: datetime, *, since: int) -> None:
        """Wait until a job may have ended, but not past `until`. A hint, like `wait_ready`, and ended by any change."""
        await self._wakeups.wait(until, since=since, for_end=True)

    @property
    def cancels(self) -> int:
        """How many requests to cancel a running job this backend has heard of."""
        return self._cancel_wakeups.count

    async def wait_cancel(self, until: datetime, *, since: int) -> None:
        """Wait until `cancels` differs from `since`, but not past `until`. A hint: heartbeats return every request."""
        await self._cancel_wakeups.wait(until, since=since)

    def notify_cancel(self) -> None:
        """Count a request to cancel a running job. For the backend's own notifications from other processes."""
        self._cancel_wakeups.notify()

    @abstractmethod
    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return at most `limit` jobs in order of id, from the first id above `after`.

        With `newest`, the order is reversed: the newest job comes first, and lower ids follow `after`. A row that
        cannot be read becomes a record with a `defect`.

        Raises:
            BackendError: The store failed.
        """

    async def query_ids(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobId]:
        """Return the ids of the jobs that `query` would return. A store should not read their data.

        Raises:
            BackendError: The store failed.
        """
        return [record.id for record in await self.query(where, limit=limit, after=after, newest=newest)]

    async def check_ended(self, ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
        """Return those of the jobs that are stored: the record of one that has ended, the status of any other.

        Called at each change and each second while somebody waits for these jobs, at most 1,000. So a store should not
        read all of their data. A row that cannot be read may be returned as a record with a `defect`.

        Raises:
            BackendError: The store failed.
        """
        return known_of(await self.query(IdIn(frozenset(ids)), limit=len(ids)))

    @abstractmethod
    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Return how many jobs there are by executor and status, sorted by these; no entry if there are none.

        Args:
            where: Which jobs to count; None for all.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `rules.transition` says and return its new status. A rerun wakes waiting nodes.

        Raises:
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: Its status does not allow the change.
            BackendError: The store failed; whether it was done is not known.
        """

    @abstractmethod
    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job that has not ended, as `rules.updated` says. Return the changed job.

        Raises:
            JobNotFoundError: There is no such job of that executor.
            JobStateError: The job has ended.
            StaleJobError: The job has changed: it no longer has this `version`.
            BackendError: The store failed; whether it was done is not known.
        """

    async def apply_many(
        self, ids: Collection[JobId], change: CancelAsked | Rerun | FieldUpdate, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        """Change jobs as `rules.changed` says. Return the new status of each that was changed, in order of id.

        Jobs that do not exist, do not match, or are in a status that forbids the change are left out. The stores of
        this package change all of the jobs or none, each as it is at that moment, and wake those who wait. By default,
        jobs are changed one by one.

        Args:
            ids: The jobs, at most `MOST_CHANGED`.
            change: What to do with them.
            where: Which of them; None for all. Checked again for each job when it is changed.

        Raises:
            ConfigurationError: There are too many ids, or one is not an int.
            BackendError: The store failed; what was changed is not known.
        """
        wanted = IdIn(changeable_ids(ids))
        found = await self.query(wanted if where is None else wanted & where, limit=MOST_CHANGED)
        statuses: dict[JobId, JobStatus] = {}
        for record in found:
            changed = rules.changed(record, change, self.clock.now(), self.limits)
            if changed is None:
                continue
            with suppress(JobNotFoundError, JobStateError, StaleJobError):  # somebody else has changed it meanwhile
                if isinstance(change, FieldUpdate):
                    new = updated_job(changed)
                    statuses[record.id] = (await self.update(record.id, new, version=record.version)).status
                else:
                    status = await self.apply(record.id, change, executor=None)
                    if not status.has_ended or status is changed.status:
                        statuses[record.id] = status
        return statuses

    @abstractmethod
    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take the ticks that are due, as `rules.advance` says, and enqueue their jobs.

        Each tick is taken at most once in the life of the store, in the transaction that enqueues its job. Uniqueness
        criteria of the job are ignored. A schedule that the store does not know begins with its next tick.

        Args:
            schedules: The schedules to look at.
            up_since: Since when the caller has looked at them: the `Ticked.now` of its first call; None in that call.

        Raises:
            BackendError: The store failed. What was taken is not known; call again.
        """

    @abstractmethod
    async def schedules(self) -> Sequence[StoredSchedule]:
        """Return the schedules that the store knows, in order of id.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def prune(self, spec: PruneSpec, limit: int) -> int:
        """Delete the first `limit` of the jobs in `rules.prunable`. Return how many were deleted. Atomic.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def add_stats(self, rows: Sequence[StatRow]) -> None:
        """Add the attempts of these rows to the history. Atomic.

        Each row is added to the stored row of the same moment, span, executor and outcome, if there is one.

        Raises:
            BackendError: The store failed; whether the rows were added is not known.
        """

    @abstractmethod
    async def stats(self, since: datetime) -> Sequence[StatRow]:
        """Return the rows of the history whose moment is `since` or later, in order of moment, executor and outcome.

        The rows of the last 24 hours are minutes. Older ones are folded to hours, and after 30 days they are deleted.
        A row that cannot be read is left out.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def fold_stats(self, limit: int) -> int:
        """Fold the oldest rows of minutes to hours, and delete the oldest rows of hours, as `rules.foldable` says.

        Atomic. Several nodes may do it at once, but need not.

        Args:
            limit: Maximum number of rows to fold, and to delete.

        Returns:
            How many rows were folded or deleted; 0 if there is nothing left to do.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        """Make the node the holder of the lock. Return False if another node with a live lease holds it.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def release_lock(self, name: str, node_id: NodeId) -> None:
        """Let other nodes take the lock. Does nothing if this node does not hold it.

        Raises:
            BackendError: The store failed; the lock is free when the node's lease has run out.
        """

    async def cancel(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job and return its new status.

        A waiting job is cancelled at once. The node of a running job hears of it at its next heartbeat or before. An
        ended job stays as it is. A reason longer than `Limits.error_text` characters loses its middle; NUL
        characters and lone surrogates are replaced.

        Raises:
            ConfigurationError: The id is not an int, or the reason is not a str.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            BackendError: The store failed; call again.
        """
        asked = cancel_asked(job_id, reason, self.limits)
        status = await self.apply(job_id, asked, executor=executor)
        if status is JobStatus.EXECUTING:
            self.notify_cancel()
        return status

    async def rerun(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Make the ended job due again, at once.

        Raises:
            ConfigurationError: The id is not an int.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: The job has not ended.
            BackendError: The store failed; whether it was done is not known.
        """
        checked_int("rerun: job_id", job_id)
        await self.apply(job_id, Rerun(), executor=executor)

    async def cancel_many(
        self, ids: Collection[JobId], reason: str, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        """Cancel those of the jobs that have not ended; return their new statuses, as `apply_many` does.

        A job that is still executing then is cancelled by its node; see `cancel`. To cancel all jobs that match an
        expression, read their ids page by page:

        ```python
        last = None
        while ids := await backend.query_ids(where, limit=MOST_CHANGED, after=last):
            cancelled = await backend.cancel_many(ids, "no longer wanted", where=where)
            last = ids[-1]
        ```

        Args:
            ids: The jobs, at most `MOST_CHANGED`.
            reason: Kept in each job's last error; see `cancel`.
            where: Which of them; None for all. Checked again for each job when it is cancelled.

        Raises:
            ConfigurationError: There are too many ids, one is not an int, or the reason is not a str.
            BackendError: The store failed; call again.
        """
        checked_instance("cancel_many: reason", reason, str, "a str")
        asked = CancelAsked(storable(reason, self.limits.error_text))
        statuses = await self.apply_many(ids, asked, where=where)
        if JobStatus.EXECUTING in statuses.values():
            self.notify_cancel()
        return statuses

    async def rerun_many(self, ids: Collection[JobId], *, where: Where | None = None) -> Mapping[JobId, JobStatus]:
        """Make those of the jobs due again that have ended; return their new statuses, as `apply_many` does.

        Raises:
            ConfigurationError: There are too many ids, or one is not an int.
            BackendError: The store failed; what was done is not known.
        """
        return await self.apply_many(ids, Rerun(), where=where)

    async def update_many(
        self, ids: Collection[JobId], update: FieldUpdate, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        """Change fields of those of the jobs that have not ended; return their statuses, as `apply_many` does.

        An attempt that runs at that moment continues with the old values. The values are not checked: data and metadata
        must be valid JSON within the limits, the numbers within those of a builder.

        Raises:
            ConfigurationError: There are too many ids, or one is not an int.
            BackendError: The store failed; call again.
        """
        return await self.apply_many(ids, update, where=where)

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the open store for what keeps jobs from running, makes them slow or may lose them, with each fix.

        For `rexecutor doctor` and a page of an operator. Takes some seconds at most, and changes nothing. By default,
        it only checks the schema.

        Raises:
            BackendError: The store failed.
        """
        try:
            await self.check_schema()
        except SchemaError as error:
            return (Finding("schema", Severity.PROBLEM, str(error), self.command("migrate")),)
        return (Finding("schema", Severity.OK, "this version of rexecutor can work with it"),)

    async def pause(self, executor: str, reason: str, *, lasting: timedelta | None = None) -> Pause:
        """Start no job of the executor on any node, until the time is over or `resume` is called. Stored.

        A claim that begins after this has returned takes no job of it. Jobs that were claimed before go on, and jobs
        can be enqueued as always. If it is paused already, the reason and the end are replaced.

        Args:
            executor: Its name; `EVERY_EXECUTOR` for the jobs of all.
            reason: For people who ask why the jobs wait. It is cut and cleaned like that of `cancel`.
            lasting: How long, on the store's clock, at most 1,000 years; None until `resume`.

        Raises:
            ConfigurationError: An argument is not valid.
            BackendError: The store failed; call again.
        """
        return await self.put_pause(new_pause(executor, reason, lasting, self.limits))

    async def resume(self, executor: str) -> bool:
        """End the pause of the executor, and wake the nodes. Return whether there was one.

        A pause of `EVERY_EXECUTOR` is one of its own: it is ended under that name, and ends no other.

        Raises:
            ConfigurationError: The name is not valid.
            BackendError: The store failed; call again.
        """
        return await self.end_pause(_checked_pausable("resume", executor))

    @abstractmethod
    async def put_pause(self, pause: NewPause) -> Pause:
        """Store the pause, from the store's time on, and return it as it is now in force. `pause` calls this.

        If one is in force, it is replaced, but keeps the moment since when it holds.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def end_pause(self, executor: str) -> bool:
        """Delete the pause of that name, and wake the nodes. Return whether it was in force. `resume` calls this.

        Raises:
            BackendError: The store failed; call again.
        """

    @abstractmethod
    async def pauses(self) -> Sequence[Pause]:
        """Return the pauses that are in force, by name.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def nodes(self) -> Sequence[StoredNode]:
        """Return the nodes that the store knows: the live ones first, then by name, and by id.

        A node whose lease has run out is known until its jobs have been rescued. One that has ended is not known.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def load(self, executor: str | None = None) -> Sequence[Load]:
        """Return what waits and executes of each executor that has such jobs, by name.

        It takes a short time however many jobs there are, because it counts at most `MOST_COUNTED` of each executor.

        Args:
            executor: The only one to look at; None for all.

        Raises:
            BackendError: The store failed.
        """

    def pause_sync(self, executor: str, reason: str, *, lasting: timedelta | None = None) -> Pause:
        """Start no job of the executor as `pause` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: An argument is not valid, or this backend has no synchronous changes.
            BackendError: The store failed; call again.
        """
        return self.put_pause_sync(new_pause(executor, reason, lasting, self.limits))

    def resume_sync(self, executor: str) -> bool:
        """End the pause of the executor as `resume` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: The name is not valid, or this backend has no synchronous changes.
            BackendError: The store failed; call again.
        """
        return self.end_pause_sync(_checked_pausable("resume", executor))

    def put_pause_sync(self, pause: NewPause) -> Pause:
        """Store the pause as `put_pause` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous changes.
            BackendError: The store failed; call again.
        """
        raise self._must_be_awaited("pause")

    def end_pause_sync(self, executor: str) -> bool:
        """Delete the pause of that name as `end_pause` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous changes.
            BackendError: The store failed; call again.
        """
        raise self._must_be_awaited("resume")

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `query` does, without an event loop.

        Like every method with `_sync`, it may be called from any thread, whether or not the backend is open, starts
        neither a thread nor an event loop, and blocks the calling thread.

        Raises:
            ConfigurationError: This backend has no synchronous query.
            BackendError: The store failed.
        """
        raise self._must_be_awaited("query")

    def check_ended_sync(
        self, ids: Collection[JobId], *, seconds: float | None = None
    ) -> Mapping[JobId, JobRecord | JobStatus]:
        """Return which of the jobs have ended as `check_ended` does, without an event loop; see `query_sync`.

        Args:
            ids: The jobs, at most 1,000.
            seconds: Time, in seconds, after which nobody needs the result any more, if the store can use that; None for
                no such time.

        Raises:
            ConfigurationError: This backend has no synchronous query.
            BackendError: The store failed.
        """
        return known_of(self.query_sync(IdIn(frozenset(ids)), limit=len(ids)))

    def watch_sync(self) -> AbstractContextManager[Watch]:
        """Return a watch, with which one thread looks at the store again and again while it waits for jobs to end.

        By default it calls `check_ended_sync`, and keeps nothing open.
        """
        return nullcontext(PollingWatch(self, self._wakeups))

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Return how many jobs there are as `count` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous count.
            BackendError: The store failed.
        """
        raise self._must_be_awaited("count")

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `apply` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous changes.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: Its status does not allow the change.
            BackendError: The store failed; whether it was done is not known.
        """
        raise self._must_be_awaited("apply")

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job as `update` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous changes.
            JobNotFoundError: There is no such job of that executor.
            JobStateError: The job has ended.
            StaleJobError: The job has changed: it no longer has this `version`.
            BackendError: The store failed; whether it was done is not known.
        """
        raise self._must_be_awaited("update")

    def cancel_sync(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job as `cancel` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: The id is not an int, the reason is not a str, or this backend has no synchronous
                changes.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            BackendError: The store failed; call again.
        """
        status = self.apply_sync(job_id, cancel_asked(job_id, reason, self.limits), executor=executor)
        if status is JobStatus.EXECUTING:
            self.notify_cancel()
        return status

    def rerun_sync(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Make the ended job due again as `rerun` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: The id is not an int, or this backend has no synchronous changes.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: The job has not ended.
            BackendError: The store failed; whether it was done is not known.
        """
        checked_int("rerun: job_id", job_id)
        self.apply_sync(job_id, Rerun(), executor=executor)

    def command(self, words: str) -> str | None:
        """Return the shell line that runs this command of `rexecutor`, such as `jobs show 7`, on this store.

        For messages; it shows no secrets. None if the command line cannot reach the store.
        """
        return None

    def completion(self) -> Completion:
        """Return an object that completes running jobs in the application's transactions. Works on a closed backend."""
        return NoCompletion(type(self).__name__)

    @abstractmethod
    def heartbeat_connection(self) -> HeartbeatConnection:
        """Return a new heartbeat connection for one thread. It must outlive neither the backend nor that thread."""

    def _must_be_awaited(self, name: str) -> ConfigurationError:
        return ConfigurationError(f"{type(self).__name__} does not support {name}_sync; use `await {name}(…)`")


def changeable_ids(ids: Collection[JobId]) -> frozenset[JobId]:
    """Return the ids of the jobs that one `apply_many` is to change.

    Raises:
        ConfigurationError: There are too many, or one is not an int.
    """
    if len(ids) > MOST_CHANGED:
        raise ConfigurationError(
            f"{len(ids):,} jobs to change at once, at most {MOST_CHANGED:,} are possible; change them in batches"
        )
    return checked_ids("ids of jobs to change", ids)


def updated_job(record: JobRecord) -> NewJob:
    """Return the record's fields as an update stores them."""
    return NewJob(
        executor=record.executor,
        data=record.data,
        metadata=record.metadata,
        max_attempts=record.max_attempts,
        priority=record.priority,
        tags=record.tags,
        scheduled_at=record.scheduled_at,
        delay=timedelta(0),
        expires_at=record.expires_at,
    )


def cancel_asked(job_id: JobId, reason: str, limits: Limits) -> CancelAsked:
    """Return the change that cancels a job for this reason, as much of it as a store may hold.

    Raises:
        ConfigurationError: The id is not an int, or the reason is not a str.
    """
    checked_int("cancel: job_id", job_id)
    checked_instance("cancel: reason", reason, str, "a str")
    return CancelAsked(storable(reason, limits.error_text))


def new_pause(executor: str, reason: str, lasting: timedelta | None, limits: Limits) -> NewPause:
    """Return the pause to store, with as much of the reason as a store may hold.

    Raises:
        ConfigurationError: An argument is not valid.
    """
    _checked_pausable("pause", executor)
    checked_instance("pause: reason", reason, str, "a str")
    if lasting is not None:
        checked_delay("pause: lasting", lasting, least=timedelta(microseconds=1), limit=LONGEST_DELAY)
    return NewPause(executor, storable(reason, limits.error_text), lasting)


def _checked_pausable(what: str, executor: str) -> str:
    return executor if executor == EVERY_EXECUTOR else checked_name(f"{what}: executor", executor)
