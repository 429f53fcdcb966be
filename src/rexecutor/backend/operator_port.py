"""The part of the port that operators need: changes of many jobs, pauses, and what the store knows of its nodes."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from rexecutor.backend.application_port import ApplicationPort
from rexecutor.backend.findings import Finding, Severity
from rexecutor.backend.messages import EVERY_EXECUTOR, MOST_CHANGED, Load, NewPause, Pause, StoredNode
from rexecutor.errors import ConfigurationError, JobNotFoundError, JobStateError, SchemaError, StaleJobError
from rexecutor.model import rules
from rexecutor.model.checks import LONGEST_DELAY, checked_delay, checked_ids, checked_instance, checked_name
from rexecutor.model.job import JobId, JobRecord, Limits, NewJob, storable
from rexecutor.model.outcomes import CancelAsked, FieldUpdate, Rerun
from rexecutor.model.schedules import StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn, Where


class OperatorPort(ApplicationPort):
    """What operators do with a store, by commands and on a dashboard."""

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

    async def pause(self, executor: str, reason: str, *, lasting: timedelta | None = None) -> Pause:
        """Pause the executor on all nodes, until the time is over or `resume` is called, and return the stored pause.

        A claim that begins after this has returned takes no job of it. Jobs that were claimed before go on, and jobs
        can be enqueued as always. If it is paused already, the reason and the end are replaced, in one step; `since`
        stays. The executor need not be known to any node.

        Args:
            executor: Its name; `EVERY_EXECUTOR` for the jobs of all.
            reason: Shown to people who ask why the jobs wait; may be empty. Of one longer than `Limits.error_text`
                characters the middle is cut out; NUL characters and lone surrogates are replaced.
            lasting: How long, on the store's clock; above zero, at most 1,000 years. None until `resume`.

        Raises:
            ConfigurationError: An argument is not valid.
            BackendError: The store failed; call again.
        """
        return await self.put_pause(new_pause(executor, reason, lasting, self.limits))

    async def resume(self, executor: str) -> bool:
        """End the pause of the executor, and wake the nodes. Return whether it was paused.

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

    @abstractmethod
    async def nodes(self) -> Sequence[StoredNode]:
        """Return the nodes that the store knows, the live ones first; among these and among the others, by name and id.

        A node that was killed is live until its lease runs out, and is returned until its jobs have been rescued. A
        node that has shut down is not returned. All have the same `seen_at`, the store's time of this call.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def load(self, executor: str | None = None) -> Sequence[Load]:
        """Return the number of jobs that wait and that execute, for each executor that has any, in order of name.

        All numbers are of one moment. It takes a short time however many jobs there are, because it counts at most
        `MOST_COUNTED` waiting jobs of all executors together. Each executor gets an equal share of these, and what some
        leave of theirs goes to those that have more jobs. A number above `Load.counted_to` stands for any larger one.

        Args:
            executor: Name of the only executor to count; None for all. If it has no such jobs, the result is empty.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def schedules(self) -> Sequence[StoredSchedule]:
        """Return the schedules that the store knows, in order of id.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def stats(self, since: datetime) -> Sequence[StatRow]:
        """Return the rows of the history whose moment is `since` or later, in order of moment, executor and outcome.

        The rows of the last 24 hours are minutes. Older ones are folded to hours, and after 30 days they are deleted.
        A row that cannot be read is left out.

        Raises:
            BackendError: The store failed.
        """

    async def diagnose(self) -> Sequence[Finding]:
        """Check the store for what keeps jobs from running, makes them slow or may lose them; for `rexecutor doctor`.

        The backend must be open. It takes a few seconds at most, and changes nothing. By default, it only checks the
        schema.

        Returns:
            One finding for each check, also for those with nothing wrong (`Severity.OK`), each with its fix if there is
            something to do.

        Raises:
            BackendError: The store failed.
        """
        try:
            await self.check_schema()
        except SchemaError as error:
            return (Finding("schema", Severity.PROBLEM, str(error), self.command("migrate")),)
        return (Finding("schema", Severity.OK, "this version of rexecutor can work with it"),)


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
