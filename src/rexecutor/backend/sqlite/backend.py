"""`SQLiteBackend`: the port on an SQLite file."""

import asyncio
import re
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar

import rexecutor.backend.sqlite.operations as store
from rexecutor.affinity import Affinity, Opening
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.django_connection import DjangoConnection
from rexecutor.backend.findings import Finding
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.masking import masked_url
from rexecutor.backend.messages import PAGE, Claim, Count, Demand, Load, NewPause, Pause, StoredNode, Ticked
from rexecutor.backend.operator_port import changeable_ids
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.sqlite.app_transaction import SqliteCompletion, SqliteTransaction
from rexecutor.backend.sqlite.checkpoint import Checkpoints
from rexecutor.backend.sqlite.connection import file_command, migrate, migrate_alone
from rexecutor.backend.sqlite.diagnosis import Diagnosis
from rexecutor.backend.sqlite.doorbell import Doorbell
from rexecutor.backend.sqlite.heartbeat import SQLiteHeartbeats
from rexecutor.backend.sqlite.operations import SCRIPTS, run
from rexecutor.backend.sqlite.sync import SyncStore
from rexecutor.backend.sqlite.watch import FileWatch
from rexecutor.backend.sqlite.writer import SqlThread
from rexecutor.backend.sync_waits import Watch
from rexecutor.backend.unwrapping import SqlAlchemyConnection, SqlAlchemySession
from rexecutor.backend.waits import Known
from rexecutor.clock import Clock
from rexecutor.errors import BackendClosedError, ConfigurationError
from rexecutor.model.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.model.outcomes import CancelAsked, FieldUpdate, Rerun, Settlement, kinds_of, makes_work
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.stats import StatRow
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

T = TypeVar("T")


