"""What others commit while a settlement, or a rescue, waits for the row: it counts, and the outcome is recorded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import LiteralString, TypeAlias

import pytest
from msgspec.structs import replace

from rexecutor import Backend, JobStateError, PostgresBackend, Replace, UniquenessCriteria
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.postgres.statements import PACKAGE, Statements, in_schema
from rexecutor.backend.sql import statement
from rexecutor.model import rules
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.outcomes import (
    CancelAsked,
    Complete,
    Discarded,
    Expired,
    Interrupted,
    Lost,
    Outcome,
    Rerun,
    Settlement,
    Snooze,
)
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import (
    ALPHA,
    HOUR,
    LEASE,
    NODE,
    OTHER_NODE,
    SECOND,
    cancelled,
    failed,
    job_error,
    new_job,
)
from tests.backend.held_back import Held, PostgresHeld, held_back, turn
from tests.backends import made_backend
from tests.model.records import LIMITS
from tests.support import record_of, soon

UNIQUE = UniquenessCriteria.by_key("k").on_conflict(
    Replace.priority().and_data().and_max_attempts().for_statuses(JobStatus.EXECUTING)
)
JOB = new_job(unique=UNIQUE)
OUTCOMES: Mapping[str, tuple[int, Outcome]] = {
    "complete": (5, Complete()),
    "complete with a result": (5, Complete('{"n": [1, 2.50]}')),
    "not to be retried": (5, Discarded(job_error())),
    "expired": (5, Expired()),
    "failed": (5, failed(delay=HOUR)),
    "failed for the last time": (1, failed(delay=HOUR)),
    "snooze": (5, Snooze(HOUR)),
    "cancelled": (5, cancelled()),
    "interrupted": (5, Interrupted()),
}
"""Each with the job's `max_attempts`."""
Change: TypeAlias = Callable[[Held, JobRecord], Awaitable[JobRecord]]
"""Changes a job in the transaction, and returns the changed job."""


def changed(record: JobRecord) -> NewJob:
    """Return the changed job: an attempt that was not its last becomes its last, and the other way round."""
    return replace(JOB, max_attempts=5 if record.max_attempts == 1 else 1, priority=7, data='"changed"')


async def cancel(held: Held, record: JobRecord) -> JobRecord:
    await held.apply(record.id, CancelAsked("not wanted"))
    return rules.transition(record, CancelAsked("not wanted"), held.now, LIMITS)


async def update(held: Held, record: JobRecord) -> JobRecord:
    await held.update(record.id, changed(record), record.version)
    return rules.updated(record, changed(record), record.version, held.now)


async def replace_by_enqueue(held: Held, record: JobRecord) -> JobRecord:
    await held.enqueue([changed(record)])
    return rules.replaced(record, changed(record), UNIQUE, held.now)


async def update_and_cancel(held: Held, record: JobRecord) -> JobRecord:
    return await cancel(held, await update(held, record))


async def rerun_in_vain(held: Held, record: JobRecord) -> JobRecord:
    with pytest.raises(JobStateError):
        await held.apply(record.id, Rerun())
    return record


CHANGES: tuple[Change, ...] = (cancel, update, replace_by_enqueue, update_and_cancel, rerun_in_vain)


@pytest.fixture(params=["sqlite", "postgres"])
async def backend(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Backend]:
    async with made_backend(request.param, tmp_path, clock) as made:
        yield made


async def executing(backend: Backend, *jobs: NewJob, node: str = NODE) -> list[JobRecord]:
    """Enqueue jobs and have the node claim them."""
    heartbeat(backend, node)
    await backend.enqueue(jobs)
    return await claim(backend, node)


async def claim(backend: Backend, node: str) -> list[JobRecord]:
    return list((await backend.claim(Demand({ALPHA: 10}, 10), node)).jobs)


def heartbeat(backend: Backend, node: str) -> int:
    """Renew the node's lease, and return how many jobs that rescued."""
    with closing(backend.heartbeat_connection()) as heartbeats:
        return heartbeats.send(Node(node, "here", LEASE)).rescued


