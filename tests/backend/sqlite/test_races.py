"""Two changes of one job at once: one waits for the other's commit, and then sees what it has changed.

What comes of it is compared with the rules, which make the same two changes one after the other, in memory.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import pytest
from msgspec.structs import replace

import rexecutor.backend.sqlite.operations as store
from rexecutor import Backend, InMemoryBackend, JobStatus, Replace, RexecutorError, SQLiteBackend, UniquenessCriteria
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.sqlite.connection import connect, transaction
from rexecutor.backend.sqlite.heartbeat import _rescue
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import CancelAsked, Complete, Outcome, Rerun, Settlement, Snooze
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import ALPHA, HOUR, LEASE, NODE, OTHER_NODE, SECOND, failed, new_job
from tests.sqlite_rows import misplaced
from tests.support import soon

UNIQUE = UniquenessCriteria.by_key("k").on_conflict(
    Replace.priority().and_data().for_statuses(JobStatus.SCHEDULED, JobStatus.EXECUTING)
)
JOB = new_job(unique=UNIQUE, max_attempts=2)
CHANGED = replace(JOB, data='"changed"', priority=7)
PRUNED = PruneSpec(JobStatus.COMPLETE, BeyondNewest(0))
DEMAND = Demand({ALPHA: 1}, 1)

Act: TypeAlias = Callable[[Backend, JobRecord], Awaitable[object]]
"""Changes a job on a backend."""
Held: TypeAlias = Callable[[sqlite3.Connection, SQLiteBackend, JobRecord], object]
"""Makes the same change in a transaction that somebody else commits."""


def settling(outcome: Outcome) -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return list(await backend.settle([Settlement(*job.claim_id, outcome)]))

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        return store.settle(connection, [Settlement(*job.claim_id, outcome)], backend.clock.now(), backend.limits)

    return act, held


def applying(change: CancelAsked | Rerun) -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return await backend.apply(job.id, change, executor=None)

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        script = store.SCRIPTS.apply(job.id, change, None, backend.clock.now(), backend.limits)
        return store.run(connection, script).status

    return act, held


def updating(changed: NewJob) -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return await backend.update(job.id, changed, version=job.version)

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        return store.run(connection, store.SCRIPTS.update(job.id, changed, job.version, backend.clock.now()))

    return act, held


def replacing() -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return list(await backend.enqueue([CHANGED]))

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        return store.enqueue(connection, [CHANGED], backend.clock.now())

    return act, held


def claiming() -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return list((await backend.claim(DEMAND, OTHER_NODE)).jobs)

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        return list(store.claim(connection, DEMAND, OTHER_NODE, backend.clock.now()).jobs)

    return act, held


def completing_in() -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        if not isinstance(backend, SQLiteBackend):
            return not await backend.settle([Settlement(*job.claim_id, Complete('"mine"'))])

        def complete() -> bool:
            with closing(connect(backend.path)) as connection, transaction(connection):
                return backend.completion().complete_sync(job, connection, result='"mine"')

        return await asyncio.to_thread(complete)

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        return backend.completion().complete_sync(job, connection, result='"mine"')

    return act, held


def pruning() -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return await backend.prune(PRUNED, 10)

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        found = store.find_prunable(connection, PRUNED, 10, backend.clock.now())
        return store.prune(connection, PRUNED, found)

    return act, held


def rescuing() -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return await asyncio.to_thread(heartbeat, backend, OTHER_NODE)

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        return _rescue(connection, backend.clock.now(), backend.limits)

    return act, held


def releasing() -> tuple[Act, Held]:
    async def act(backend: Backend, job: JobRecord) -> object:
        return await backend.release_claims(NODE, ())

    def held(connection: sqlite3.Connection, backend: SQLiteBackend, job: JobRecord) -> object:
        now = backend.clock.now()
        return store.run(connection, store.SCRIPTS.release_claims(NODE, (), 0, now, backend.limits))

    return act, held


def heartbeat(backend: Backend, node: str, *, rescues: bool = True) -> int:
    with closing(backend.heartbeat_connection()) as heartbeats:
        return heartbeats.send(Node(node, "here", LEASE), rescues=rescues).rescued


CHANGES: Mapping[str, tuple[Act, Held]] = {
    "claim": claiming(),
    "success": settling(Complete('"theirs"')),
    "failure": settling(failed(delay=HOUR)),
    "snooze": settling(Snooze(SECOND)),
    "cancel": applying(CancelAsked("not wanted")),
    "rerun": applying(Rerun()),
    "update": updating(CHANGED),
    "postponement": updating(replace(CHANGED, delay=HOUR)),
    "replacement": replacing(),
    "complete_in": completing_in(),
    "prune": pruning(),
    "rescue": rescuing(),
    "release": releasing(),
}
FIRST = (
    "claim",
    "success",
    "failure",
    "cancel",
    "rerun",
    "postponement",
    "replacement",
    "complete_in",
    "prune",
    "release",
)


async def job_in(backend: Backend, clock: FakeClock, state: str) -> JobRecord:
    """Have the backend hold one job, which waits, runs, has lost its node, or has ended."""
    await asyncio.to_thread(heartbeat, backend, NODE)
    await backend.enqueue([JOB])
    if state != "waiting":
        [job] = (await backend.claim(DEMAND, NODE)).jobs
        if state == "ended":
            await backend.settle([Settlement(*job.claim_id, Complete())])
    if state == "lost":
        clock.advance(LEASE)
    await asyncio.to_thread(heartbeat, backend, OTHER_NODE, rescues=False)
    [job] = await backend.query(Everything())
    return job


RACES = [
    (state, first, second)
    for state in ("waiting", "running", "lost", "ended")
    for first in FIRST
    for second in CHANGES
    # A pruning looks beside the writer, before it waits: see `test_pruning`.
    if not (second == "prune" and state in ("running", "lost") and first in ("success", "complete_in"))
]


async def told(answer: Awaitable[object]) -> object:
    """Return what the change returned, or the kind of error that it raised."""
    try:
        return await answer
    except RexecutorError as error:
        return type(error)


@pytest.mark.parametrize(("state", "first", "second"), RACES)
async def test_a_change_that_waits_for_another_sees_what_it_has_changed(
    tmp_path: Path, state: str, first: str, second: str
) -> None:
    clock, its_clock = FakeClock(), FakeClock()
    async with InMemoryBackend(clock=its_clock) as memory:
        job = await job_in(memory, its_clock, state)
        await told(CHANGES[first][0](memory, job))
        expected = await told(CHANGES[second][0](memory, job))
        left = list(await memory.query(Everything()))

    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        job = await job_in(backend, clock, state)
        with closing(connect(backend.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                CHANGES[first][1](connection, backend, job)
            except RexecutorError:
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(told(CHANGES[second][0](backend, job)))
            for _ in range(5):
                await asyncio.to_thread(lambda: None)
            connection.execute("COMMIT")
        answer = await soon(waiting)

        assert answer == expected
        assert list(await backend.query(Everything())) == left
        assert misplaced(backend.path, clock.now()) == []
