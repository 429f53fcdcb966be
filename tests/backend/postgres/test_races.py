"""Two who move one job at once: at the moment between a lock and its commit, or between a snapshot and its lock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import LiteralString, TypeAlias, cast

import pytest
from msgspec.structs import replace

from rexecutor import (
    BackendError,
    JobNotFoundError,
    JobStateError,
    JobStatus,
    PostgresBackend,
    Replace,
    StaleJobError,
    UniquenessCriteria,
)
from rexecutor.backend.messages import Demand
from rexecutor.backend.postgres import statements
from rexecutor.backend.postgres.execution import run, run_steps
from rexecutor.backend.postgres.statements import PACKAGE, Statements, in_schema
from rexecutor.backend.sql import statement
from rexecutor.model import rules
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import CancelAsked, Complete, FieldUpdate, Outcome, Rerun, Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.where import Everything, Where
from rexecutor.testing import FakeClock
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import ALPHA, BETA, HOUR, LEASE, NODE, OTHER_NODE, SECOND, cancelled, failed, new_job
from tests.backend.held_back import Held, PostgresHeld, held_back, turn
from tests.backend.test_changed_meanwhile import (
    JOB,
    cancel,
    cancel_and_rerun,
    changed,
    claim,
    executing,
    heartbeat,
    update,
)
from tests.model.records import LIMITS
from tests.postgres import postgres_backend, run_postgres
from tests.support import record_of, soon

Change: TypeAlias = Callable[[Held, JobRecord], Awaitable[JobRecord]]


@pytest.fixture
async def backend(clock: FakeClock, tmp_path: Path) -> AsyncIterator[PostgresBackend]:
    async with postgres_backend(tmp_path, clock) as made:
        yield made


async def waiting(backend: PostgresBackend) -> JobRecord:
    heartbeat(backend, NODE)
    [enqueued] = await backend.enqueue([JOB])
    return await record_of(backend, enqueued.id)


async def ended(backend: PostgresBackend, jobs: int, outcome: Outcome) -> list[JobRecord]:
    """Return jobs that ended together, so that they stand in one row of the log."""
    some = await executing(backend, *[replace(new_job(), max_attempts=1)] * jobs)
    await backend.settle([Settlement(*one.claim_id, outcome) for one in some])
    return [await record_of(backend, one.id) for one in some]


def rows_of(backend: PostgresBackend) -> dict[str, list[int]]:
    """Return which jobs stand where."""
    found = {
        table: [row[0] for row in run_postgres(f"SELECT id FROM {backend.schema}.{table} ORDER BY 1")]
        for table in ("queue", "running")
    }
    logged = run_postgres(f"SELECT unnest(ids) FROM {backend.schema}.ended ORDER BY 1")
    return found | {"ended": [row[0] for row in logged]}


def claiming_late(of: Statements, name: str) -> LiteralString:
    """Return the statement. A claim waits for its turn between its snapshot and its locks."""
    text = in_schema(statement(PACKAGE, name), of.schema)
    bound = "AND head.scheduled_at <= (SELECT clock.now FROM clock)"
    if name != "claim_jobs":
        return text
    assert bound in text
    return text.replace(bound, f"{bound} AND ({turn(of.schema)}) IS NOT NULL")


async def update_data(held: Held, record: JobRecord) -> JobRecord:
    new = replace(JOB, data='"new"')
    await held.update(record.id, new, record.version)
    return rules.updated(record, new, record.version, held.now)


REPLACING = UniquenessCriteria.by_key("k").on_conflict(Replace.priority().and_data().for_statuses(*JobStatus))


async def replace_by_enqueue(held: Held, record: JobRecord) -> JobRecord:
    new = replace(changed(record), unique=REPLACING)
    await held.enqueue([new])
    return rules.replaced(record, new, REPLACING, held.now)


CHANGES: tuple[Change, ...] = (update_data, update, replace_by_enqueue, cancel, cancel_and_rerun)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_claim_neither_waits_for_a_change_nor_takes_the_job(backend: PostgresBackend, change: Change) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        after = await change(held, job)
        assert await soon(claim(backend, NODE)) == []

    assert await record_of(backend, job.id) == after


@pytest.mark.parametrize("change", CHANGES)
async def test_a_claim_with_an_older_snapshot_does_not_take_what_has_changed(
    backend: PostgresBackend, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await waiting(backend)
    with monkeypatch.context() as patched:
        patched.setattr(Statements, "text", claiming_late)
        async with held_back(backend) as held:
            assert isinstance(held, PostgresHeld)
            await held.take_turn()
            claiming = asyncio.ensure_future(claim(backend, NODE))
            await held.waited_for()
            async with held_back(backend) as quick:
                after = await change(quick, job)
        assert await soon(claiming) == []

    assert await record_of(backend, job.id) == after
    again = await claim(backend, NODE)
    expected = [] if after.status.has_ended else [replace(after, **taken(after))]
    assert [replace(one, inserted_at=job.inserted_at) for one in again] == expected


def taken(record: JobRecord) -> dict[str, object]:
    return {
        "status": JobStatus.EXECUTING,
        "attempt": record.attempt + 1,
        "claims": record.claims + 1,
        "node": NODE,
        "attempted_at": START,
    }


async def in_claim(held: Held, backend: PostgresBackend) -> JobRecord:
    """Claim one job in the transaction that is held back."""
    assert isinstance(held, PostgresHeld)
    claimed = await backend._operations.claim(held._connection, Demand({ALPHA: 1}, 1), NODE, held.now)
    return claimed.jobs[0]


async def in_settle(held: Held, backend: PostgresBackend, job: JobRecord, outcome: Outcome) -> JobRecord:
    """Settle the job in the transaction that is held back, and return what it becomes."""
    assert isinstance(held, PostgresHeld)
    settlement = Settlement(*job.claim_id, outcome)
    assert await run_steps(held._connection, backend._statements.settle([settlement], 20, START)) == []
    return rules.transition(job, outcome, START, LIMITS)


async def test_a_cancel_that_waits_for_a_claim_is_asked_of_the_running_job(backend: PostgresBackend) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        claimed = await in_claim(held, backend)
        cancelling = asyncio.ensure_future(backend.cancel(job.id, "enough"))
        await held.waited_for()
    await soon(cancelling)

    assert await record_of(backend, job.id) == rules.transition(claimed, CancelAsked("enough"), START, LIMITS)
    assert rows_of(backend) == {"queue": [], "running": [job.id], "ended": []}


async def test_an_update_that_waits_for_a_claim_is_of_a_stale_copy(backend: PostgresBackend) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        claimed = await in_claim(held, backend)
        updating = asyncio.ensure_future(backend.update(job.id, changed(job), version=job.version))
        await held.waited_for()
    with pytest.raises(StaleJobError):
        await soon(updating)

    assert await record_of(backend, job.id) == claimed


async def test_a_replacement_that_waits_for_a_claim_is_of_the_running_job(backend: PostgresBackend) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        claimed = await in_claim(held, backend)
        new = replace(changed(job), unique=REPLACING)
        enqueuing = asyncio.ensure_future(backend.enqueue([new]))
        await held.waited_for()
    [answer] = await soon(enqueuing)

    assert (answer.id, answer.disposition) == (job.id, "replaced")
    assert await record_of(backend, job.id) == rules.replaced(claimed, new, REPLACING, START)


async def test_a_rerun_that_waits_for_a_claim_is_refused(backend: PostgresBackend) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        claimed = await in_claim(held, backend)
        rerunning = asyncio.ensure_future(backend.rerun(job.id))
        await held.waited_for()
    with pytest.raises(JobStateError):
        await soon(rerunning)

    assert await record_of(backend, job.id) == claimed


async def test_a_claim_that_is_not_committed_yet_is_given_back_once_it_is(backend: PostgresBackend) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        await in_claim(held, backend)
        releasing = asyncio.ensure_future(backend.release_claims(NODE, (), epoch=1))
        await held.waited_for()
    assert await soon(releasing) == 1

    assert (await record_of(backend, job.id)).status is JobStatus.SCHEDULED


async def test_a_heartbeat_does_not_wait_for_a_claim_and_expires_nothing(
    backend: PostgresBackend, clock: FakeClock
) -> None:
    heartbeat(backend, NODE)
    [enqueued] = await backend.enqueue([new_job(expires_in=SECOND)])
    clock.advance(2 * SECOND)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        [claimed] = (await backend._operations.claim(held._connection, Demand({ALPHA: 1}, 1), NODE, clock.now())).jobs
        await soon(asyncio.to_thread(heartbeat, backend, OTHER_NODE))

    assert await record_of(backend, enqueued.id) == claimed


OUTCOMES = (Complete(), Complete("[1]"), failed(delay=HOUR))


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_cancel_that_waits_for_an_outcome_comes_after_it(backend: PostgresBackend, outcome: Outcome) -> None:
    [job] = await executing(backend, JOB)

    async with held_back(backend) as held:
        after = await in_settle(held, backend, job, outcome)
        cancelling = asyncio.ensure_future(backend.cancel(job.id, "enough"))
        await held.waited_for()
    await soon(cancelling)

    assert await record_of(backend, job.id) == rules.transition(after, CancelAsked("enough"), START, LIMITS)


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_rerun_that_waits_for_an_outcome_comes_after_it(backend: PostgresBackend, outcome: Outcome) -> None:
    [job] = await executing(backend, replace(JOB, max_attempts=1))

    async with held_back(backend) as held:
        after = await in_settle(held, backend, job, outcome)
        rerunning = asyncio.ensure_future(backend.rerun(job.id))
        await held.waited_for()
    await soon(rerunning)

    assert await record_of(backend, job.id) == rules.transition(after, Rerun(), START, LIMITS)
    assert rows_of(backend) == {"queue": [job.id], "running": [], "ended": []}


async def test_an_update_that_waits_for_a_success_is_refused(backend: PostgresBackend) -> None:
    [job] = await executing(backend, JOB)

    async with held_back(backend) as held:
        after = await in_settle(held, backend, job, Complete())
        updating = asyncio.ensure_future(backend.update(job.id, changed(job), version=job.version))
        await held.waited_for()
    with pytest.raises(JobStateError):
        await soon(updating)

    assert await record_of(backend, job.id) == after


async def test_an_enqueue_that_waits_for_the_end_of_the_job_in_its_way_adds_its_own(backend: PostgresBackend) -> None:
    [job] = await executing(backend, JOB)

    async with held_back(backend) as held:
        after = await in_settle(held, backend, job, Complete())
        enqueuing = asyncio.ensure_future(backend.enqueue([replace(JOB, priority=3)]))
        await held.waited_for()
    [answer] = await soon(enqueuing)

    assert (answer.disposition, await record_of(backend, job.id)) == ("inserted", after)
    assert rows_of(backend) == {"queue": [answer.id], "running": [], "ended": [job.id]}


async def test_a_rescue_neither_waits_for_an_outcome_nor_takes_its_job(
    backend: PostgresBackend, clock: FakeClock
) -> None:
    [job] = await executing(backend, JOB)
    heartbeat(backend, OTHER_NODE)
    clock.advance(LEASE)

    async with held_back(backend) as held:
        after = await in_settle(held, backend, job, Complete())
        assert await soon(asyncio.to_thread(heartbeat, backend, OTHER_NODE)) == 0
    assert heartbeat(backend, OTHER_NODE) == 0

    assert await record_of(backend, job.id) == after


async def test_an_outcome_that_waits_for_a_rescue_is_refused(backend: PostgresBackend, clock: FakeClock) -> None:
    [job] = await executing(backend, JOB)
    clock.advance(LEASE)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await rescue(held, backend, clock)
        settling = asyncio.ensure_future(backend.settle([Settlement(*job.claim_id, Complete())]))
        await held.waited_for()

    assert list(await soon(settling)) == [job.id]
    assert (await record_of(backend, job.id)).status is JobStatus.RETRYABLE


async def rescue(held: PostgresHeld, backend: PostgresBackend, clock: FakeClock) -> None:
    """Beat in the transaction that is held back."""
    given: dict[str, object] = {"node": OTHER_NODE, "name": "there", "lease": LEASE, "epoch": 0, "rescues": True}
    given |= {"lost": rules.LOST_DETAILS, "expired": rules.EXPIRED_DETAILS, "most_expired": 10, "channel": "none"}
    given |= {"state": None, "executors": None, "ended": "=", "most_losses": 3, "most_errors": 20, "now": clock.now()}
    await held._connection.execute(backend._statements.text("heartbeat"), given)


@pytest.mark.parametrize("table", ["queue", "running"])
async def test_a_heartbeat_waits_for_no_row_that_says_where_a_job_stands(
    backend: PostgresBackend, clock: FakeClock, table: str
) -> None:
    [lost] = await executing(backend, JOB)
    [expiring] = await backend.enqueue([new_job(expires_in=SECOND)])
    clock.advance(LEASE)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await held._connection.execute(cast("LiteralString", f"SELECT FROM {backend.schema}.{table} FOR UPDATE"))
        await soon(asyncio.to_thread(heartbeat, backend, OTHER_NODE))
        assert (await record_of(backend, lost.id)).status is (
            JobStatus.EXECUTING if table == "running" else JobStatus.RETRYABLE
        )
    heartbeat(backend, OTHER_NODE)

    assert rows_of(backend) == {"queue": [lost.id], "running": [], "ended": [expiring.id]}


async def test_a_heartbeat_waits_for_the_row_of_no_other_node(backend: PostgresBackend, clock: FakeClock) -> None:
    heartbeat(backend, NODE)
    clock.advance(LEASE)
    nodes = f"SELECT id FROM {backend.schema}.nodes ORDER BY id"

    async with held_back(backend) as held:
        await held.lock_node(NODE)
        await soon(asyncio.to_thread(heartbeat, backend, OTHER_NODE))
        assert run_postgres(nodes) == [(NODE,), (OTHER_NODE,)]
    heartbeat(backend, OTHER_NODE)

    assert run_postgres(nodes) == [(OTHER_NODE,)]


@pytest.mark.parametrize("what", [OlderThan(SECOND), BeyondNewest(0)])
async def test_a_pruning_does_not_wait_for_a_rerun_and_leaves_the_job(
    backend: PostgresBackend, clock: FakeClock, what: OlderThan | BeyondNewest
) -> None:
    first, other = await ended(backend, 2, Complete())
    clock.advance(HOUR)
    spec = PruneSpec(JobStatus.COMPLETE, what)

    async with held_back(backend) as held:
        await held.apply(first.id, Rerun())
        assert await soon(backend.prune(spec, 10)) == 0

    assert await backend.prune(spec, 10) == 1
    assert [one.id for one in await backend.query(Everything())] == [first.id] != [other.id]
    assert rows_of(backend) == {"queue": [first.id], "running": [], "ended": []}


@pytest.mark.parametrize("what", [OlderThan(SECOND), BeyondNewest(0)])
async def test_a_rerun_that_waits_for_a_pruning_finds_no_job(
    backend: PostgresBackend, clock: FakeClock, what: OlderThan | BeyondNewest
) -> None:
    [job] = await ended(backend, 1, failed(delay=HOUR))
    clock.advance(HOUR)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        spec = PruneSpec(JobStatus.DISCARDED, what)
        assert await backend._operations.prune(held._connection, spec, 10, clock.now()) == 1
        rerunning = asyncio.ensure_future(backend.rerun(job.id))
        await held.waited_for()
        assert await soon(backend.prune(spec, 10)) == 0
    with pytest.raises(JobNotFoundError):
        await soon(rerunning)

    assert rows_of(backend) == {"queue": [], "running": [], "ended": []}


@pytest.mark.parametrize("what", [OlderThan(SECOND), BeyondNewest(0)])
async def test_a_pruning_leaves_a_locked_job_and_keeps_it_in_the_log(
    backend: PostgresBackend, clock: FakeClock, what: OlderThan | BeyondNewest
) -> None:
    first, other = await ended(backend, 2, Complete())
    clock.advance(HOUR)
    spec = PruneSpec(JobStatus.COMPLETE, what)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await run(held._connection, held._statements.of("select_job", id=first.id))  # as somebody by hand
        assert await soon(backend.prune(spec, 10)) == 1
        assert rows_of(backend)["ended"] == [first.id] != [other.id]

    assert await backend.prune(spec, 10) == 1
    assert await backend.query(Everything()) == []


async def test_of_two_reruns_at_once_one_is_refused(backend: PostgresBackend) -> None:
    job, _ = await ended(backend, 2, Complete())

    async with held_back(backend) as held:
        await held.apply(job.id, Rerun())
        rerunning = asyncio.ensure_future(backend.rerun(job.id))
        await held.waited_for()
    with pytest.raises(JobStateError):
        await soon(rerunning)

    assert rows_of(backend)["queue"] == [job.id]


async def test_a_rerun_that_waits_for_the_log_has_not_locked_the_job(backend: PostgresBackend) -> None:
    job, _ = await ended(backend, 2, Complete())

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await held._connection.execute(cast("LiteralString", f"SELECT FROM {backend.schema}.ended FOR UPDATE"))
        rerunning = asyncio.ensure_future(backend.rerun(job.id))
        await held.waited_for()
        unlocked = f"SELECT FROM {backend.schema}.stored_jobs WHERE id = {job.id} FOR UPDATE SKIP LOCKED"
        assert run_postgres(unlocked) == [()]
    await soon(rerunning)

    assert rows_of(backend)["queue"] == [job.id]


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_rerun_leaves_no_empty_row_in_the_log(backend: PostgresBackend, jobs: int) -> None:
    job, *others = await ended(backend, jobs, Complete())

    await backend.rerun(job.id)

    found = run_postgres(f"SELECT ids FROM {backend.schema}.ended")
    assert [ids for (ids,) in found] == [[one.id] for one in others]


async def test_a_rerun_waits_for_no_other_row_of_the_log(backend: PostgresBackend, clock: FakeClock) -> None:
    """Rows that agree with the job's in all but one column, and come before it in the index."""
    heartbeat(backend, NODE)
    executors = (ALPHA, BETA, BETA, BETA, BETA)
    outcomes = (Complete(), Complete(), cancelled(), Complete(), Complete())
    made: list[JobRecord] = []
    for executor, outcome in zip(executors, outcomes, strict=True):
        if len(made) == 2:
            clock.advance(SECOND)
        await backend.enqueue([new_job(executor)])
        made += (await backend.claim(Demand({executor: 1}, 1), NODE)).jobs
        await backend.settle([Settlement(*made[-1].claim_id, outcome)])
    job = made[4]

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        others = f"SELECT FROM {backend.schema}.ended WHERE ids <> ARRAY[{job.id}::bigint] FOR UPDATE"
        await held._connection.execute(cast("LiteralString", others))
        await soon(backend.rerun(job.id))

    assert rows_of(backend)["queue"] == [job.id]