@pytest.mark.parametrize(("max_attempts", "outcome"), OUTCOMES.values(), ids=OUTCOMES)
@pytest.mark.parametrize("change", CHANGES)
async def test_an_outcome_that_waits_for_a_change_counts_and_so_does_the_change(
    backend: Backend, change: Change, max_attempts: int, outcome: Outcome
) -> None:
    job, other = await executing(backend, replace(JOB, max_attempts=max_attempts), new_job())
    settlements = [Settlement(*one.claim_id, outcome) for one in (other, job)]

    async with held_back(backend) as held:
        after = await change(held, job)
        settling = asyncio.ensure_future(backend.settle(settlements))
        await held.waited_for()
        assert not settling.done()
    refused = await soon(settling)

    assert list(refused) == []
    assert await record_of(backend, job.id) == rules.transition(after, outcome, START, LIMITS)
    assert await record_of(backend, other.id) == rules.transition(other, outcome, START, LIMITS)


@pytest.mark.parametrize("outcome", [outcome for _, outcome in OUTCOMES.values()], ids=OUTCOMES)
async def test_an_outcome_that_waits_while_its_job_is_taken_away_is_refused(backend: Backend, outcome: Outcome) -> None:
    [job] = await executing(backend, JOB)

    async with held_back(backend) as held:
        await held.release_claims(NODE)
        settling = asyncio.ensure_future(backend.settle([Settlement(*job.claim_id, outcome)]))
        await held.waited_for()
    refused = await soon(settling)

    assert list(refused) == [job.id]
    assert await record_of(backend, job.id) == rules.transition(job, Interrupted(), START, LIMITS)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_rescue_heeds_what_was_changed_since_its_beat_began(
    backend: Backend, clock: FakeClock, change: Change
) -> None:
    heartbeat(backend, OTHER_NODE)
    [job] = await executing(backend, JOB)
    clock.advance(LEASE)

    async with held_back(backend) as held:
        await held.lock_node(OTHER_NODE)
        beating = asyncio.ensure_future(asyncio.to_thread(heartbeat, backend, OTHER_NODE))
        await held.waited_for()
        after = await change(held, job)
    rescued = await soon(beating)

    assert rescued == 1
    assert await record_of(backend, job.id) == rules.transition(after, Lost(), clock.now(), LIMITS)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)  # a beat of SQLite's has the write lock from its begin
async def test_a_rescue_leaves_a_job_alone_that_a_live_node_has_claimed_since_its_beat_began(
    backend: Backend, clock: FakeClock
) -> None:
    heartbeat(backend, OTHER_NODE)
    [lost] = await executing(backend, JOB)
    clock.advance(LEASE)

    async with held_back(backend) as held:
        await held.lock_node(OTHER_NODE)
        beating = asyncio.ensure_future(asyncio.to_thread(heartbeat, backend, OTHER_NODE))
        await held.waited_for()
        assert heartbeat(backend, "third") == 1
        [job] = await claim(backend, "third")
    rescued = await soon(beating)

    assert (rescued, job.id) == (0, lost.id)
    assert await record_of(backend, job.id) == job


async def update_expiry(held: Held, record: JobRecord) -> JobRecord:
    await held.update(record.id, replace(JOB, expires_in=HOUR), record.version)
    return rules.updated(record, replace(JOB, expires_in=HOUR), record.version, held.now)


async def cancel_and_rerun(held: Held, record: JobRecord) -> JobRecord:
    cancelled = await cancel(held, record)
    await held.apply(record.id, Rerun())
    return rules.transition(cancelled, Rerun(), held.now, LIMITS)


async def leave(held: Held, record: JobRecord) -> JobRecord:
    await held.select_for_update(record.id)
    return record