class SQLiteBackend(Backend):
    """Jobs in an SQLite file, for any number of processes on one machine. Opening creates and migrates the file.

    An accepted job survives the death of the process and, with `synchronous="FULL"`, the loss of power (if the disk
    keeps what it has confirmed). Not for network file systems. Its tables begin with `rexecutor_`, so the file may be
    the application's own.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        """Check the settings; the file is touched only when the backend is opened.

        Args:
            path: The file; created if missing. Its folder must exist.
            clock: Source of the time; by default the machine's clock, which all processes share.
            limits: How large jobs may be.
            synchronous: `"NORMAL"` is faster, and a loss of power may undo the last commits (never corrupt the file).

        Raises:
            ConfigurationError: The path or a setting cannot work.
        """
        super().__init__(clock=clock, limits=limits)
        if str(path) in ("", ":memory:"):
            raise ConfigurationError(
                f"SQLiteBackend({str(path)!r}): path must be a file; to keep jobs in memory, use InMemoryBackend"
            )
        if re.match("[A-Za-z0-9+]{2,}://", str(path)):
            raise ConfigurationError(
                f"SQLiteBackend: path must be a file, but {masked_url(str(path))!r} is a URL; use connect(…)"
            )
        if str(path).startswith("file:"):
            raise ConfigurationError(f"SQLiteBackend({str(path)!r}): path must be a file, not a URI")
        if synchronous not in ("FULL", "NORMAL"):
            raise ConfigurationError(f'SQLiteBackend: synchronous must be "FULL" or "NORMAL", not {synchronous!r}')
        self.path: Final = Path(path)
        checkpoints = Checkpoints(self.path)
        self._writer = SqlThread(self.path, synchronous=synchronous, begin="BEGIN IMMEDIATE", checkpoints=checkpoints)
        self._reader = SqlThread(self.path, synchronous=synchronous, begin="BEGIN", checkpoints=checkpoints)
        self._sync = SyncStore(self.path, synchronous, self.clock, checkpoints)
        self._synchronous = synchronous
        self._doorbell = Doorbell()
        self._watch = FileWatch(self.path, self._wakeups, self.clock)
        self._opening = Opening(str(self.path), lambda: self._watch.is_open)
        self._affinity: Affinity | None = None

    @property
    def is_open(self) -> bool:
        """Whether the backend is open and its event loop has not ended."""
        return self._watch.is_open and self._affinity is not None and not self._affinity.has_ended

    async def open(self) -> None:
        """Open the file, create it if missing, and migrate it; see `Backend.open`."""
        async with self._opening.turn():
            if self.is_open:
                return
            await self._let_go()  # of connections left open in a loop that is closed
            self._affinity = Affinity()
            await self._writer.start(lambda connection: migrate(connection, self.path))
            try:
                await self._reader.start(lambda _: None)
                self._watch.open(self._synchronous)
            except BaseException:
                await self._reader.stop()
                await self._writer.stop()
                raise
            self._doorbell.open(self._wakeups.notify, self.notify_cancel)

    async def close(self) -> None:
        """Finish pending work, then close the file. Does nothing if closed, or in a forked child.

        Raises:
            BackendClosedError: Another event loop has it open.
        """
        if self._affinity is not None and self._affinity.is_other_process:
            return  # SQLite allows no child to close what the parent has opened, and the doorbell is the parent's
        async with self._opening.turn():
            await self._let_go()

    async def _let_go(self) -> None:
        if self._watch.is_open:
            self._doorbell.close()
            self._watch.close()
            try:
                await self._reader.stop()
            finally:
                await self._writer.stop()

    def close_sync(self) -> None:
        """Close what was left open in an event loop that has ended; synchronous calls keep nothing open."""
        if self._affinity is None or self._affinity.is_other_process:
            return
        with self._opening.closing():
            if self._watch.is_open:
                self._doorbell.close()
                self._watch.close()
                self._reader.stop_sync()
                self._writer.stop_sync()

    async def migrate(self) -> None:
        """Migrate the file's tables if the backend is not open; `open` has done it otherwise."""
        if not self.is_open:
            await asyncio.to_thread(migrate_alone, self.path, self._synchronous)

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs; calls of the same moment share a commit."""
        if not jobs:
            return ()
        return await self._change_and_wake(lambda connection, now: store.enqueue(connection, jobs, now))

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs on a new connection, which creates and migrates the file as `open` does."""
        if not jobs:
            return ()
        return self._change_and_wake_sync(lambda connection, now: store.enqueue(connection, jobs, now))

    def bound_to(
        self, connection: sqlite3.Connection | SqlAlchemyConnection | SqlAlchemySession | DjangoConnection
    ) -> SqliteTransaction:
        """Return a `backend=` that enqueues in your transaction: `enqueue_sync(backend=sqlite.bound_to(connection))`.

        The jobs are committed or rolled back with your own statements. The first enqueue takes the file's write lock,
        and so begins the transaction if your connection would begin one before an INSERT; a connection that commits
        each statement by itself commits the enqueue as one. `await enqueue(…)` works as well; it blocks the loop as
        your own statements do.

        Args:
            connection: A connection to this backend's file. The file must have its tables: open the backend once
                before. Any `row_factory`, `text_factory` and transaction mode will do. A `Session` or `Connection` of
                SQLAlchemy, and Django's connection (`django.db.connection`, `django.db.connections["alias"]`), are
                asked for the driver's connection at each use. A connection of aiosqlite cannot be used.

        Raises:
            ConfigurationError: It is another kind of object, or a connection to another file.
            BackendError: The connection is closed, or belongs to another thread.
        """
        return SqliteTransaction(self, self.path, connection)

    def command(self, words: str) -> str | None:
        """Return the shell line that runs the command on this file, from any folder."""
        return file_command(words, self.path)

    @property
    def place(self) -> str:
        """The URL of the file."""
        return f"sqlite:///{self.path.absolute()}"

    def completion(self) -> Completion:
        """Return an object that completes jobs on any connection that `bound_to` takes."""
        return SqliteCompletion(self.path, self.limits, self.clock)

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs; see `Backend.claim`. Shares a commit with a settle of the same moment."""
        return await self._change(lambda connection, now: store.claim(connection, demand, node_id, now))

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record outcomes; see `Backend.settle`. Shares a commit with a claim of the same moment."""
        refused = await self._change(lambda connection, now: store.settle(connection, settlements, now, self.limits))
        self._wakeups.notify(is_end=not makes_work(kinds_of(settlements)))
        return refused

    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId], *, epoch: int = 0) -> int:
        """Undo claims whose result was lost; see `Backend.release_claims`."""
        return await self._change(
            lambda connection, now: run(connection, SCRIPTS.release_claims(node_id, held, epoch, now, self.limits))
        )

    async def wait_ready(self, executors: Collection[str], until: datetime, *, since: int) -> None:
        """Wait for a doorbell ring, or for a commit to the file that may have made work."""
        await self._watch.wait_ready(until, since)

    async def wait_ended(self, until: datetime, *, since: int) -> None:
        """Wait for any commit to the file."""
        await self._watch.wait_ended(until, since)

    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs in order of id, or in reverse. Reads beside the writer, without blocking it."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.query(where, limit, after, now, newest=newest))

    async def query_ids(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobId]:
        """Return the ids of jobs, without reading their data."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.query_ids(where, limit, after, now, newest=newest))

    async def check_ended(self, ids: Collection[JobId]) -> Known:
        """Return those of the jobs that are stored. Reads the data of ended ones only, without blocking the writer."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.check_ended(ids, now))

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `query` does, on a new connection, which creates and migrates the file as `open` does."""
        return self._sync.read(lambda now: SCRIPTS.query(where, limit, after, now, newest=newest))

    def check_ended_sync(self, ids: Collection[JobId], *, seconds: float | None = None) -> Known:
        """Return which of the jobs have ended. Reads the data of ended ones only, on a new connection."""
        return self._sync.read(lambda now: SCRIPTS.check_ended(ids, now))

    def watch_sync(self) -> AbstractContextManager[Watch]:
        """Return a watch that notices every commit to the file, on a connection of its own."""
        return self._sync.watch(self._wakeups)

    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs by executor and status. Reads all rows that may be meant, beside the writer."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.count(where, now))

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs by executor and status. Reads all rows that may be meant, on a new connection."""
        return self._sync.read(lambda now: SCRIPTS.count(where, now))

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job; see `Backend.apply`."""
        record = await self._change_and_wake(
            lambda connection, now: run(connection, SCRIPTS.apply(job_id, change, executor, now, self.limits)),
            is_cancel=isinstance(change, CancelAsked),
        )
        return record.status

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job on a new connection."""
        record = self._change_and_wake_sync(
            lambda connection, now: run(connection, SCRIPTS.apply(job_id, change, executor, now, self.limits)),
            is_cancel=isinstance(change, CancelAsked),
        )
        return record.status

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields; see `Backend.update`."""
        return await self._change_and_wake(
            lambda connection, now: run(connection, SCRIPTS.update(job_id, new, version, now))
        )

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields on a new connection."""
        return self._change_and_wake_sync(
            lambda connection, now: run(connection, SCRIPTS.update(job_id, new, version, now))
        )

    async def apply_many(
        self, ids: Collection[JobId], change: CancelAsked | Rerun | FieldUpdate, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        """Change many jobs in one transaction; see `Backend.apply_many`."""
        wanted = changeable_ids(ids)
        return await self._change_and_wake(
            lambda connection, now: run(connection, SCRIPTS.apply_many(wanted, change, where, now, self.limits)),
            is_cancel=isinstance(change, CancelAsked),
        )

    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take due ticks and enqueue their jobs."""
        return await self._change_and_wake(lambda connection, now: store.tick(connection, schedules, up_since, now))

    async def schedules(self) -> Sequence[StoredSchedule]:
        """Return the known schedules, in order of id."""
        return await self._read(SCRIPTS.schedules)

    async def put_pause(self, pause: NewPause) -> Pause:
        """Store a pause."""
        return await self._change(lambda connection, now: run(connection, SCRIPTS.put_pause(pause, now)))

    def put_pause_sync(self, pause: NewPause) -> Pause:
        """Store a pause on a new connection."""
        return self._sync.change(lambda connection, now: run(connection, SCRIPTS.put_pause(pause, now)))[0]

    async def end_pause(self, executor: str) -> bool:
        """Delete a pause."""
        return await self._change_and_wake(lambda connection, now: run(connection, SCRIPTS.end_pause(executor, now)))

    def end_pause_sync(self, executor: str) -> bool:
        """Delete a pause on a new connection."""
        return self._change_and_wake_sync(lambda connection, now: run(connection, SCRIPTS.end_pause(executor, now)))

    async def pauses(self) -> Sequence[Pause]:
        """Return the pauses that are in force."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.pauses(now))

    async def nodes(self) -> Sequence[StoredNode]:
        """Return the nodes that the store knows."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.nodes(now))

    async def load(self, executor: str | None = None) -> Sequence[Load]:
        """Return what waits and executes of each executor, read beside the writer."""
        now = self.clock.now()
        return await self._read(lambda: SCRIPTS.load(executor, now))

    async def prune(self, spec: PruneSpec, limit: int) -> int:
        """Delete ended jobs; see `Backend.prune`. Finds them beside the writer, without blocking it."""
        now = self.clock.now()
        found = await self._reader.run(lambda connection: store.find_prunable(connection, spec, limit, now))
        return await self._change(lambda connection, _: store.prune(connection, spec, found)) if found else 0

    async def add_stats(self, rows: Sequence[StatRow]) -> None:
        """Add the rows to the history."""
        await self._change(lambda connection, _: run(connection, SCRIPTS.add_stats(rows)))

    async def stats(self, since: datetime) -> Sequence[StatRow]:
        """Return the rows of the history since the moment. Reads beside the writer, without blocking it."""
        return await self._read(lambda: SCRIPTS.stats(since))

    async def fold_stats(self, limit: int) -> int:
        """Fold old minutes and forget old hours; see `Backend.fold_stats`."""
        return await self._change(lambda connection, now: run(connection, SCRIPTS.fold_stats(limit, now)))

    async def acquire_lock(self, name: str, node_id: NodeId) -> bool:
        """Make the node the holder of the lock; see `Backend.acquire_lock`."""
        return await self._change(lambda connection, now: store.acquire_lock(connection, name, node_id, now))

    async def release_lock(self, name: str, node_id: NodeId) -> None:
        """Let other nodes take the lock."""
        await self._change(lambda connection, _: store.release_lock(connection, name, node_id))

    async def diagnose(self) -> Sequence[Finding]:
        """Look at the file, its settings and its place; see `Backend.diagnose`. Reads on a connection of its own."""
        if not self.is_open:
            raise self._not_open()
        diagnosis = Diagnosis(
            self.path, synchronous=self._synchronous, now=self.clock.now(), monotonic=self.clock.monotonic
        )
        return await asyncio.to_thread(diagnosis.findings)

    def heartbeat_connection(self) -> HeartbeatConnection:
        """Return a heartbeat connection with its own connection.

        Raises:
            BackendClosedError: The backend is not open.
        """
        if not self._watch.is_open:
            raise self._not_open()
        return SQLiteHeartbeats(self.path, self.clock, self.limits, self._doorbell)

    def _not_open(self) -> BackendClosedError:
        return BackendClosedError(f"{self.path}: not open; use `async with`, or start a Rexecutor with it")

    async def _read(self, script: Callable[[], Script[T]]) -> T:
        return await self._reader.run(lambda connection: run(connection, script()))

    async def _change(self, work: Callable[[sqlite3.Connection, datetime], T]) -> T:
        # The clock is read under the write lock, so that times grow in the order of commits.
        return await self._writer.run(lambda connection: work(connection, self.clock.now()))

    async def _change_and_wake(
        self, work: Callable[[sqlite3.Connection, datetime], T], *, is_cancel: bool = False
    ) -> T:
        """Do the work, then wake all who wait for jobs, also in other processes."""
        result = await self._writer.run(
            lambda connection: work(connection, self.clock.now()),
            at_commit=self._ring_cancel if is_cancel else self._ring,
        )
        self._wakeups.notify()
        return result

    # The next two run in the writer's thread, so that other processes need not wait for this process's event loop.

    def _ring(self, connection: sqlite3.Connection) -> Callable[[], object]:
        return partial(self._doorbell.ring, store.doorbells(connection, self.clock.now()))

    def _ring_cancel(self, connection: sqlite3.Connection) -> Callable[[], object]:
        return partial(self._doorbell.ring, store.doorbells(connection, self.clock.now()), is_cancel=True)

    def _change_and_wake_sync(self, work: Callable[[sqlite3.Connection, datetime], T], *, is_cancel: bool = False) -> T:
        """Do the work on a new connection, then wake all who wait for jobs, also in other processes."""
        result, doorbells = self._sync.change(work)
        self._wakeups.notify()
        self._doorbell.ring(doorbells, is_cancel=is_cancel)
        return result