async def test_a_cancel_of_many_that_waits_for_a_claim_is_asked_of_the_running_job(backend: PostgresBackend) -> None:
    job = await waiting(backend)
    [other] = await backend.enqueue([replace(new_job(), executor=BETA)])

    async with held_back(backend) as held:
        claimed = await in_claim(held, backend)
        cancelling = asyncio.ensure_future(backend.cancel_many([job.id, other.id], "enough"))
        await held.waited_for()
    statuses = await soon(cancelling)

    assert statuses == {job.id: JobStatus.EXECUTING, other.id: JobStatus.CANCELLED}
    assert await record_of(backend, job.id) == rules.transition(claimed, CancelAsked("enough"), START, LIMITS)
    assert rows_of(backend) == {"queue": [], "running": [job.id], "ended": [other.id]}


@pytest.mark.parametrize("outcome", [Complete(), failed(delay=HOUR), cancelled()], ids=["complete", "failed", "cancel"])
async def test_a_cancel_of_many_that_waits_for_an_outcome_comes_after_it(
    backend: PostgresBackend, outcome: Outcome
) -> None:
    [job, other] = await executing(backend, JOB, new_job())

    async with held_back(backend) as held:
        after = await in_settle(held, backend, job, outcome)
        cancelling = asyncio.ensure_future(backend.cancel_many([job.id, other.id], "enough"))
        await held.waited_for()
    statuses = await soon(cancelling)

    expected = rules.changed(after, CancelAsked("enough"), START, LIMITS)
    assert await record_of(backend, job.id) == (expected or after)
    assert statuses.get(job.id) == (None if expected is None else expected.status)
    assert statuses[other.id] is JobStatus.EXECUTING