@pytest.mark.parametrize("change", [cancel, update_expiry, update_and_cancel, cancel_and_rerun, leave])
async def test_a_heartbeat_leaves_an_expired_job_alone_that_somebody_is_changing(
    backend: Backend, clock: FakeClock, change: Change
) -> None:
    """On PostgreSQL it does not wait for the row. On SQLite it has to wait for the write lock, and sees the change."""
    [first, other] = await backend.enqueue([replace(JOB, expires_in=SECOND), new_job(expires_in=SECOND)])
    clock.advance(HOUR)
    job, waiting = [await record_of(backend, each.id) for each in (first, other)]

    async with held_back(backend) as held:
        after = await change(held, job)
        beating = asyncio.ensure_future(asyncio.to_thread(heartbeat, backend, NODE))
        if isinstance(backend, PostgresBackend):
            await soon(beating)
        else:
            await held.waited_for()
    await soon(beating)
    heartbeat(backend, OTHER_NODE)

    expected = rules.transition(after, Expired(), clock.now(), LIMITS) if change is leave else after
    assert await record_of(backend, job.id) == expected
    assert await record_of(backend, waiting.id) == rules.transition(waiting, Expired(), clock.now(), LIMITS)


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("change", [*CHANGES[:1], update_expiry, cancel_and_rerun])
async def test_an_expired_job_that_changes_between_the_snapshot_and_the_lock_of_a_heartbeat_is_left_alone(
    backend: Backend, clock: FakeClock, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = await backend.enqueue([replace(JOB, expires_in=SECOND)])
    clock.advance(HOUR)
    job = await record_of(backend, first.id)
    with monkeypatch.context() as patched:
        patched.setattr(Statements, "text", waiting_before_its_locks)

        async with held_back(backend) as held:
            assert isinstance(held, PostgresHeld)
            await held.take_turn()
            beating = asyncio.ensure_future(asyncio.to_thread(heartbeat, backend, NODE))
            await held.waited_for()
            async with held_back(backend) as quick:
                after = await change(quick, job)
    await soon(beating)

    assert await record_of(backend, job.id) == after


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
async def test_an_expired_job_that_is_claimed_between_the_snapshot_and_the_lock_of_a_heartbeat_is_left_alone(
    backend: Backend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.enqueue([replace(JOB, expires_in=SECOND)])
    clock.advance(HOUR)
    heartbeats = heartbeat(backend, NODE)  # the lease; the job expires here unless it is claimed first
    assert heartbeats == 0
    await backend.enqueue([new_job(expires_in=SECOND)])
    clock.advance(2 * SECOND)
    with monkeypatch.context() as patched:
        patched.setattr(Statements, "text", waiting_before_its_locks)

        async with held_back(backend) as held:
            assert isinstance(held, PostgresHeld)
            await held.take_turn()
            beating = asyncio.ensure_future(asyncio.to_thread(heartbeat, backend, OTHER_NODE))
            await held.waited_for()
            [job] = await claim(backend, NODE)
    await soon(beating)

    assert await record_of(backend, job.id) == job


@pytest.mark.parametrize("backend", ["postgres"], indirect=True)
@pytest.mark.parametrize("what", [OlderThan(SECOND), BeyondNewest(0)])
async def test_a_job_that_is_rerun_while_it_is_about_to_be_pruned_stays(
    backend: Backend, clock: FakeClock, what: OlderThan | BeyondNewest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(backend, PostgresBackend)
    jobs = await executing(backend, JOB, new_job())
    await backend.settle([Settlement(*job.claim_id, Complete()) for job in jobs])
    clock.advance(HOUR)
    monkeypatch.setattr(Statements, "text", waiting_before_its_locks)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await held.take_turn()
        pruning = asyncio.ensure_future(backend.prune(PruneSpec(JobStatus.COMPLETE, what), 10))
        await held.waited_for()
        await backend.rerun(jobs[0].id)
    assert await soon(pruning) == 0  # the log's row of both has changed
    monkeypatch.undo()

    assert await backend.prune(PruneSpec(JobStatus.COMPLETE, what), 10) == 1
    assert [record.id for record in await backend.query(Everything())] == [jobs[0].id]
    assert (await record_of(backend, jobs[0].id)).status is JobStatus.SCHEDULED


def waiting_before_its_locks(statements: Statements, name: str) -> LiteralString:
    """Return the statement. One that prunes or expires waits for its turn between its snapshot and its locks."""
    text = in_schema(statement(PACKAGE, name), statements.schema)
    if name == "heartbeat":
        bound = "AND waiting.expires_at <= (SELECT clock.now FROM clock)"
        assert bound in text
        return text.replace(bound, f"{bound} AND ({turn(statements.schema)}) IS NOT NULL")
    if not name.startswith("prune"):
        return text
    return text.replace("FOR UPDATE", f"AND ({turn(statements.schema)}) IS NOT NULL FOR UPDATE")
