"""`PostgresBackend`: the port on PostgreSQL."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Final, TypeVar, overload

from psycopg.conninfo import conninfo_to_dict

from rexecutor.affinity import Opening
from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.django_connection import DjangoConnection
from rexecutor.backend.findings import Finding
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import PAGE, Claim, Count, Demand, Load, NewPause, Pause, StoredNode, Ticked
from rexecutor.backend.operator_port import changeable_ids
from rexecutor.backend.postgres.address import server_command, url_of
from rexecutor.backend.postgres.app_transaction import PostgresCompletion, bind
from rexecutor.backend.postgres.batching import EnqueueBatcher
from rexecutor.backend.postgres.connection import Connection, checked_schema, connected, migrate
from rexecutor.backend.postgres.diagnosis import Diagnosis
from rexecutor.backend.postgres.drivers import AsyncConnection, SyncConnection
from rexecutor.backend.postgres.execution import run, run_steps
from rexecutor.backend.postgres.hearing import Hearing
from rexecutor.backend.postgres.heartbeat import PostgresHeartbeats
from rexecutor.backend.postgres.liveness import Cutter, seconds_for
from rexecutor.backend.postgres.notifier import Notifier
from rexecutor.backend.postgres.notifying import CANCEL, ENDED, GIVEN_BACK, NotifyingScripts, concerned, is_single
from rexecutor.backend.postgres.operations import Operations
from rexecutor.backend.postgres.pool import Connections, Pool
from rexecutor.backend.postgres.rows import Batch, batches_of, text_length
from rexecutor.backend.postgres.statements import Statements, channel_of
from rexecutor.backend.postgres.sync import SyncStore
from rexecutor.backend.postgres.sync_watch import watching
from rexecutor.backend.sql.operations import Script, Statement
from rexecutor.backend.sync_waits import Watch
from rexecutor.backend.waits import Known
from rexecutor.clock import Clock
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import (
    CancelAsked,
    FieldUpdate,
    Interrupted,
    Rerun,
    Settlement,
    Snooze,
    kinds_of,
    makes_work,
)
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

T = TypeVar("T")

NOTIFY_SECONDS: Final = 3.0
"""Seconds that sending a notification may take. It is short because notifications are hints and the next one waits."""
MIGRATION_SECONDS: Final = 3_600.0
"""Seconds that a migration may take."""


class PostgresBackend(Backend):
    """Stores jobs in a schema of PostgreSQL 14 or later, for any number of nodes.

    Times are the database's own. Only `migrate()` and `rexecutor migrate` create or change the schema: starting
    against a schema that this version cannot work with raises a `SchemaError`.
    """

    def __init__(
        self,
        url: str | Pool,
        *,
        schema: str = "rexecutor",
        clock: Clock | None = None,
        limits: Limits | None = None,
        max_connections: int = 10,
        listens: bool = True,
    ) -> None:
        """Check the settings. The first connection to the server is made when the backend is opened.

        Args:
            url: `postgresql://…`, or a connection string of libpq; or the application's own
                `psycopg_pool.AsyncConnectionPool`, which the backend opens and closes only if it is not open yet.
            schema: Name of the schema of the tables: a letter or `_`, then up to 62 letters, digits or `_`.
            clock: For tests: used instead of the database's time.
            limits: How large jobs may be.
            max_connections: Maximum size of the backend's own pool, 1 or more; a given pool keeps its own maximum.
                Beside it, a backend with running nodes uses one connection for claims and one for outcomes (for a while
                two of each), one for the lease of each node, and one to listen. An application that waits for the end
                of jobs uses the one to listen. Code without an event loop uses separate connections, one for each
                thread that calls at the same moment, and also at most this many; while threads wait for the end of
                jobs, one more listens.
            listens: Whether to be woken by LISTEN and NOTIFY. If False, polling alone finds jobs, and they start later.

        Raises:
            ConfigurationError: A setting cannot work.
        """
        super().__init__(clock=clock, limits=limits)
        self.schema: Final = checked_schema(schema)
        self._connections = Connections(url, self.schema, max_connections)
        self._statements = Statements(self.schema)
        self._operations = Operations(self._statements, self.limits, self.clock)
        self._fake_clock = clock
        self._opening = Opening("PostgreSQL", lambda: self._connections.is_open)
        self._listens = listens
        self._hearing = Hearing(
            self._connections.conninfo,
            self.schema,
            listens=listens,
            clock=self.clock,
            wakeups=self._wakeups,
            notify_cancel=self.notify_cancel,
            forget_marks=self._forget_marks,
        )
        self._notifier, self._batcher = Notifier(self._notify), EnqueueBatcher(self._enqueue_plain)
        self._scripts = NotifyingScripts(self._statements, self._now, self.limits)
        self._sync = SyncStore(self._connections.conninfo, self.schema, max_connections)

    @property
    def is_open(self) -> bool:
        """Whether the backend is open and its event loop has not ended."""
        return self._connections.is_open

    async def open(self) -> None:
        """Connect to the server. The schema need not exist yet: it is checked at the first use."""
        async with self._opening.turn():
            if not self._connections.is_open:
                await self._connections.open()
                self._notifier = Notifier(self._notify)  # of this loop
                self._batcher = EnqueueBatcher(self._enqueue_plain)

    async def close(self) -> None:
        """Close the connections. Does no harm if the backend or its event loop is closed already, or after a fork.

        Raises:
            BackendClosedError: Another event loop has the backend open.
        """
        async with self._opening.turn():
            is_ours = self._connections.must_close()
            try:
                if is_ours:
                    await self._notifier.flush()
                await self._connections.close()
            finally:
                if is_ours:
                    await self._hearing.stop()  # last: a wait may start it as long as the pool is open
        self._sync.close()

    def close_sync(self) -> None:
        """Close the connections that synchronous calls keep; see `Backend.close_sync`."""
        with self._opening.closing():
            if self._connections.close_sync():
                self._hearing.forget()
            self._sync.close()

    async def migrate(self) -> None:
        """Bring the schema up to this version. Atomic; concurrent migrations run one after the other.

        A backend that is not open connects just for this.
        """
        if self.is_open:
            await self._connections.run(
                lambda connection: migrate(connection, self.schema), is_checked=False, seconds=MIGRATION_SECONDS
            )
        else:
            async with connected(self._connections.conninfo, self.schema) as connection:
                with Cutter().cut_after(MIGRATION_SECONDS, connection):
                    await migrate(connection, self.schema)
        self._connections.forget_check()

    async def check_schema(self) -> None:
        """Raise a `SchemaError` unless this version can work with the schema."""
        await self._connections.run(_do_nothing)

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs."""
        if not jobs:
            return ()
        if any(job.unique is not None for job in jobs):
            answers = await self._connections.transaction(
                lambda connection: run_steps(connection, self._statements.enqueue(jobs, self._now())),
                seconds=seconds_for(text_length(jobs)),
            )
            self._wake({job.executor for job in jobs})
            return answers
        self._connections.check_place()  # first: the result of an enqueue of another loop would not reach this one
        batches = batches_of(jobs)
        answers = await (self._batcher.enqueue(batches[0]) if len(batches) == 1 else self._enqueue_plain(*batches))
        self._wakeups.notify()
        return answers

    async def _enqueue_plain(self, *batches: Batch) -> Sequence[Enqueued]:
        jobs = batches[0].jobs
        notifies = False

        async def store(connection: Connection) -> Sequence[Enqueued]:
            nonlocal notifies
            notifies = len(batches) == 1 and is_single(jobs) and self._notifier.begin(jobs[0].executor)
            if notifies:
                return await run_steps(connection, self._scripts.enqueue(jobs))
            return await run_steps(connection, self._statements.insert(batches, self._now()))

        run_on = self._connections.run if len(batches) == 1 else self._connections.transaction
        answers = await run_on(store, seconds=seconds_for(sum(batch.text for batch in batches)))
        if not notifies:
            self._notifier.ring({job.executor for batch in batches for job in batch.jobs})
        return answers

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs on a synchronous connection, one for each thread that enqueues at the same moment."""
        if not jobs:
            return ()
        if is_single(jobs):
            answers = self._sync.run_singly(self._scripts.enqueue(jobs))
        else:
            answers = self._sync.run(lambda: self._scripts.enqueue(jobs))
        self._wakeups.notify()
        return answers

    @overload
    def bound_to(self, connection: DjangoConnection) -> SyncTransaction: ...
    @overload
    def bound_to(self, connection: AsyncConnection) -> Transaction: ...
    @overload
    def bound_to(self, connection: SyncConnection) -> SyncTransaction: ...
    def bound_to(self, connection: object) -> Transaction | SyncTransaction:
        """Return an object that enqueues in your transaction: `enqueue(backend=postgres.bound_to(connection))`.

        The jobs, and the notifications that wake the nodes, are committed or rolled back with your own statements. On
        a connection in autocommit, the enqueue is one transaction. The backend need not be open. Jobs that are due at
        once or after a delay count from the beginning of your transaction. As with any error in PostgreSQL, after a
        `BackendError` the transaction can only be rolled back.

        Args:
            connection: A connection to the database of this backend, with a role that may write to its schema: of
                psycopg (async or not), asyncpg, SQLAlchemy on these (`AsyncSession`, `AsyncConnection`, and on psycopg
                `Session`, `Connection`), or Django on psycopg (`django.db.connection`,
                `django.db.connections["alias"]`). Those of SQLAlchemy and Django are asked for the driver's connection
                at each use. Use `enqueue` with the async ones, `enqueue_sync` with the others.

        Raises:
            ConfigurationError: The connection is none of these.
        """
        return bind(self, self._scripts, connection)

    def command(self, words: str) -> str:
        """Return the shell command that runs `words` on this schema. It shows no password; the reader puts it in."""
        return server_command(words, conninfo_to_dict(self._connections.conninfo), self.schema)

    @property
    def place(self) -> str:
        """The server's URL without its password, and the schema."""
        return f"{url_of(conninfo_to_dict(self._connections.conninfo))}, schema {self.schema}"

    def completion(self) -> Completion:
        """Return an object that completes jobs on any connection that `bound_to` takes."""
        return PostgresCompletion(self.schema, self.limits.errors, self._fake_clock)

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs."""
        return await self._connections.run(
            lambda connection: self._operations.claim(connection, demand, node_id, self._now()), duty="claim"
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record outcomes."""
        kinds = kinds_of(settlements)
        try:
            refused = await self._connections.run(
                lambda connection: self._operations.settle(connection, settlements, self._now()), duty="settle"
            )
        finally:
            if Interrupted in kinds:  # perhaps also if the answer is lost
                self._forget_marks()
        self._wakeups.notify(is_end=not makes_work(kinds))
        if Interrupted in kinds:
            self._notifier.ring({GIVEN_BACK})
        # Also if they were refused: `complete_in` may have completed them.
        if self._hearing.is_awaited and kinds - {Snooze, Interrupted}:
            self._notifier.ring({ENDED})
        return refused

    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        """Undo claims whose result was lost."""
        given_back = await self._transact(
            lambda now: self._statements.release_claims(node_id, held, epoch, now, self.limits)
        )
        self._forget_marks()
        self._wake({GIVEN_BACK})  # also if there were none: an earlier try may have given some back
        return given_back

    async def wait_ready(self, executors: Collection[str], until: datetime, *, since: int) -> None:
        """Wait until one of the executors may have a due job; see `Backend.wait_ready`."""
        self._listen()
        await super().wait_ready(executors, until, since=since)

    async def wait_ended(self, until: datetime, *, since: int) -> None:
        """Wait until a job may have ended; see `Backend.wait_ended`."""
        self._listen()
        await super().wait_ended(until, since=since)

    async def wait_cancel(self, until: datetime, *, since: int) -> None:
        """Wait until somebody may have asked to cancel a running job; see `Backend.wait_cancel`."""
        self._listen()
        await super().wait_cancel(until, since=since)

    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs in the order of their ids, or in reverse."""
        return await self._run(lambda: self._statements.query(where, limit, after, self._now(), newest=newest))

    async def query_ids(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobId]:
        """Return the ids of jobs, without reading the other columns."""
        return await self._run(lambda: self._statements.query_ids(where, limit, after, self._now(), newest=newest))

    async def check_ended(self, ids: Collection[JobId]) -> Known:
        """Return those of the jobs that are stored. Reads the data of ended ones only.

        Every 10 s, other backends first hear that somebody waits here, so that they notify of ended jobs. When that
        notification comes back here it causes one more look, for the jobs that ended before others had heard it.
        """
        announces = self._hearing.must_announce

        async def check(connection: Connection) -> Known:
            if announces:
                await run(connection, self._notification([self._hearing.token]))
                self._hearing.note_announced()
            return await run_steps(connection, self._statements.check_ended(ids, self._now()))

        return await self._connections.run(check)

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `query` does, on a synchronous connection."""
        return self._sync.run_singly(self._scripts.query(where, limit, after, newest=newest))

    def check_ended_sync(self, ids: Collection[JobId], *, seconds: float | None = None) -> Known:
        """Return which of the jobs have ended, on a synchronous connection."""
        return self._sync.run_singly(self._statements.check_ended(ids, self._now()), seconds=seconds)

    def watch_sync(self) -> AbstractContextManager[Watch]:
        """Return a watch that listens for ended jobs once it is 0.2 s old, on a connection of its own."""
        if not self._listens:
            return super().watch_sync()
        return watching(self, self._connections.conninfo, self._statements, self._wakeups)

    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs, except those of an unknown status. Reads all rows that may be meant."""
        return await self._run(lambda: self._statements.count(where, self._now()))

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs as `count` does, on a synchronous connection."""
        return self._sync.run_singly(self._scripts.count(where))

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job."""
        record = await self._transact(lambda now: self._statements.apply(job_id, change, executor, now, self.limits))
        self._wake(concerned(record, change))
        return record.status

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job on a synchronous connection."""
        record = self._sync.run(lambda: self._scripts.apply(job_id, change, executor))
        self._wakeups.notify()
        return record.status

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields."""
        record = await self._transact(lambda now: self._statements.update(job_id, new, version, now))
        self._wake({record.executor})
        return record

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields on a synchronous connection."""
        record = self._sync.run(lambda: self._scripts.update(job_id, new, version))
        self._wakeups.notify()
        return record

    async def apply_many(
        self, ids: Collection[JobId], change: CancelAsked | Rerun | FieldUpdate, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        """Change many jobs, with two statements; see `Backend.apply_many`."""
        wanted = changeable_ids(ids)
        changed = await self._connections.transaction(
            lambda connection: run_steps(
                connection, self._statements.apply_many(wanted, change, where, self._now(), self.limits)
            )
        )
        if isinstance(change, CancelAsked):
            statuses = {status for _, status, _ in changed}
            self._wake({CANCEL if status is JobStatus.EXECUTING else ENDED for status in statuses})
        else:
            self._wake({executor for _, _, executor in changed})
        return {job_id: status for job_id, status, _ in changed}

    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take due ticks and enqueue their jobs."""

        def take(now: datetime) -> Script[tuple[Ticked, Sequence[NewJob]]]:
            ticked, jobs = yield from self._statements.tick(schedules, up_since, now)
            if jobs:
                yield from self._statements.enqueue(jobs, self._now())
            return ticked, jobs

        ticked, jobs = await self._transact(take)
        if jobs:
            self._wake({job.executor for job in jobs})
        return ticked

    async def schedules(self) -> Sequence[StoredSchedule]:
        """Return the schedules that the store knows."""
        return await self._run(self._statements.schedules)

    async def put_pause(self, pause: NewPause) -> Pause:
        """Store a pause."""
        return await self._transact(lambda now: self._statements.put_pause(pause, now))

    def put_pause_sync(self, pause: NewPause) -> Pause:
        """Store a pause on a synchronous connection."""
        return self._sync.run(lambda: self._scripts.put_pause(pause))

    async def end_pause(self, executor: str) -> bool:
        """Delete a pause."""
        was_paused = await self._transact(lambda now: self._statements.end_pause(executor, now))
        self._wake({executor})  # also if there was none: an earlier try may have ended it
        return was_paused

    def end_pause_sync(self, executor: str) -> bool:
        """Delete a pause on a synchronous connection."""
        was_paused = self._sync.run(lambda: self._scripts.end_pause(executor))
        self._wakeups.notify()
        return was_paused

    async def pauses(self) -> Sequence[Pause]:
        """Return the pauses that are in force."""
        return await self._run(lambda: self._statements.pauses(self._now()))

    async def nodes(self) -> Sequence[StoredNode]:
        """Return the nodes that the store knows."""
        return await self._run(lambda: self._statements.nodes(self._now()))

    async def load(self, executor: str | None = None) -> Sequence[Load]:
        """Return what waits and executes of each executor, in a transaction of its own."""
        return await self._connections.transaction(
            lambda connection: run_steps(connection, self._statements.load(executor, self._now()))
        )

    async def prune(self, spec: PruneSpec, limit: int) -> int:
        """Delete ended jobs."""
        return await self._connections.run(
            lambda connection: self._operations.prune(connection, spec, limit, self._now())
        )

    async def add_stats(self, rows: Sequence[StatRow]) -> None:
        """Add the rows to the history, in one statement."""
        await self._run(lambda: self._statements.add_stats(rows))

    async def stats(self, since: datetime) -> Sequence[StatRow]:
        """Return the rows of the history since the moment."""
        return await self._run(lambda: self._statements.stats(since))

    async def fold_stats(self, limit: int) -> int:
        """Fold old minutes and forget old hours; see `Backend.fold_stats`."""
        return await self._transact(lambda now: self._statements.fold_stats(limit, now))

    async def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        """Make the node hold the lock unless another node with a live lease does; return whether it holds it."""
        statement = self._statements.of("acquire_lock", name=name, node=node_id, now=self._now())
        return bool(await self._connections.run(lambda connection: run(connection, statement)))

    async def release_lock(self, name: str, node_id: NodeId) -> None:
        """Let other nodes hold the lock."""
        statement = self._statements.of("release_lock", name=name, node=node_id)
        await self._connections.run(lambda connection: run(connection, statement))

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the server, its settings and the schema; see `Backend.diagnose`. Uses two connections more."""
        diagnosis = Diagnosis(self._statements, self.clock, self._connections.conninfo, listens=self._listens)
        found = await self._connections.run(diagnosis.findings, is_checked=False)
        return [*found, *await diagnosis.hearing()]

    def heartbeat_connection(self) -> HeartbeatConnection:
        """Return a heartbeat connection with a connection of its own."""
        self._connections.check_open()
        on_ended = partial(self._wakeups.notify, is_end=True)
        return PostgresHeartbeats(self._connections.conninfo, self._statements, self._fake_clock, self.limits, on_ended)

    def _now(self) -> datetime | None:
        return None if self._fake_clock is None else self._fake_clock.now()

    def _listen(self) -> None:
        """Start to listen at the first wait, so that an application that only enqueues needs no connection for it."""
        if self._connections.is_usable_here:
            self._hearing.start()

    def _forget_marks(self) -> None:
        self._operations.marks.forget(self.clock.monotonic())

    def _wake(self, executors: Collection[str]) -> None:
        """Wake all who wait for jobs, here and on other nodes."""
        self._wakeups.notify()
        self._notifier.ring(executors)

    async def _notify(self, names: list[str]) -> None:
        notify = self._notification(names)
        await self._connections.run(lambda connection: run(connection, notify), seconds=NOTIFY_SECONDS)

    def _notification(self, names: list[str]) -> Statement:
        return self._statements.of("notify", channel=channel_of(self.schema), executors=names)

    async def _run(self, script: Callable[[], Script[T]]) -> T:
        """Execute a script of at most one statement, in no transaction."""
        return await self._connections.run(lambda connection: run_steps(connection, script()))

    async def _transact(self, script: Callable[[datetime], Script[T]]) -> T:
        """Execute a script, which is given the time of its transaction."""
        return await self._connections.transaction(
            lambda connection: run_steps(connection, self._statements.at_now(self._now(), script))
        )


async def _do_nothing(connection: Connection) -> None:
    """Do nothing: `Connections.run` has checked the schema."""