async def test_a_change_of_many_asks_again_whether_a_job_matches_that_it_has_waited_for(
    backend: PostgresBackend,
) -> None:
    job = await waiting(backend)
    where = Where.data_equals(None) & Where.status_equals(JobStatus.SCHEDULED)

    async with held_back(backend) as held:
        after = await update_data(held, job)
        cancelling = asyncio.ensure_future(backend.cancel_many([job.id], "enough", where=where))
        updating = asyncio.ensure_future(backend.update_many([job.id], FieldUpdate(priority=3), where=where))
        await held.waited_for()

    assert await soon(cancelling) == {}
    assert await soon(updating) == {}
    assert await record_of(backend, job.id) == after


async def test_a_claim_neither_waits_for_a_change_of_many_nor_takes_the_jobs(backend: PostgresBackend) -> None:
    job = await waiting(backend)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        change = backend._statements.apply_many([job.id], FieldUpdate(priority=3), None, START, LIMITS)
        assert await run_steps(held._connection, change) == [(job.id, JobStatus.SCHEDULED, ALPHA)]
        assert await soon(claim(backend, NODE)) == []

    assert [(one.id, one.priority) for one in await claim(backend, NODE)] == [(job.id, 3)]


async def test_of_two_reruns_of_many_at_once_each_job_is_in_one(backend: PostgresBackend) -> None:
    jobs = [one.id for one in await ended(backend, 4, Complete())]

    async with held_back(backend) as held:
        await held.apply(jobs[1], Rerun())
        rerunning = asyncio.ensure_future(backend.rerun_many(jobs[:3]))
        await held.waited_for()
    statuses = await soon(rerunning)

    assert list(statuses) == [jobs[0], jobs[2]]
    assert rows_of(backend) == {"queue": jobs[:3], "running": [], "ended": jobs[3:]}


async def test_a_rerun_of_many_leaves_no_empty_row_in_the_log(backend: PostgresBackend) -> None:
    first = await ended(backend, 3, Complete())
    second = await ended(backend, 2, cancelled())

    await backend.rerun_many([first[0].id, first[2].id, *(one.id for one in second)])

    assert [ids for (ids,) in run_postgres(f"SELECT ids FROM {backend.schema}.ended")] == [[first[1].id]]


async def test_a_rerun_of_many_that_waits_for_the_log_has_locked_no_job(backend: PostgresBackend) -> None:
    job, _ = await ended(backend, 2, Complete())

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await held._connection.execute(cast("LiteralString", f"SELECT FROM {backend.schema}.ended FOR UPDATE"))
        rerunning = asyncio.ensure_future(backend.rerun_many([job.id]))
        await held.waited_for()
        unlocked = f"SELECT FROM {backend.schema}.stored_jobs WHERE id = {job.id} FOR UPDATE SKIP LOCKED"
        assert run_postgres(unlocked) == [()]
    await soon(rerunning)

    assert rows_of(backend)["queue"] == [job.id]


async def test_a_change_of_many_waits_for_a_transaction_of_the_application_for_a_second_and_changes_nothing(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "LOCK_TIMEOUT", "50ms")
    [job, other] = await executing(backend, JOB, new_job())
    waits = await backend.enqueue([replace(new_job(), executor=BETA)])

    async with held_back(backend) as held:
        await in_settle(held, backend, job, Complete())
        with pytest.raises(BackendError, match="a transaction holds the row"):
            await soon(backend.cancel_many([job.id, other.id, waits[0].id], "enough"))

    assert [one.cancel_reason for one in await backend.query(Everything())] == [None] * 3
    assert rows_of(backend) == {"queue": [waits[0].id], "running": [other.id], "ended": [job.id]}


async def test_an_ended_job_that_stands_nowhere_is_rerun_with_many(backend: PostgresBackend) -> None:
    job, other = await ended(backend, 2, Complete())
    run_postgres(f"DELETE FROM {backend.schema}.ended")

    assert list(await backend.rerun_many([job.id, other.id])) == [job.id, other.id]
    assert rows_of(backend)["queue"] == [job.id, other.id]


async def test_a_change_of_many_needs_two_statements(backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [answer.id for answer in await backend.enqueue([new_job()] * 30)]
    names: list[str] = []
    text = Statements.text

    def noted(of: Statements, name: str) -> LiteralString:
        names.append(name)
        return text(of, name)

    monkeypatch.setattr(Statements, "text", noted)

    await backend.cancel_many([*ids, ids[-1] + 1], "enough")
    await backend.rerun_many(ids)

    changes = [name for name in names if name != "notify"]
    assert changes == ["lock_places", "cancel_jobs", "lock_places", "rerun_jobs"]


async def test_a_cancel_of_an_ended_job_waits_for_no_rerun_so_that_they_cannot_wait_for_each_other(
    backend: PostgresBackend,
) -> None:
    job, _ = await ended(backend, 2, Complete())

    async with held_back(backend) as held:
        await held.apply(job.id, Rerun())
        assert await soon(backend.cancel(job.id, "enough")) is JobStatus.COMPLETE

    assert rows_of(backend)["queue"] == [job.id]


@pytest.mark.parametrize("is_sync", [False, True])
async def test_an_enqueue_that_the_server_ends_because_of_a_deadlock_is_done_again(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch, is_sync: bool
) -> None:
    """Outcomes lock their jobs in one order, an enqueue those that it replaces in that of the new jobs."""
    monkeypatch.setattr(statements, "LOCK_TIMEOUT", "20s")
    first, other = await executing(backend, new_job(unique=unique("a")), new_job(unique=unique("b")))
    new = [new_job(unique=unique(key), priority=3) for key in ("b", "a")]

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        await held._connection.execute("SET LOCAL deadlock_timeout = '20s'")  # so that the enqueue is ended
        await in_settle(held, backend, first, Complete())
        enqueuing = asyncio.ensure_future(
            asyncio.to_thread(backend.enqueue_sync, new) if is_sync else backend.enqueue(new)
        )
        await held.waited_for()
        await soon(in_settle(held, backend, other, Complete()))
    answers = await soon(enqueuing)

    assert [answer.disposition for answer in answers] == ["inserted", "inserted"]
    assert [one.status for one in await backend.query(Everything())] == [JobStatus.COMPLETE] * 2 + [
        JobStatus.SCHEDULED
    ] * 2


def unique(key: str) -> UniquenessCriteria:
    return UniquenessCriteria.by_key(key).on_conflict(Replace.priority().for_statuses(JobStatus.EXECUTING))


async def test_a_job_that_may_run_again_at_once_is_due_without_a_promotion(
    backend: PostgresBackend, clock: FakeClock
) -> None:
    failing, lost = await executing(backend, new_job(), new_job())
    await backend.settle([Settlement(*failing.claim_id, failed())])
    clock.jump(-HOUR)  # so that the lost job is due at this very moment
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.deregister(NODE)
    assert heartbeat(backend, OTHER_NODE) == 1

    found = run_postgres(f"SELECT id, due FROM {backend.schema}.queue ORDER BY id")
    assert found == [(failing.id, True), (lost.id, True)]


async def test_a_claim_marks_a_thousand_jobs_as_due_at_most(backend: PostgresBackend, clock: FakeClock) -> None:
    await backend.enqueue([new_job(delay=SECOND)] * 1_002)
    heartbeat(backend, NODE)
    clock.advance(SECOND)

    assert len(await claim(backend, NODE)) == 10

    assert run_postgres(f"SELECT count(*) FROM {backend.schema}.queue WHERE NOT due") == [(2,)]


async def test_a_claim_waits_for_no_job_that_has_just_fallen_due(backend: PostgresBackend, clock: FakeClock) -> None:
    heartbeat(backend, NODE)
    locked, other = await backend.enqueue([new_job(delay=SECOND)] * 2)
    clock.advance(SECOND)

    async with held_back(backend) as held:
        await held.select_for_update(locked.id)
        assert [job.id for job in await soon(claim(backend, NODE))] == [other.id]

    assert [job.id for job in await claim(backend, NODE)] == [locked.id]


async def test_a_claim_marks_the_longest_due_first_whatever_the_plan(
    backend: PostgresBackend, clock: FakeClock
) -> None:
    heartbeat(backend, NODE)
    await backend.enqueue([new_job(delay=2 * SECOND)] * 1_000)
    [first] = await backend.enqueue([new_job(delay=SECOND)])
    clock.advance(2 * SECOND)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        for scan in ("indexscan", "bitmapscan"):
            await held._connection.execute(without(scan))
        assert (await in_claim(held, backend)).id == first.id


def finding_nothing(of: Statements, name: str) -> LiteralString:
    text = in_schema(statement(PACKAGE, name), of.schema)
    return text.replace("AND run.id = ANY(", "AND false AND run.id = ANY(") if name == "settle_complete" else text


async def test_what_the_fast_statement_does_not_record_the_other_one_does(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await executing(backend, JOB, new_job(), new_job())
    monkeypatch.setattr(Statements, "text", finding_nothing)

    refused = await backend.settle(
        [Settlement(*one.claim_id, Complete("[1]")) for one in jobs] + [Settlement(jobs[0].id, 7, Complete())]
    )

    assert list(refused) == [jobs[0].id]
    assert [one.status for one in await backend.query(Everything())] == [JobStatus.COMPLETE] * 3


def with_the_fast_one_alone(of: Statements, name: str) -> LiteralString:
    return "SELECT 1 / 0" if name == "settle_jobs" else in_schema(statement(PACKAGE, name), of.schema)


@pytest.mark.parametrize("node", [None, NODE])
async def test_successes_need_the_fast_statement_alone(
    backend: PostgresBackend, monkeypatch: pytest.MonkeyPatch, node: str | None
) -> None:
    jobs = await executing(backend, JOB, new_job())
    settlements = [Settlement(*one.claim_id, Complete()) for one in jobs]
    monkeypatch.setattr(Statements, "text", with_the_fast_one_alone)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        settling = backend._statements.settle(settlements, 20, START, node=node)
        assert await run_steps(held._connection, settling) == []


def without(scan: str) -> LiteralString:
    """Return the command that keeps plans with such scans from a transaction."""
    return cast("LiteralString", f"SET LOCAL enable_{scan} = off")


@pytest.mark.parametrize("outcome", [Complete(), failed()])
@pytest.mark.parametrize("scans", [("indexscan", "bitmapscan"), ("indexscan", "seqscan"), ("seqscan", "bitmapscan")])
async def test_outcomes_are_right_in_whatever_order_the_rows_are_found(
    backend: PostgresBackend, clock: FakeClock, outcome: Outcome, scans: tuple[str, str]
) -> None:
    """The rows of `running` stand in the order of their claims: of three jobs, the last was claimed first."""
    heartbeat(backend, NODE)
    made = await backend.enqueue([new_job(priority=priority) for priority in (2, 1, 0)])
    for _ in made:
        [job] = (await backend.claim(Demand({ALPHA: 1}, 1), NODE)).jobs
        await backend.settle([Settlement(*job.claim_id, failed())])
        for _ in range(job.priority):
            [again] = (await backend.claim(Demand({ALPHA: 1}, 1), NODE)).jobs
            await backend.settle([Settlement(*again.claim_id, failed())])
        await backend.update(
            job.id, new_job(priority=job.priority + 7), version=(await record_of(backend, job.id)).version
        )
    jobs: list[JobRecord] = []
    for _ in made:
        jobs += (await backend.claim(Demand({ALPHA: 1}, 1), NODE)).jobs
        clock.advance(SECOND)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        for scan in scans:
            await held._connection.execute(without(scan))
        settlements = [Settlement(*job.claim_id, outcome) for job in jobs]
        assert await run_steps(held._connection, backend._statements.settle(settlements, 20, clock.now())) == []

    assert [(job.id, job.attempt) for job in jobs] == [(made[2].id, 2), (made[1].id, 3), (made[0].id, 4)]
    for job in jobs:
        assert await record_of(backend, job.id) == rules.transition(job, outcome, clock.now(), LIMITS)


@pytest.mark.parametrize(("what", "doomed"), [(OlderThan(SECOND), [3, 4, 5]), (BeyondNewest(1), [1, 3, 5])])
async def test_a_pruning_takes_the_longest_ended_whatever_the_plan(
    backend: PostgresBackend, clock: FakeClock, what: OlderThan | BeyondNewest, doomed: list[int]
) -> None:
    """The rows of the log stand neither in the order of their executors nor in that of their moments."""
    heartbeat(backend, NODE)
    made: list[JobRecord] = []
    for executor in ("gamma", "gamma", BETA, BETA, ALPHA, ALPHA):
        await backend.enqueue([new_job(executor)])
        made += (await backend.claim(Demand({executor: 1}, 1), NODE)).jobs
        clock.jump(-SECOND)
        await backend.settle([Settlement(*made[-1].claim_id, Complete())])
    clock.jump(HOUR)

    async with held_back(backend) as held:
        assert isinstance(held, PostgresHeld)
        for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
            await held._connection.execute(without(scan))
        spec = PruneSpec(JobStatus.COMPLETE, what)
        assert await backend._operations.prune(held._connection, spec, 3, clock.now()) == 3

    left = [job.id for number, job in enumerate(made) if number not in doomed]
    assert [one.id for one in await backend.query(Everything())] == left


def queue_by_hand(backend: PostgresBackend, job: JobRecord) -> None:
    run_postgres(
        f"INSERT INTO {backend.schema}.queue (id, executor, scheduled_at, priority, due)"
        f" VALUES ({job.id}, '{ALPHA}', '{START}', 0, true)"
    )


async def test_a_job_that_executes_and_was_queued_by_hand_does_not_stop_the_claims_of_others(
    backend: PostgresBackend,
) -> None:
    [job] = await executing(backend, JOB)
    queue_by_hand(backend, job)
    [other] = await backend.enqueue([new_job()])

    with pytest.raises(BackendError, match="running_pkey"):
        await claim(backend, NODE)

    assert [one.id for one in await claim(backend, NODE)] == [other.id]


async def test_a_job_that_was_queued_by_hand_is_queued_once_when_it_is_to_run_again(
    backend: PostgresBackend, clock: FakeClock
) -> None:
    failing, lost = await executing(backend, new_job(), new_job())
    queue_by_hand(backend, failing)
    queue_by_hand(backend, lost)

    assert await backend.settle([Settlement(*failing.claim_id, failed())]) == []
    clock.advance(LEASE)
    assert heartbeat(backend, OTHER_NODE) == 1

    assert rows_of(backend) == {"queue": [failing.id, lost.id], "running": [], "ended": []}
